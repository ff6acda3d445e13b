"""A file of exploration becomes experiments, by hand; and every way to get it wrong is one clear error."""

from __future__ import annotations

import re

import pytest
import yaml

from ops.arms import LoadedArms
from ops.errors import ExperimentError
from ops.exploration_files import expand_exploration, load_exploration
from ops.exploration_study import ExplorationStudy, LoadedExploration
from ops.lab import PROJECT, known_experiments, named_experiment
from ops.plan import make_plan
from ops.study_files import load_any_study, load_studies
from orchestration.partitions import experiment_names
from tests.arms.conftest import TINY as TINY_ARMS
from tests.exploration.studies import SECOND_TASK, TINY, changed
from tests.studies import REMOVED


def expanded(**changes) -> dict:
    members = expand_exploration(ExplorationStudy.model_validate(changed(**changes)))
    return {member.experiment.name: member.experiment for member in members}


def test_every_task_meets_every_arm_and_seed():
    found = expanded(tasks__sums=SECOND_TASK)
    assert list(found) == [
        f"tiny-{task}-{arm}-s{seed}" for task in ("countdown", "sums") for arm in ("vanilla", "ucb") for seed in (0, 1)
    ]
    first, second = found["tiny-countdown-ucb-s0"], found["tiny-sums-ucb-s1"]
    assert (first.task.name, second.task.name, second.model.recipe) == ("countdown", "arithmetic", "arithmetic")
    assert (first.exploration.seed, first.sampling.seed, first.problems.seed, first.model.seed) == (0, 0, 0, 0)
    assert (second.exploration.seed, second.sampling.seed, second.problems.seed, second.model.seed) == (1, 1, 0, 0)
    assert (first.iterations, first.verifiers, first.hypothesis) == (0, (), TINY["hypothesis"])


def test_exploration_problems_and_sampling_are_merged_field_by_field():
    found = expanded(
        tasks__sums=SECOND_TASK,
        tasks__countdown__problems={"eval": 5},
        experiment__exploration__bonus={"name": "batch", "coefficient": 0.9},
        arms__ucb__problems={"train_per_iteration": 3},
    )
    ucb, vanilla = found["tiny-countdown-ucb-s1"], found["tiny-countdown-vanilla-s1"]
    assert (ucb.exploration.steps, ucb.exploration.learning_rate) == (2, 1e-3)
    assert (ucb.exploration.bonus.name, ucb.exploration.bonus.coefficient) == ("ucb", 0.2)  # replaced as a whole
    assert vanilla.exploration.bonus.coefficient == 0.9
    assert (ucb.problems.eval, ucb.problems.train_per_iteration) == (5, 3)
    sums = found["tiny-sums-vanilla-s1"]
    assert (sums.problems.eval, sums.sampling.max_tokens, sums.sampling.n_eval) == (3, 20, 2)


def test_an_arm_may_differ_on_one_task():
    own = {**SECOND_TASK, "arms": {"ucb": {"exploration": {"bonus": {"name": "ucb", "coefficient": 0.5}}}}}
    found = expanded(tasks__sums=own)
    assert found["tiny-sums-ucb-s0"].exploration.bonus.coefficient == 0.5
    assert found["tiny-countdown-ucb-s0"].exploration.bonus.coefficient == 0.2
    assert found["tiny-sums-vanilla-s0"].exploration.bonus.name == "none"


def test_problems_and_a_built_in_model_can_be_seeded():
    found = expanded(seeds=[7, 8], seeded=["problems", "model"])["tiny-countdown-ucb-s8"]
    assert (found.problems.seed, found.model.seed, found.sampling.seed, found.exploration.seed) == (8, 8, 0, 0)


def test_arms_of_a_task_share_the_base_model_and_its_responses():
    plans = {name: make_plan(experiment) for name, experiment in expanded(tasks__sums=SECOND_TASK).items()}
    assert len({plan.models[0] for plan in plans.values()}) == 2  # one for each task
    pools = {name: plan.policy_pools[0] for name, plan in plans.items()}
    assert pools["tiny-countdown-ucb-s0"] == pools["tiny-countdown-vanilla-s0"]
    assert pools["tiny-countdown-ucb-s0"] != pools["tiny-countdown-ucb-s1"]
    assert len({plan.policies[2] for plan in plans.values()}) == 8


def test_the_reference_is_the_files_or_the_first_arm_without_a_bonus(write_exploration):
    arms = {"ucb": TINY["arms"]["ucb"], "plain": None}
    assert load_exploration(write_exploration(arms=arms, reference=REMOVED)).reference == "plain"
    assert load_exploration(write_exploration(arms=arms, reference="ucb")).reference == "ucb"
    only = {"ucb": TINY["arms"]["ucb"]}
    assert load_exploration(write_exploration(arms=only, reference=REMOVED)).reference == "ucb"


