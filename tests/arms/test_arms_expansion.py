"""A file of arms becomes experiments, by hand; and every way to get it wrong is one clear error."""

from __future__ import annotations

import pytest

from ops.arm_kinds import kind_of
from ops.arms import ArmStudy, LoadedArms
from ops.arms_files import expand_arms, load_arms
from ops.errors import ExperimentError
from ops.lab import PROJECT, known_experiments, named_experiment
from ops.plan import make_plan
from ops.study_files import load_any_study, load_studies
from orchestration.partitions import experiment_names
from tests.arms.conftest import changed
from tests.studies import REMOVED
from tests.study.conftest import TINY as TINY_GRID


def expanded(**changes) -> dict:
    members = expand_arms(ArmStudy.model_validate(changed(**changes)))
    return {member.experiment.name: member.experiment for member in members}


def test_every_arm_meets_every_seed():
    found = expanded()
    assert list(found) == [f"tiny-{arm}-s{seed}" for arm in ("self", "cross", "gold", "unfiltered") for seed in (0, 1)]
    first, second = found["tiny-self-s0"], found["tiny-self-s1"]
    assert (first.sampling.seed, first.training.seed, first.problems.seed, first.model.seed) == (0, 0, 0, 0)
    assert (second.sampling.seed, second.training.seed, second.problems.seed, second.model.seed) == (1, 1, 0, 0)
    assert second.sampling.n_eval == 4 and second.hypothesis == TINY_HYPOTHESIS
    assert [item.called for item in found["tiny-cross-s1"].verifiers] == ["logit", "logit@xxs"]
    assert found["tiny-gold-s0"].filter.name == "gold"


TINY_HYPOTHESIS = "a tiny study of arms runs through every stage, for tests only"


def test_problems_and_a_built_in_model_can_be_seeded():
    found = expanded(seeds=[7, 8], seeded=["problems", "model"])["tiny-gold-s8"]
    assert (found.problems.seed, found.model.seed, found.sampling.seed, found.training.seed) == (8, 8, 0, 0)


def test_three_mappings_are_merged_and_the_others_replaced():
    found = expanded(
        arms__self__training={"epochs": 3},
        arms__self__sampling={"n_train": 8},
        arms__self__monitoring={"kl_responses": 0},
        experiment__monitoring={"balance_target": 2},
    )
    own, other = found["tiny-self-s1"], found["tiny-gold-s1"]
    assert (own.training.epochs, own.training.batch_size, own.training.seed) == (3, 8, 1)
    assert (own.sampling.n_train, own.sampling.n_eval, own.sampling.seed) == (8, 4, 1)
    assert (own.monitoring.kl_responses, own.monitoring.balance_target) == (0, 4)
    assert (other.training.epochs, other.monitoring.balance_target) == (1, 2)


def test_an_arm_may_be_empty():
    arms = {"same": None, "gold": {"filter": {"name": "gold"}}}
    found = expanded(arms=arms, experiment__filter={"name": "none"}, reference="same")
    assert found["tiny-same-s0"].filter.name == "none"


def test_arms_of_one_seed_share_what_they_agree_on():
    plans = {name: make_plan(experiment) for name, experiment in expanded().items()}
    of_first_seed = [plans[f"tiny-{arm}-s0"] for arm in ("self", "cross", "gold", "unfiltered")]
    assert len({plan.models[0] for plan in plans.values()}) == 1
    assert len({plan.fingerprints["iteration_0/generations"] for plan in of_first_seed}) == 1
    assert len({plan.verification_pools[0]["logit"] for plan in of_first_seed}) == 1
    assert len({plan.fingerprints["iteration_1/generations"] for plan in of_first_seed}) == 4
    assert len({plan.fingerprints["iteration_0/generations"] for plan in plans.values()}) == 2


