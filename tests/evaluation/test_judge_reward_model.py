"""Reward models: what they read, that padding changes nothing, what is refused, and the judge through the stage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from ops.builtin.model import new_tokenizer
from ops.errors import ModelError
from ops.evaluation import rewards as module
from ops.evaluation.judges.reward_model import RewardModel
from ops.evaluation.rewards import load_reward_model, reward_ids, reward_logits, reward_text, rewards
from ops.stages.problems import problems_of
from tests.evaluation.judged_lab import commit_pairs, judged, open_lab

TEMPLATE = "{{ bos_token }}{% for m in messages %} {{ '?' if m.role == 'user' else '#' }} {{ m.content }} .{% endfor %}"
TEXTS = ["10 + 8 = 18", "1", "3 4 5 -> 12 : 3 * 4 = 12 . 9 - 2 = 7", "8 * 6 = 48"]


def save(folder: Path, *, causal: bool = False, template: str | None = None, **changes) -> Path:
    """A tiny untrained checkpoint whose rewards are far apart."""
    tokenizer = new_tokenizer()
    tokenizer.chat_template = template
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    named = {"num_labels": 1, "pad_token_id": None, "max_position_embeddings": 128, "initializer_range": 0.5}
    config = LlamaConfig(vocab_size=len(tokenizer), **{**sizes, **named, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        (LlamaForCausalLM if causal else LlamaForSequenceClassification)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def alone(folder: Path, texts: list[str]) -> list[float]:
    """Rewards as transformers itself gives them, one text at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = new_tokenizer()
    with torch.no_grad():
        rows = [torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]]) for text in texts]
        return [float(model(input_ids=row).logits[0, 0]) for row in rows]


@pytest.mark.parametrize("padding", ["none", "own"])
def test_a_batch_gives_what_single_texts_give(tmp_path, padding):
    pad = None if padding == "none" else new_tokenizer().pad_token_id
    folder = save(tmp_path / "reward", pad_token_id=pad)
    model, tokenizer = load_reward_model(folder, "cpu")
    expected = alone(folder, TEXTS)
    assert np.ptp(expected) > 0.1
    assert rewards(model, tokenizer, TEXTS, batch_size=3) == pytest.approx(expected, abs=1e-5)
    assert rewards(model, tokenizer, TEXTS, batch_size=1) == pytest.approx(expected, abs=1e-5)
    assert model.config.pad_token_id == pad  # as it was
    assert model.dtype == torch.float32 and not model.training
    assert rewards(model, tokenizer, []).shape == (0,)


def test_gradients_flow_through_a_batch(tmp_path):
    model, tokenizer = load_reward_model(save(tmp_path / "reward"), "cpu")
    found = reward_logits(model, reward_ids(tokenizer, TEXTS))
    (found[0] - found[1]).backward()
    assert found.shape == (4,) and float(model.score.weight.grad.abs().sum()) > 0


def test_what_is_read(tmp_path):
    tokenizer = new_tokenizer()
    assert reward_text(tokenizer, "3 4", "3 + 4") == "3 4\n3 + 4"
    tokenizer.chat_template = TEMPLATE
    text = reward_text(tokenizer, "3 4", "3 + 4")
    assert text == f"{tokenizer.bos_token} ? 3 4 . # 3 + 4 ."
    ids = reward_ids(tokenizer, [text])[0]
    assert ids.count(tokenizer.bos_token_id) == 1 and tokenizer.decode(ids) == text


def test_more_outputs_than_one_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"3 outputs \(num_labels\)"):
        load_reward_model(save(tmp_path / "three", num_labels=3), "cpu")


def test_a_language_model_is_no_reward_model(tmp_path):
    with pytest.raises(ModelError, match=r"weights of a reward model are missing: score\.weight"):
        load_reward_model(save(tmp_path / "causal", causal=True), "cpu")


def test_pickled_weights_are_refused(tmp_path):
    folder = save(tmp_path / "pickled")
    model = LlamaForSequenceClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="not a reward model that loads"):
        load_reward_model(folder, "cpu")


def test_through_the_stage(tmp_path, monkeypatch):
    folder = save(tmp_path / "reward", template=TEMPLATE)
    judge = {"name": "reward_model", "path": str(folder), "scale": 0.5, "batch_size": 2}
    lab = open_lab(tmp_path / "home", [judge])
    pairs = commit_pairs(
        lab, [("b", "3 + 4", "4 - 3"), ("b", "7", "7"), ("b", "9 * 2", "2"), ("c", "3 + 4", "4 - 3"), ("c", "1", "7")]
    )
    read: list[int] = []
    known = module.reward_logits
    monkeypatch.setattr(module, "reward_logits", lambda model, ids: read.append(len(ids)) or known(model, ids))
    rows = judged(lab)
    assert sum(read) == 6  # of 10 texts: two are equal on both sides, two pairs are one
    problems = {problem.problem_id: problem for problem in problems_of(lab, 0, "eval")}
    model, tokenizer = load_reward_model(folder, "cpu")

    def reward(problem_id: str, response: str) -> float:
        question = lab.experiment.task.question(problems[problem_id])
        return rewards(model, tokenizer, [reward_text(tokenizer, question, response)])[0]

    for row, pair in zip(rows.iter_rows(named=True), pairs.iter_rows(named=True), strict=True):
        if pair["is_identical"]:
            assert row["score"] == 0.5
            continue
        own, other = (reward(pair["problem_id"], pair[name]) for name in ("response", "reference_response"))
        assert (row["reward"], row["reference_reward"]) == (pytest.approx(own), pytest.approx(other))
        assert row["score"] == pytest.approx(1 / (1 + math.exp(-(own - other) / 0.5)))
        assert row["transcript"] is None and row["n_tokens"] == 0
    assert set(rows["judge"]) == {"reward_model@reward"}
    assert set(rows["judge_model"]) == {lab.evaluation_plan.judge_models["reward_model@reward"]}


def test_accuracy_is_the_reward_itself(tmp_path):
    folder = save(tmp_path / "reward")
    lab = open_lab(tmp_path / "home", [{"name": "reward_model", "path": str(folder)}], "accuracy")
    commit_pairs(lab, [("b", "3 + 4", None), ("countdown/a", "9", None)])
    rows = judged(lab)
    assert rows["score"].to_list() == rows["reward"].to_list()
    assert rows["score"].null_count() == 0 and rows["reference_reward"].null_count() == 2


@pytest.mark.parametrize(("limit", "remedy"), [({"max_tokens": 40}, "raise max_tokens"), ({}, "a longer context")])
def test_what_is_too_long_is_named_before_a_model_is_loaded(tmp_path, monkeypatch, limit, remedy):
    folder = save(tmp_path / "reward")
    lab = open_lab(tmp_path / "home", [{"name": "reward_model", "path": str(folder), **limit}])
    commit_pairs(lab, [("b", "1", "2"), ("c", "1 + " * 100, "2")])

    def load(*of):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(module, "load_reward_model", load)
    with pytest.raises(ModelError, match=r"tokens in pair c0 .*model c") as caught:
        judged(lab)
    assert remedy in caught.value.remedy


def test_equal_texts_are_one_reward():
    assert RewardModel.text_id("q", "r") == RewardModel.text_id("q", "r")
    assert RewardModel.text_id("q", "r") != RewardModel.text_id("qr", "")
    assert json.dumps(RewardModel(path="x/y").identity()).count("path") == 0
