"""All verifiers of one experiment through the verification stage, with a hardly trained built-in model."""

from __future__ import annotations

import json

import polars as pl
import pytest
from pydantic import ValidationError

from ops.config import Experiment
from ops.lab import Lab
from ops.plan import make_plan
from ops.stages.base_model import obtain_base_model
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.problems import make_problems
from ops.stages.scores import collect_scores
from ops.stages.verification import verify_responses
from tests.conftest import tiny_experiment

ALL = [
    {"name": "logit"},
    {"name": "binary_cot", "max_tokens": 24},
    {"name": "score_cot", "max_tokens": 24, "repeats": 2, "label": "score"},
    {"name": "tournament", "max_tokens": 24},
    {"name": "p_true"},
    {"name": "self_certainty"},
    {"name": "sequence_logprob", "threshold": -2.0},
    {"name": "majority"},
    {"name": "ensemble", "how": "and", "of": ["logit", {"verifier": "self_certainty", "threshold": 1.0}]},
    {"name": "ensemble", "how": "mean", "of": ["logit", "score", "p_true"], "label": "mean"},
    {"name": "ensemble", "how": "majority", "of": ["logit", "score", "tournament"], "label": "vote"},
]


def test_every_verifier_scores_every_response(tmp_path):
    lab = Lab.open(tiny_experiment(verifiers=ALL, iterations=0), home=tmp_path)
    make_problems(lab)
    obtain_base_model(lab)
    sample_responses(lab, 0)
    grade_responses(lab, 0)
    verify_responses(lab, 0)
    collect_scores(lab, 0)
    prints = lab.plan.fingerprints
    scores = lab.store.read("verification_scores", prints["iteration_0/verification_scores"])
    generations = lab.store.read("generations", prints["iteration_0/generations"])
    lab.close()
    names = [verifier.called for verifier in lab.experiment.verifiers]
    assert scores["verifier"].unique(maintain_order=True).to_list() == names
    assert names[-3:] == ["and-logit+self_certainty", "mean", "vote"]
    for name in names:
        part = scores.filter(pl.col("verifier") == name)
        assert part["response_id"].to_list() == generations["response_id"].to_list()
        assert (part["score"].is_null() == (part["verdict"] == "unparseable")).all()
    of = {name: scores.filter(pl.col("verifier") == name)["score"].fill_null(float("nan")) for name in names}
    both = (of["logit"] >= 0) & (of["self_certainty"] >= 1.0)
    assert (of["and-logit+self_certainty"].fill_nan(None).drop_nulls() == both.cast(pl.Float64)).all()
    records = [json.loads(text) for text in scores.filter(pl.col("verifier") == "tournament")["transcript"]]
    assert all(isinstance(record, list) for record in records)
    assert scores.filter(pl.col("verifier") == "majority")["verifier_model"].null_count() == generations.height


@pytest.mark.parametrize(
    ("verifier", "words"),
    [
        ({"name": "ensemble", "how": "and", "of": ["logit", "nobody"]}, "verifiers.2..of: labels .* got nobody"),
        ({"name": "ensemble", "how": "mean", "of": ["logit", "sequence_logprob"]}, "verifiers.2..of: .* have a range"),
        ({"name": "ensemble", "how": "and", "of": ["logit", "sequence_logprob"]}, "none of its own"),
        ({"name": "logit"}, "a label of its own"),
    ],
)
def test_ensembles_are_checked_with_the_file(verifier, words):
    with pytest.raises(ValueError, match=words):
        tiny_experiment(verifiers=[{"name": "logit"}, {"name": "sequence_logprob"}, verifier], iterations=0)


def test_what_is_trained_on_follows_the_members_of_an_ensemble():
    def trained_on(**changes):
        ensemble = {"name": "ensemble", "how": "and", "of": ["logit", "score_cot"], "label": "both"}
        verifiers = [{"name": "logit"}, {"name": "score_cot", **changes}, ensemble]
        chosen = {"name": "threshold", "verifier": "both", "threshold": 0.5}
        experiment: Experiment = tiny_experiment(verifiers=verifiers, filter=chosen)
        return make_plan(experiment).fingerprints["iteration_0/finetune_data"]

    assert trained_on() == trained_on(label="score_cot")
    assert trained_on() != trained_on(seed=1)
    assert trained_on() != trained_on(threshold=5.0)  # the member accepts other scores then
    assert trained_on() != trained_on(repeats=3)  # and its scores are means


def test_another_threshold_asks_nobody_anything():
    def plan(**changes):
        return make_plan(tiny_experiment(verifiers=[{"name": "score_cot", **changes}], iterations=0))

    assert plan().verification_pools == plan(threshold=5.0).verification_pools == plan(repeats=3).verification_pools
    scores = "iteration_0/verification_scores"
    assert len({plan(**c).fingerprints[scores] for c in ({}, {"threshold": 5.0}, {"repeats": 3})}) == 3


def test_recorded_scores_need_recorded_responses():
    with pytest.raises(ValidationError, match="a verifier of responses sampled here, got recorded"):
        tiny_experiment(verifiers=[{"name": "recorded", "column": "judge"}], iterations=0)
