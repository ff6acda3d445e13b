"""Pairs, rows and steps through the stages: who is chosen, what is committed, and models from before."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError

from ops.errors import DatasetError, ModelError
from ops.lab import Lab
from ops.stages import preference_pairs
from ops.stages.base_model import obtain_base_model
from ops.stages.filtering import filter_weights
from ops.stages.finetuning import _examples, finetune_model, register_model, select_finetune_data
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.preference_pairs import _pairs
from ops.stages.problems import make_problems
from ops.stages.scores import collect_scores
from ops.stages.training_rows import training_rows
from ops.stages.training_steps import STEPS
from ops.stages.verification import verify_responses
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.training.dpo_settings import Dpo
from tests.conftest import tiny_experiment

HALF = {"name": "quantile", "verifier": "logit", "q": 0.5}
DPO = {"name": "dpo", "batch_size": 4, "max_per_problem": 3, "replay_fraction": 0.25, "epochs": 2}


@pytest.fixture(scope="module")
def verified(tmp_path_factory) -> Path:
    """A home in which iteration 0 of the tiny experiment is verified; every test works in a copy of it."""
    home = tmp_path_factory.mktemp("verified")
    opened(home).close()
    return home


@pytest.fixture
def home(verified, tmp_path) -> Path:
    return Path(shutil.copytree(verified, tmp_path / "home"))


def opened(home, name="tiny", **changes) -> Lab:
    """A lab whose iteration 0 is verified; what ``home`` has is adopted."""
    sampling = {"n_train": 8, "n_eval": 2, "max_tokens": 24}
    lab = Lab.open(tiny_experiment(name, **{"filter": HALF, "sampling": sampling, **changes}), home=home)
    make_problems(lab)
    obtain_base_model(lab)
    sample_responses(lab, 0)
    grade_responses(lab, 0)
    verify_responses(lab, 0)
    collect_scores(lab, 0)
    return lab


def table(lab: Lab, name: str, asset: str) -> pl.DataFrame:
    return lab.store.read(name, lab.plan.fingerprints[f"iteration_0/{asset}"])


def test_pairs_through_the_stages(home):
    lab = opened(home, training=DPO)
    result = select_finetune_data(lab, 0)
    pairs = table(lab, "preference_pairs", "finetune_data")
    assert result.n_rows == pairs.height > 0
    assert not lab.store.has("finetune_data", lab.plan.fingerprints["iteration_0/finetune_data"])
    scores = table(lab, "verification_scores", "verification_scores").filter(verifier="logit")
    score_of = dict(zip(scores["response_id"], scores["score"], strict=True))
    responses = {row["response_id"]: row for row in table(lab, "generations", "generations").to_dicts()}
    for row in pairs.to_dicts():
        assert row["chosen_score"] > row["rejected_score"] or row["weight"] < 1.0
        for side in ("chosen", "rejected"):
            source = responses[row[f"{side}_response_id"]]
            assert (source["problem_id"], source["split"]) == (row["problem_id"], "train")
            assert source["finish_reason"] == "stop"
            assert row[side] == lab.prompt_format().completion(source["response"], True)
            assert row["prompt"] == source["prompt"]
            assert row[f"{side}_score"] == score_of[source["response_id"]]
            assert row[f"{side}_verdict"] == source["verdict"]
        assert row["chosen"] != row["rejected"]
    assert pairs.group_by("problem_id").len()["len"].max() <= 3
    assert result.metadata["pairs"] == pairs.height
    chosen = training_rows(lab, 0)
    assert chosen.columns == ["problem_id", "sample_index", "response_id", "verdict"]
    assert set(chosen["response_id"]) == set(pairs["chosen_response_id"])
    assert chosen["response_id"].is_unique().all()
    numbers = finetune_model(lab, 0)
    assert numbers["examples"] == pairs.height and numbers["final_loss"] > 0
    register_model(lab, 0)
    sample_responses(lab, 1)  # the new model is one that an engine loads
    lab.close()


def test_kept_responses_and_their_steps(home):
    training = {"name": "sft", "epochs": 2, "batch_size": 8, "validation_fraction": 0.3, "lora": {"rank": 2}}
    lab = opened(home, training=training)
    select_finetune_data(lab, 0)
    data = table(lab, "finetune_data", "finetune_data")
    assert set(training_rows(lab, 0)["response_id"]) == set(data["response_id"])
    numbers = finetune_model(lab, 0)
    register_model(lab, 0)
    steps = table(lab, "training_steps", "model")
    assert steps["step"].to_list()[-1] == numbers["optimizer_steps"]
    assert steps.filter("kept")["step"].to_list() == [numbers["optimizer_steps"]]
    assert steps["validation_loss"].drop_nulls().len() == 2
    model = table(lab, "models", "model")
    assert model["optimizer_steps"].to_list() == [numbers["optimizer_steps"]]
    parameters, tokens = numbers["n_parameters"], numbers["train_tokens"]
    assert 20_000 < parameters < 40_000  # the merged model, adapters gone
    assert 4.0 * parameters * tokens < numbers["train_flops"] < 6.0 * parameters * tokens
    sample_responses(lab, 1)
    lab.close()


def test_both_tables_of_the_model_are_current_and_shared(home):
    """``models`` and ``training_steps`` are of one asset: neither hides the other, here or in a second experiment."""
    for name in ("tiny", "twin"):
        lab = opened(home, name)
        select_finetune_data(lab, 0)
        finetune_model(lab, 0)
        register_model(lab, 0)
        register_model(lab, 0)
        lab.close()
    rebuild_catalog(home)
    found = query(home, "SELECT experiment, count(*) AS n FROM training_steps WHERE kept GROUP BY 1 ORDER BY 1")
    assert found.rows() == [("tiny", 1), ("twin", 1)]
    found = query(home, "SELECT experiment, count(*) AS n FROM models WHERE role = 'finetuned' GROUP BY 1 ORDER BY 1")
    assert found.rows() == [("tiny", 1), ("twin", 1)]


def test_a_model_from_before_steps_were_logged_keeps_working(home):
    lab = opened(home)
    select_finetune_data(lab, 0)
    finetune_model(lab, 0)
    (lab.store.model_folder(lab.plan.models[1]) / STEPS).unlink()
    assert finetune_model(lab, 0) == {"reused": True}
    assert register_model(lab, 0).n_rows == 1
    assert not lab.store.has("training_steps", lab.plan.fingerprints["iteration_0/model"])
    lab.close()


@pytest.mark.parametrize("filter", [{"name": "none"}, {"name": "kl", "verifier": "logit", "beta": 0.1}])
def test_pairs_need_a_filter_that_drops(filter):
    with pytest.raises(ValidationError, match=f"filter: one that drops responses.*got {filter['name']}"):
        tiny_experiment(training={"name": "dpo"}, filter=filter)
    tiny_experiment(training={"name": "dpo"}, filter=filter, iterations=0)  # where nothing is trained
    tiny_experiment(training={"name": "sft"}, filter=filter)


def test_a_margin_needs_a_filter_of_one_verifier():
    training = {"name": "dpo", "min_score_margin": 0.1}
    with pytest.raises(ValidationError, match=r"training\.min_score_margin: null with filter gold"):
        tiny_experiment(training=training, filter={"name": "gold"})
    tiny_experiment(training=training, filter=HALF)


def test_no_pairs_are_one_clear_error(home):
    lab = opened(home, training={"name": "dpo"}, filter={"name": "threshold", "verifier": "logit", "threshold": -9.0})
    assert select_finetune_data(lab, 0).n_rows == 0
    assert training_rows(lab, 0).is_empty()
    with pytest.raises(DatasetError, match="no pairs to learn"):
        finetune_model(lab, 0)
    lab.close()


def responses(*rows: tuple[str, float, float | None]) -> pl.DataFrame:
    """(text, weight, score) of one problem's responses."""
    return pl.DataFrame(
        [
            {"problem_id": "p", "sample_index": i, "response": text, "weight": weight, "score": score}
            | {"verdict": "correct" if weight else "incorrect", "response_id": f"r{i}"}
            for i, (text, weight, score) in enumerate(rows)
        ]
    )