def test_it_lives_beside_studies_of_other_kinds(write_exploration, tmp_path):
    write_exploration()
    (tmp_path / "studies" / "loops.yaml").write_text(yaml.safe_dump({**TINY_ARMS, "name": "loops"}))
    good, bad = load_studies(tmp_path / "studies")
    assert not bad and isinstance(good["tiny"], LoadedExploration) and isinstance(good["loops"], LoadedArms)
    assert named_experiment("tiny-countdown-ucb-s1").exploration.bonus.name == "ucb"
    assert {"tiny-countdown-ucb-s1", "loops-gold-s0"} <= set(known_experiments()[0]) & set(experiment_names())


def test_a_study_of_arms_does_not_take_exploration(write_exploration, tmp_path):
    path = write_exploration()
    data = {name: value for name, value in TINY.items() if name != "tasks"}
    data["experiment"] = {**data["experiment"], **TINY["tasks"]["countdown"]}
    path.write_text(yaml.safe_dump({**data, "seeded": ["sampling"]}, sort_keys=False))
    with pytest.raises(ExperimentError, match=r"experiment\.exploration: expected no exploration"):
        load_any_study(path)


def bonus(**fields) -> dict:
    return {"exploration": {"bonus": fields}}


ERRORS = {
    "unknown key": ({"task": {}}, "task: unknown key; did you mean tasks?"),
    "no tasks": ({"tasks": {}}, "tasks: expected at least 1 item"),
    "a task that is no mapping": ({"tasks__countdown": 3}, "tasks.countdown: expected a mapping"),
    "a task's label": ({"tasks__Big One": {}}, "tasks: expected labels of at most 31 lower-case"),
    "an arm's label": ({"arms__Big One": {}}, "arms: expected labels of at most 31 lower-case"),
    "an arm called base": ({"arms__base": {}}, "arms: expected another label than base"),
    "names that collide": (
        {"tasks__countdown-a": SECOND_TASK, "arms__b": {}, "arms__a-b": {}},
        "arms: expected labels that give every experiment a name of its own, tiny-countdown-a-b-s0",
    ),
    "a seed twice": ({"seeds": [1, 1]}, "seeds: expected each one once"),
    "an unknown part": ({"seeded": ["training"]}, "seeded[0]: expected one of exploration, sampling, problems, model"),
    "an unknown reference": ({"reference": "base"}, "reference: expected one of the arms (vanilla, ucb), got base"),
    "a common field": ({"experiment__samplin": {}}, "experiment.samplin: unknown key; did you mean sampling?"),
    "no exploration": (
        {"experiment__exploration": REMOVED, "arms": {"vanilla": {}}},
        "experiment.exploration: required, but missing",
    ),
    "no learning rate": (
        {"experiment__exploration__learning_rate": REMOVED},
        "experiment.exploration.learning_rate: required, but missing",
    ),
    "a missing task": ({"tasks__countdown__task": REMOVED}, "tasks.countdown.task: required, but missing"),
    "a missing model": ({"tasks__countdown__model": REMOVED}, "tasks.countdown.model: required, but missing"),
    "a task's field": ({"tasks__countdown__problms": {}}, "tasks.countdown.problms: unknown key"),
    "a task's problems": (
        {"tasks__countdown__problems": {"eval": 0}},
        "tasks.countdown.problems.eval: expected a number of at least 2, got 0",
    ),
    "the common problems": (
        {"experiment__problems__eval": 0, "tasks__countdown__problems": {"train_per_iteration": 5}},
        "experiment.problems.eval: expected a number of at least 2",
    ),
    "an arm's coefficient": (
        {"arms__ucb": bonus(name="ucb", coefficient=-1)},
        "arms.ucb.exploration.bonus.coefficient: expected a number of at least 0",
    ),
    "an arm's bonus": ({"arms__ucb": bonus(name="usb")}, "arms.ucb.exploration.bonus.name: expected one of"),
    "an arm's bonus on one task": (
        {"tasks__countdown__arms": {"ucb": bonus(name="ucb", coefficient=-1)}},
        "tasks.countdown.arms.ucb.exploration.bonus.coefficient: expected a number of at least 0",
    ),
    "an unknown arm of a task": (
        {"tasks__countdown__arms": {"con": {}}},
        "tasks.countdown.arms: expected arms of the study (vanilla, ucb), got con",
    ),
    "arms of a task that are no mapping": (
        {"tasks__countdown__arms": {"ucb": 3}},
        "tasks.countdown.arms: expected a mapping of arms to their fields",
    ),
    "the common settings": (
        {"experiment__exploration__steps": 0},
        "experiment.exploration.steps: expected a number of at least 1",
    ),
    "which experiment": ({"experiment__exploration__steps": 0}, "(experiment tiny-countdown-vanilla-s0)"),
    "a seed in two places": (
        {"experiment__exploration__seed": 3},
        "experiment.exploration.seed: expected nothing here: seeded lists exploration",
    ),
    "a task's own seed": (
        {"tasks__countdown__sampling": {"seed": 3}},
        "tasks.countdown.sampling.seed: expected nothing here",
    ),
    "an arm's own seed": ({"arms__ucb__exploration": {"seed": 3}}, "arms.ucb.exploration.seed: expected nothing here"),
    "a name of an arm's own": ({"arms__ucb__name": "x"}, "arms.ucb.name: expected nothing here"),
    "a model of an arm's own": (
        {"arms__ucb__model": {"kind": "builtin"}},
        "arms.ucb.model: expected nothing here: all arms of a task share it",
    ),
    "sampling of an arm's own": ({"arms__ucb__sampling": {"n_eval": 9}}, "arms.ucb.sampling: expected nothing here"),
    "statistics of a task's own": (
        {"tasks__countdown__statistics": {"resamples": 300}},
        "tasks.countdown.statistics: expected nothing here: all tasks and arms share it",
    ),
    "a loop": ({"experiment__iterations": 2}, "experiment.iterations: expected nothing here: the policies"),
    "other evaluation problems": (
        {"arms__ucb__problems": {"eval": 9}},
        "arms.ucb.problems.eval: expected the evaluation problems of the arm vanilla (3), got 9",
    ),
    "other problems of the first arm, on one task": (
        {"tasks__countdown__arms": {"vanilla": {"problems": {"eval": 9}}}},
        "tasks.countdown.arms.vanilla.problems.eval: expected the evaluation problems of the arm ucb (3), got 9",
    ),
    "other numbers of steps": (
        {"arms__ucb": {"exploration": {"steps": 4}}},
        "arms.ucb.exploration.steps: expected the steps of training of the arm vanilla (2), got 4",
    ),
    "a seeded checkpoint": (
        {"seeded": ["model"], "tasks__countdown__model": {"kind": "folder", "path": "x"}},
        "seeded: expected a built-in model",
    ),
    "a missing folder": (
        {"tasks__countdown__model": {"kind": "folder", "path": "nowhere"}},
        "tasks.countdown.model.path: expected a Hugging Face checkpoint folder",
    ),
    "too long a name": ({"arms__" + "a" * 31: {}, "name": "n" * 30}, "name: expected shorter"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_the_field(write_exploration, case):
    changes, expected = ERRORS[case]
    name = changes.get("name", "tiny")
    path = write_exploration(name, **{key: value for key, value in changes.items() if key != "name"})
    with pytest.raises(ExperimentError) as caught:
        load_any_study(path)
    assert expected in str(caught.value), str(caught.value)
    assert f"{name}.yaml" in str(caught.value) and caught.value.remedy


def test_the_studies_of_the_documentation_can_be_pasted(write_exploration):
    """Every YAML block of docs/studies.md that has arms and tasks."""
    text = (PROJECT / "docs" / "studies.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    [block] = [block for block in blocks if {"arms", "tasks"} <= set(block)]
    path = write_exploration("explore")
    path.write_text(yaml.safe_dump(block, sort_keys=False))
    found = {member.experiment.name: member.experiment for member in load_exploration(path).members}
    assert found["explore-arithmetic-con-s2"].exploration.bonus.baseline == 1.0
    assert found["explore-countdown-con-s2"].exploration.bonus.baseline == 0.5


def test_the_shipped_studies_are_what_they_say():
    explore, neighbours = (
        load_exploration(PROJECT / "studies" / f"{name}.yaml") for name in ("explore", "explore-neighbours")
    )
    for loaded in (explore, neighbours):
        assert len(loaded.study.tasks) == 2 and len(loaded.study.seeds) >= 3 and loaded.reference == "vanilla"
        assert all(member.experiment.sampling.n_eval == 64 for member in loaded.members)
    bonuses = {member.arm: member.experiment.exploration.bonus.name for member in explore.members}
    assert bonuses == {
        "vanilla": "none",
        "entropy": "entropy",
        "ucb": "ucb",
        "mean": "ucb_mean",
        "con": "ucb_con",
        "batch": "batch",
        "batch-strong": "batch",
    }
    plain = [
        make_plan(member.experiment).fingerprints["exploration/policy"]
        for loaded in (explore, neighbours)
        for member in loaded.members
        if member.arm == "vanilla"
    ]
    assert len(set(plain)) == len(plain) / 2, "both studies share the policies of the arm vanilla"
