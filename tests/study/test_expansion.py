"""A study file becomes experiments, by hand; and every way to get it wrong is one clear error."""

from __future__ import annotations

import pytest
import yaml

from ops.builtin.sizes import RECIPES
from ops.errors import ExperimentError
from ops.lab import PROJECT, Lab, known_experiments, named_experiment
from ops.models import BuiltinModel
from ops.plan import make_plan
from ops.study import Study
from ops.study_files import expand, load_study
from orchestration.partitions import experiment_names
from tests.studies import REMOVED
from tests.study.conftest import changed

ARITHMETIC = RECIPES["arithmetic"].exercises.task.model_dump(exclude={"name"})
TWO_TASKS = [
    {"task": {"name": "countdown"}, "sampling": {"n_eval": 6}},
    {"label": "sums", "task": {"name": "arithmetic", **ARITHMETIC}, "problems": {"eval": 5}},
]


def expanded(**changes) -> dict:
    return {member.experiment.name: member for member in expand(Study.model_validate(changed(**changes)))}


def test_every_model_meets_every_task():
    found = expanded(tasks=TWO_TASKS)
    assert list(found) == ["tiny-countdown-small", "tiny-countdown-large", "tiny-sums-small", "tiny-sums-large"]
    assert {member.experiment.iterations for member in found.values()} == {0}
    small = found["tiny-sums-small"]
    assert (small.task, small.model) == ("sums", "small")
    # without `recipe` a built-in model is pretrained for the task it meets
    assert small.experiment.model == BuiltinModel(
        kind="builtin", recipe="arithmetic", size="a", steps=12, batch_size=16
    )
    assert found["tiny-countdown-small"].experiment.model.recipe == "countdown"


def test_a_task_changes_only_the_fields_that_it_sets():
    found = expanded(tasks=TWO_TASKS)
    one, other = found["tiny-countdown-small"].experiment, found["tiny-sums-small"].experiment
    assert (one.sampling.n_eval, one.sampling.n_train, one.sampling.max_tokens) == (6, 4, 16)
    assert (other.sampling.n_eval, other.problems.eval, other.problems.train_per_iteration) == (4, 5, 6)


def test_cross_verifiers_ask_every_other_model():
    threshold = {"name": "threshold", "verifier": "logit", "threshold": 0.2}
    best = {"name": "quantile", "verifier": "score_cot", "q": 0.5}
    found = expanded(gap_filters=[threshold, best])
    small = found["tiny-countdown-small"]
    assert [item.called for item in small.experiment.verifiers] == ["logit", "score_cot", "logit@large"]
    assert small.experiment.verifiers[2].model.size == "xxs"
    assert small.crossed == {"logit@large": ("logit", "large")}
    assert found["tiny-countdown-large"].crossed == {"logit@small": ("logit", "small")}
    # a filter on a crossed check is measured for the other models' verdicts as well
    assert [item.label for item in small.experiment.gap_filters] == [
        "logit ≥ 0.2",
        "score_cot top 50 %",
        "logit@large ≥ 0.2",
    ]


def test_cross_verification_changes_no_generations():
    alone, crossed = expanded(cross=[]), expanded()
    for name in alone:
        plans = [make_plan(found[name].experiment) for found in (alone, crossed)]
        assert plans[0].sample_pools == plans[1].sample_pools
        assert plans[0].fingerprints["iteration_0/generations"] == plans[1].fingerprints["iteration_0/generations"]
        assert plans[0].verification_pools[0]["logit"] == plans[1].verification_pools[0]["logit"]


def test_experiments_of_a_study_are_found_by_name(write_study, tmp_path):
    write_study()
    assert named_experiment("tiny-countdown-large").model.size == "xxs"
    assert Lab.open("tiny-countdown-large").experiment.name == "tiny-countdown-large"
    assert list(known_experiments()[0]) == ["tiny-countdown-small", "tiny-countdown-large"]
    assert experiment_names() == ["tiny-countdown-large", "tiny-countdown-small"]
    with pytest.raises(ExperimentError, match=r"tiny-countdown-huge\.yaml: no such file"):
        named_experiment("tiny-countdown-huge")


def test_a_taken_name_is_refused(write_study, tmp_path):
    write_study()
    (tmp_path / "experiments" / "tiny-countdown-large.yaml").write_text("name: whatever")
    good, bad = known_experiments()
    assert not good and set(bad) == {"tiny-countdown-large", "studies/tiny"}
    assert "tiny-countdown-large already" in str(bad["studies/tiny"])


