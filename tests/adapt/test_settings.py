"""``adapt`` in the experiment file: what is refused, and what its settings change in the plan."""

import pytest

from ops.experiment_files import load_experiment
from ops.lab import PROJECT
from ops.plan import make_plan
from tests.conftest import tiny_experiment

BALANCE = {"name": "balance", "temperatures": [0.7, 1.0], "thresholds": [0.0, 0.5], "problems": 4}
LOGIT = {"name": "threshold", "verifier": "logit", "threshold": 0.25}


def adapted(adapt=BALANCE, **changes):
    return tiny_experiment(**{"filter": LOGIT, "adapt": adapt, **changes})


@pytest.mark.parametrize(
    ("adapt", "changes", "words"),
    [
        ({"temperatures": []}, {}, "adapt.temperatures"),
        ({"temperatures": [0.0, 1.0]}, {}, "greater than 0"),
        ({"temperatures": [0.7, 0.7]}, {}, "adapt.temperatures: each value once"),
        ({"thresholds": [0.5, 0.5]}, {}, "adapt.thresholds: each value once"),
        ({"problems": 7}, {}, r"adapt.problems: at most problems.train_per_iteration \(6\), got 7"),
        ({}, {"iterations": 0}, "adapt: null with iterations: 0"),
        ({}, {"filter": {"name": "gold"}}, "adapt.thresholds: an empty list with filter gold"),
        ({}, {"filter": {"name": "top_n", "verifier": "logit", "n": 2}}, "adapt.thresholds: an empty list"),
        (
            {"thresholds": [0.5, 1.0]},
            {"filter": {"name": "quantile", "verifier": "logit", "q": 0.5}},
            r"thresholds.1.: a q",
        ),
        ({"truth": "verifier", "thresholds": []}, {"filter": {"name": "gold"}}, "adapt.truth: labels with filter gold"),
        (
            {"truth": "verifier"},
            {
                "verifiers": [{"name": "sequence_logprob"}],
                "filter": {"name": "threshold", "verifier": "sequence_logprob", "threshold": -3.0},
            },
            "adapt.truth: labels with sequence_logprob",
        ),
    ],
)
def test_what_cannot_be_adapted_is_refused(adapt, changes, words):
    with pytest.raises(ValueError, match=words):
        adapted({**BALANCE, **adapt}, **changes)


def test_replayed_responses_are_not_adapted(tmp_path):
    fields = {"name": "recorded", "hypothesis": "Recorded responses are only measured.", "task": {"name": "countdown"}}
    with pytest.raises(ValueError, match="adapt: null with engine replay"):
        from ops.config import Experiment

        engine = {"name": "replay", "path": "x.jsonl"}
        Experiment.model_validate({**fields, "engine": engine, "iterations": 0, "adapt": BALANCE})


def test_without_thresholds_any_filter_will_do():
    for item in ({"name": "gold"}, {"name": "none"}, {"name": "top_n", "verifier": "logit", "n": 2}):
        experiment = adapted({**BALANCE, "thresholds": []}, filter=item)
        assert experiment.adapt.filters(experiment.filter) == (experiment.filter,)


def test_the_filters_to_choose_from():
    experiment = adapted()
    assert [item.label for item in experiment.adapt.filters(experiment.filter)] == ["logit ≥ 0", "logit ≥ 0.5"]


def test_without_adapt_nothing_changes():
    """Fingerprints of the demo as they were before there was ``adapt``; they move with a code version only."""
    plan = make_plan(load_experiment(PROJECT / "experiments" / "demo.yaml"))
    assert plan.pilot_pools == ({}, {}, {}, {})
    pinned = {
        "iteration_0/generations": "93e8761e45157716",
        "iteration_0/finetune_data": "906987af7e6dce84",
        "iteration_3/generations": "d02b95843dfeb459",
        "iteration_3/verification_scores": "58dfb636424c62c3",
    }
    assert {name: plan.fingerprints[name] for name in pinned} == pinned
    assert "iteration_0/sampling_choices" not in plan.fingerprints


def changed(base, other):
    before, after = make_plan(base).fingerprints, make_plan(other).fingerprints
    return {name for name in before if after.get(name) != before[name]}


@pytest.mark.parametrize(
    "change",
    [
        {"adapt": {**BALANCE, "temperatures": [0.7, 1.1]}},
        {"adapt": {**BALANCE, "temperatures": [1.0, 0.7]}},  # another one comes first among equals
        {"adapt": {**BALANCE, "thresholds": [0.0, 0.6]}},
        {"adapt": {**BALANCE, "problems": 5}},
        {"adapt": {**BALANCE, "truth": "verifier"}},
        {"monitoring": {"balance_target": 3}},
    ],
)
def test_what_decides_the_choice_decides_what_is_sampled_and_trained_on(change):
    names = changed(adapted(), adapted(**change))
    assert {"iteration_0/sampling_choices", "iteration_0/generations", "iteration_0/finetune_data"} <= names
    assert "iteration_0/model" in names and not names & {"problems", "base_model"}


def test_what_only_describes_the_choice_decides_nothing():
    names = changed(adapted(), adapted(statistics={"resamples": 300}))
    assert {"iteration_0/sampling_choices", "iteration_1/sampling_choices"} <= names
    assert not any(name.endswith(("generations", "verification_scores", "finetune_data", "/model")) for name in names)


def test_the_temperature_of_evaluation_is_not_trained_on():
    warmer = adapted(sampling={"n_train": 4, "n_eval": 8, "max_tokens": 16, "temperature": 0.9})
    names = changed(adapted(), warmer)
    assert "iteration_0/generations" in names
    assert not names & {"iteration_0/sampling_choices", "iteration_0/finetune_data", "iteration_0/model"}


def test_another_threshold_in_the_file_keeps_the_responses():
    other = adapted(filter={**LOGIT, "threshold": 0.75})
    assert not changed(adapted(), other) & {"iteration_0/sampling_choices", "iteration_0/generations"}


def test_single_samples_are_shared_with_experiments_of_that_temperature():
    plan = make_plan(adapted())
    cold = make_plan(tiny_experiment(sampling={"n_train": 4, "n_eval": 8, "max_tokens": 16, "temperature": 0.7}))
    usual = make_plan(tiny_experiment())
    assert plan.sample_pools[0] == plan.pilot_pools[0][1.0] == usual.sample_pools[0]
    assert plan.pilot_pools[0][0.7] == cold.sample_pools[0]
    assert plan.verification_pools[0]["logit"] == cold.verification_pools[0]["logit"]


def test_more_iterations_keep_the_choices_of_the_first_ones():
    names = changed(adapted(), adapted(iterations=2))
    kept = ("sampling_choices", "generations", "finetune_data", "/model")
    assert not any(name.startswith("iteration_") and name.endswith(kept) for name in names)