def drawn(part: pl.DataFrame, **settings) -> list[tuple[str, str]]:
    return [(row["chosen_response_id"], row["rejected_response_id"]) for row in _pairs(part, Dpo(**settings))]


def test_pairs_of_one_problem_by_hand():
    """Kept a, a, b; dropped c, d: (a, c) is one pair though a was sampled twice."""
    part = responses(("a", 1.0, 0.9), ("a", 1.0, 0.9), ("b", 1.0, 0.6), ("c", 0.0, 0.2), ("d", 0.0, 0.5))
    every = drawn(part, max_per_problem=None)
    texts = {(part["response"][int(one[1:])], part["response"][int(other[1:])]) for one, other in every}
    assert texts == {("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")} and len(every) == 4
    assert drawn(part, max_per_problem=None) == every  # the seed's
    assert set(drawn(part, max_per_problem=2)) <= set(every) and len(drawn(part, max_per_problem=2)) == 2
    assert len({tuple(drawn(part, max_per_problem=1, seed=seed)) for seed in range(20)}) > 1
    apart = drawn(part, max_per_problem=None, min_score_margin=0.3)
    assert len(apart) == 3 and ("r2", "r4") not in apart  # b is 0.1 above d, the others are 0.4 and 0.7 apart
    assert drawn(responses(("a", 1.0, 0.9)), max_per_problem=None) == []