def test_kinds_of_arms():
    ensemble = {"name": "ensemble", "label": "both", "how": "and", "of": ["logit", "logit@xxs"]}
    cross = changed()["arms"]["cross"]
    mixed = {
        "verifiers": [*cross["verifiers"], ensemble],
        "filter": {"name": "threshold", "verifier": "both", "threshold": 0.5},
    }
    found = expanded(arms__mixed=mixed)
    kinds = {arm: kind_of(found[f"tiny-{arm}-s0"]) for arm in ("self", "cross", "gold", "unfiltered", "mixed")}
    assert kinds == {"self": "self", "cross": "cross", "gold": "gold", "unfiltered": "none", "mixed": "mixed"}


def test_a_verifier_with_a_model_of_its_own_is_another_one():
    """Also where that is the base model: it stays what it is, while the generator is trained."""
    base = {"name": "logit", "label": "logit@base", "model": changed()["experiment"]["model"]}
    other = changed()["arms"]["cross"]["verifiers"][1]

    def kind(of: list[str], how: str = "and") -> str:
        ensemble = {"name": "ensemble", "label": "both", "how": how, "of": of}
        arm = {
            "verifiers": [{"name": "logit"}, base, other, ensemble],
            "filter": {"name": "threshold", "verifier": "both", "threshold": 0.5},
        }
        return kind_of(expanded(arms__self=arm)["tiny-self-s0"])

    assert kind(["logit@base", "logit@xxs"]) == "cross"
    assert kind(["logit", "logit@base"]) == kind(["logit", "logit@xxs"], "mean") == "mixed"
    alone = {"verifiers": [base], "filter": {"name": "threshold", "verifier": "logit@base", "threshold": 0.0}}
    assert kind_of(expanded(arms__self=alone)["tiny-self-s0"]) == "cross"
    conjunction = {
        "name": "and",
        "filters": [
            {"name": "threshold", "verifier": "logit", "threshold": 0.0},
            {"name": "threshold", "verifier": "logit@xxs", "threshold": 0.0},
        ],
    }
    mixed = {"verifiers": [{"name": "logit"}, other], "filter": conjunction}
    assert kind_of(expanded(arms__self=mixed)["tiny-self-s0"]) == "mixed"


def test_both_kinds_of_study_live_in_one_folder(write_arms, tmp_path):
    import yaml

    write_arms()
    (tmp_path / "studies" / "grid.yaml").write_text(yaml.safe_dump({**TINY_GRID, "name": "grid"}))
    good, bad = load_studies(tmp_path / "studies")
    assert not bad and isinstance(good["tiny"], LoadedArms) and not isinstance(good["grid"], LoadedArms)
    assert named_experiment("tiny-gold-s1").filter.name == "gold"
    assert {"tiny-gold-s1", "grid-countdown-small"} <= set(known_experiments()[0]) & set(experiment_names())
    with pytest.raises(ExperimentError, match=r"tiny-gold-s9\.yaml: no such file"):
        named_experiment("tiny-gold-s9")


