"""New settings leave the fingerprints of trained models as they were; each of them changes it where it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from ops.experiment_files import load_experiment
from ops.plan import make_plan
from ops.training import METHODS
from ops.training.base import MICRO_BATCH_TOKENS
from ops.training.dpo_settings import Dpo
from ops.training.sft_settings import FilteredSft
from tests.conftest import tiny_experiment

PROJECT = Path(__file__).resolve().parents[2]
FIRST_FIELDS = {
    "name",
    "start_from",
    "learning_rate",
    "epochs",
    "batch_size",
    "warmup_steps",
    "weight_decay",
    "clip_norm",
    "replay_fraction",
    "max_per_problem",
    "max_examples",
    "seed",
}
"""What the identity of `sft` had before schedules, validation, adapters and precisions."""


def test_the_models_of_the_demo_keep_their_fingerprints():
    plan = make_plan(load_experiment(PROJECT / "experiments" / "demo.yaml"))
    assert plan.fingerprints["iteration_0/finetune_data"] == "906987af7e6dce84"
    assert plan.fingerprints["iteration_0/model"] == "502c9502ca84b135"
    assert plan.fingerprints["iteration_2/model"] == "44ed1c4b0717bac2"


def test_the_identity_at_defaults_is_the_first_one():
    assert set(FilteredSft().identity()) == FIRST_FIELDS
    assert set(Dpo().identity()) == FIRST_FIELDS | {"beta", "sft_weight", "min_score_margin"}


def model_print(**training) -> str:
    experiment = tiny_experiment(training={"name": "sft", "epochs": 1, **training})
    return make_plan(experiment).fingerprints["iteration_0/model"]


@pytest.mark.parametrize(
    "changed",
    [
        {"schedule": "cosine"},
        {"validation_fraction": 0.2},
        {"validation_fraction": 0.2, "patience": 1},
        {"validation_fraction": 0.2, "validation_every_steps": 5},
        {"lora": {}},
        {"lora": {"rank": 4}},
        {"lora": {"target_modules": ["q_proj"]}},
        {"precision": "bfloat16"},
    ],
)
def test_each_setting_makes_another_model(changed):
    assert model_print(**changed) != model_print()


def test_how_it_runs_makes_no_other_model():
    assert model_print(tokens_per_micro_batch=512, activation_checkpointing=True) == model_print()


def test_micro_batches_make_another_model_where_dropout_is_drawn():
    """How a batch is cut decides what dropout draws for each token."""
    dropout = {"lora": {"dropout": 0.1}}
    assert model_print(**dropout, tokens_per_micro_batch=512) != model_print(**dropout)
    assert model_print(**dropout, tokens_per_micro_batch=512) != model_print(**dropout, tokens_per_micro_batch=256)
    assert model_print(lora={}, tokens_per_micro_batch=512) == model_print(lora={})
    assert model_print(**dropout, activation_checkpointing=True) == model_print(**dropout)


def test_the_micro_batch_that_is_meant():
    assert FilteredSft().bounded(is_builtin=True).tokens_per_micro_batch is None
    assert FilteredSft().bounded(is_builtin=False).tokens_per_micro_batch == MICRO_BATCH_TOKENS == 4096
    assert Dpo(tokens_per_micro_batch=9).bounded(is_builtin=False) == Dpo(tokens_per_micro_batch=9)


def test_a_threshold_that_a_pilot_chooses_is_no_part_of_the_examples():
    """The filter's own decides nothing there; with temperatures alone, or without adapt, it decides."""

    def prints(threshold: float, adapt: dict | None) -> tuple[str, str]:
        filter = {"name": "threshold", "verifier": "logit", "threshold": threshold}
        found = make_plan(tiny_experiment(filter=filter, adapt=adapt)).fingerprints
        return found["iteration_0/finetune_data"], found["iteration_0/model"]

    adapt = {"name": "balance", "temperatures": [0.7, 1.0], "problems": 2}
    both = {**adapt, "thresholds": [0.0, 0.5]}
    assert prints(0.1, both) == prints(0.2, both) != prints(0.1, {**adapt, "thresholds": [0.0, 0.4]})
    assert prints(0.1, adapt) != prints(0.2, adapt)
    assert prints(0.1, None) != prints(0.2, None)


def test_validation_settings_change_no_examples():
    plans = [
        make_plan(tiny_experiment(training={"name": "sft", **changed})).fingerprints["iteration_0/finetune_data"]
        for changed in ({}, {"validation_fraction": 0.5}, {"lora": {}})
    ]
    assert len(set(plans)) == 1


def test_pairs_are_other_data_than_kept_responses():
    def data(training: dict) -> str:
        half = {"name": "quantile", "verifier": "logit", "q": 0.5}
        return make_plan(tiny_experiment(training=training, filter=half)).fingerprints["iteration_0/finetune_data"]

    sft, dpo = data({"name": "sft", "max_per_problem": 4}), data({"name": "dpo"})
    assert sft != dpo
    assert data({"name": "dpo", "beta": 0.5}) == dpo
    assert data({"name": "dpo", "min_score_margin": 0.5}) != dpo


@pytest.mark.parametrize("field", ["patience", "validation_every_steps"])
def test_validation_settings_need_held_out_problems(field):
    for cls in METHODS.values():
        with pytest.raises(ValidationError, match=rf"{field}: nothing where validation_fraction is 0"):
            cls(**{field: 2})


def test_targets_may_be_one_name_or_a_list():
    assert FilteredSft.model_validate({"lora": {"target_modules": "all-linear"}}).lora == FilteredSft(lora={}).lora
    assert FilteredSft.model_validate({"lora": {"target_modules": ["q_proj"]}}).lora.target_modules == ("q_proj",)
    with pytest.raises(ValidationError):
        FilteredSft.model_validate({"lora": {"target_modules": []}})