def test_a_text_on_both_sides_is_on_neither():
    """Kept a, b, c; dropped a, b, d: a over b and b over a would contradict each other, so c over d is left."""
    part = responses(
        ("a", 1.0, 0.9), ("b", 1.0, 0.9), ("c", 1.0, 0.9), ("a", 0.0, 0.1), ("b", 0.0, 0.1), ("d", 0.0, 0.1)
    )
    assert drawn(part, max_per_problem=None) == [("r2", "r5")]
    assert drawn(part[[0, 1, 3, 4]], max_per_problem=None) == []


def test_a_verification_that_could_not_be_read_rejects_nothing(home, monkeypatch):
    """Unparseable is its own value: such responses have no weight, and stand in no pair."""
    lab = opened(home, training={"name": "dpo", "max_per_problem": None})
    gone: set[str] = set()

    def with_gaps(lab, iteration, found):
        weights, scores = filter_weights(lab, iteration, found)
        unread = np.arange(len(weights)) % 3 == 0
        gone.update(np.array(found.frame["response_id"].to_list())[unread])
        return np.where(unread, 0.0, weights), {"logit": np.where(unread, np.nan, scores["logit"])}

    monkeypatch.setattr(preference_pairs, "filter_weights", with_gaps)
    pairs = preference_pairs.select_pairs(lab, 0)
    assert gone and pairs.height
    assert not gone & {*pairs["chosen_response_id"], *pairs["rejected_response_id"]}
    lab.close()


def test_out_of_memory_names_the_setting(home, monkeypatch):
    """Whatever the allocator says: in a step, or of the reference of DPO."""

    def none_left(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore words.")

    lab = opened(home, training={"name": "sft", "tokens_per_micro_batch": 512})
    select_finetune_data(lab, 0)
    monkeypatch.setattr("ops.training.loss.learnt_losses", none_left)
    with pytest.raises(
        ModelError, match=r"parts of 512 tokens: CUDA out of memory. Tried to allocate 9 GiB.\n"
    ) as error:
        finetune_model(lab, 0)
    assert error.value.field == "training.tokens_per_micro_batch" and "activation_checkpointing" in error.value.remedy
    monkeypatch.undo()
    lab.close()
    lab = opened(home, training=DPO)
    select_finetune_data(lab, 0)
    monkeypatch.setattr("ops.training.dpo.learnt_losses", none_left)
    with pytest.raises(ModelError, match="a whole batch at once"):
        finetune_model(lab, 0)
    lab.close()


def test_training_reads_the_columns_it_needs(home):
    for training in ({"name": "sft"}, DPO):
        lab = opened(home, training=training)
        select_finetune_data(lab, 0)
        assert _examples(lab, 0).columns == list(lab.experiment.training.examples_columns)
        lab.close()