ERRORS = {
    "unknown key": ({"arm": {}}, "arm: unknown key; did you mean arms?"),
    "no seeds": ({"seeds": []}, "seeds: expected at least 1 item"),
    "a seed twice": ({"seeds": [1, 1]}, "seeds: expected each one once"),
    "a seed that is none": ({"seeds": [-1]}, "seeds[0]: expected a number of at least 0"),
    "an unknown part": ({"seeded": ["smpling"]}, "seeded[0]: expected one of sampling, training, problems, model"),
    "an arm's label": ({"arms__Big One": {}}, "arms: expected labels of at most 31 lower-case"),
    "an unknown reference": ({"reference": "nothing"}, "reference: expected one of the arms (self, cross"),
    "a common field": ({"experiment__iteration": 3}, "experiment.iteration: unknown key; did you mean iterations?"),
    "a common value": ({"experiment__model__size": "xl"}, "experiment.model.size: expected one of a, xxs"),
    "a missing field": ({"experiment__task": REMOVED}, "experiment.task: required, but missing"),
    "an arm without a filter": ({"arms__gold": {}}, "arms.gold.filter: expected a mapping"),
    "an arm's field": ({"arms__self__filtr": {"name": "gold"}}, "arms.self.filtr: unknown key"),
    "an arm's filter": (
        {"arms__cross__filter__verifier": "logit@m"},
        "arms.cross.filter.verifier: expected one of the listed verifiers (logit, logit@xxs), got logit@m",
    ),
    "an arm's merged field": ({"arms__self__training": {"epochs": 0}}, "arms.self.training.epochs: expected a number"),
    "a merged common field": (
        {"arms__self__training": {"epochs": 2}, "experiment__training__batch_size": 0},
        "experiment.training.batch_size: expected a number of at least 1",
    ),
    "which experiment": ({"arms__gold__iterations": 99}, "(experiment tiny-gold-s0)"),
    "a seed in two places": (
        {"experiment__sampling__seed": 3},
        "experiment.sampling.seed: expected nothing here: seeded lists sampling",
    ),
    "an arm's own seed": ({"arms__self__training": {"seed": 3}}, "arms.self.training.seed: expected nothing here"),
    "a name of an arm's own": ({"arms__self__name": "x"}, "arms.self.name: expected nothing here"),
    "another task": ({"arms__self__task": {"name": "arithmetic"}}, "arms.self.task: expected nothing here"),
    "other evaluation problems": (
        {"arms__gold__problems": {"eval": 9}},
        "arms.gold.problems.eval: expected the evaluation problems of the arm self (8), got 9",
    ),
    "a seeded checkpoint": (
        {"seeded": ["model"], "experiment__model": {"kind": "folder", "path": "x"}},
        "seeded: expected a built-in model",
    ),
    "other numbers of responses": (
        {"arms__gold__sampling": {"n_eval": 8}},
        "arms.gold.sampling.n_eval: expected the responses to each evaluation problem of the arm self (4), got 8",
    ),
    "another number of the first arm": (
        {"arms__self__sampling": {"n_eval": 8}},
        "arms.self.sampling.n_eval: expected the responses to each evaluation problem of the arm cross (4), got 8",
    ),
    "a missing folder": (
        {"arms__self__model": {"kind": "folder", "path": "nowhere"}},
        "arms.self.model.path: expected a Hugging Face checkpoint folder",
    ),
    "an arm that evaluates": (
        {
            "experiment__verifiers": REMOVED,
            "experiment__iterations": REMOVED,
            "experiment__training": REMOVED,
            "experiment__problems__train_per_iteration": REMOVED,
            "experiment__sampling__n_train": REMOVED,
            "arms": {
                arm: {
                    "filter": {"name": "none"},
                    "evaluation": {
                        "models": [{"model": {"kind": "builtin", "size": "xxs"}, "label": "x"}],
                        "labels": {"source": "gold"},
                    },
                }
                for arm in ("self", "unfiltered")
            },
        },
        "arms.self.evaluation: expected no evaluation in a study of arms that are iterated",
    ),
    "too long a name": ({"arms__" + "a" * 31: {}, "name": "n" * 40}, "name: expected shorter"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_the_field(write_arms, case):
    changes, expected = ERRORS[case]
    name = changes.get("name", "tiny")
    path = write_arms(name, **{key: value for key, value in changes.items() if key != "name"})
    with pytest.raises(ExperimentError) as caught:
        load_any_study(path)
    assert expected in str(caught.value), str(caught.value)
    assert f"{name}.yaml" in str(caught.value) and caught.value.remedy


def test_the_shipped_study_is_what_it_says():
    loaded = load_arms(PROJECT / "studies" / "iterate.yaml")
    kinds = {member.arm: kind_of(member.experiment) for member in loaded.members}
    assert sorted(kinds.values()) == ["cross", "gold", "none", "self"] and len(loaded.study.seeds) >= 3
    assert all(member.experiment.iterations >= 4 for member in loaded.members)
    demo = named_experiment("demo")
    assert {make_plan(member.experiment).models[0] for member in loaded.members} == {make_plan(demo).models[0]}