def test_relative_paths_start_at_the_study(write_study, tmp_path, tiny_model_folder):
    (tmp_path / "models").symlink_to(tiny_model_folder.parent)
    path = write_study(models={"own": {"kind": "folder", "path": "../models/tiny"}}, cross=[])
    assert load_study(path).members[0].experiment.model.path == str((tmp_path / "models" / "tiny").resolve())


ERRORS = {
    "unknown key": ({"modls": {}}, "modls: unknown key; did you mean models?"),
    "no models": ({"models": REMOVED}, "models: expected at least one"),
    "a model's wrong field": ({"models__small__size": "xxl"}, "models.small.size: expected one of a, xxs"),
    "a model's unknown field": ({"models__small__sizes": "a"}, "models.small.sizes: unknown key; did you mean size?"),
    "a model's unknown kind": (
        {"models__small__kind": "bultin"},
        "models.small.kind: expected one of builtin, folder, hub",
    ),
    "a model's label": ({"models__Small One": {"kind": "builtin"}}, "models: expected labels of at most 31 lower-case"),
    "a model's place": (
        {"models__small__pretraining_flops": 0.0},
        "models.small.pretraining_flops: expected a number above 0",
    ),
    "a missing folder": (
        {"models__small": {"kind": "folder", "path": "nowhere"}},
        "models.small.path: expected a Hugging",
    ),
    "a task's wrong field": (
        {"tasks__0__task__numbers": "3"},
        "tasks[0].task.numbers: expected a whole number, got '3'",
    ),
    "an unknown task": ({"tasks": [{"task": {"name": "countdwn"}}]}, "tasks[0].task.name: expected one of arithmetic"),
    "a task twice": ({"tasks": [{"task": {"name": "countdown"}}] * 2}, "tasks[1].label: expected a label of its own"),
    "a task without a recipe": (
        {"tasks": [{"task": {"name": "sudoku"}}]},
        "models.small.recipe: there is no built-in recipe",
    ),
    "a recipe for another task": ({"models__small__recipe": "arithmetic"}, "(experiment tiny-countdown-small)"),
    "too many problems": ({"problems__eval": 10**6}, "problems.eval: expected at most"),
    "too many problems of a task": (
        {"tasks__0__problems": {"eval": 10**6}},
        "tasks[0].problems.eval: expected at most",
    ),
    "cross of an unknown check": ({"cross": ["logits"]}, "cross[0]: expected the label of a listed verifier"),
    "cross of a derived check": (
        {"verifiers": [{"name": "logit"}, {"name": "majority"}], "cross": ["majority"]},
        "cross[0]: expected the label of a listed verifier that asks the generator (logit), got majority",
    ),
    "a filter on no check": (
        {"gap_filters": [{"name": "quantile", "verifier": "none", "q": 0.5}]},
        "gap_filters[0].verifier: expected one of the listed verifiers",
    ),
    "a flops table that is not there": ({"flops_table": "none.csv"}, "flops_table: expected a CSV file"),
    "replay as a study's engine": (
        {"engine": {"name": "replay", "path": "x.jsonl"}},
        "engine.name: expected an engine",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_the_field(write_study, case):
    changes, expected = ERRORS[case]
    path = write_study(**changes)
    with pytest.raises(ExperimentError) as caught:
        load_study(path)
    assert expected in str(caught.value), str(caught.value)
    assert "tiny.yaml" in str(caught.value) and caught.value.remedy


def test_the_shipped_study_is_what_it_says():
    members = load_study(PROJECT / "studies" / "builtin.yaml").members
    assert len({member.model for member in members}) >= 4 and len({member.task for member in members}) == 2
    mechanisms = {item.name for item in members[0].experiment.verifiers}
    assert {"logit", "binary_cot", "score_cot", "tournament"} <= mechanisms


def test_a_joined_experiment_keeps_its_file(write_study, tmp_path):
    from ops.study_plan import all_members
    from tests.conftest import tiny_experiment

    data = tiny_experiment("own").model_dump(mode="json", exclude_none=True)
    (tmp_path / "experiments" / "own.yaml").write_text(yaml.safe_dump(data))
    members = all_members(load_study(write_study(experiments=["own"])))
    assert [member.experiment.name for member in members][2:] == ["own"]
    assert members[2].joined and members[2].task == "countdown" and members[2].model == "countdown/a"
    with pytest.raises(ExperimentError, match=r"experiments\[0\]: other cannot be used"):
        all_members(load_study(write_study(experiments=["other"])))
