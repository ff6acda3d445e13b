"""Judges through vLLM: what the transformers engine says of the same tiny model, vLLM says, too."""

from __future__ import annotations

import itertools

import pytest

from ops.engines.transformers_settings import TransformersEngineSettings
from ops.engines.vllm_settings import VllmSettings
from ops.evaluation.judges.pairwise import PairQuestion, Pairwise
from ops.types import Problem
from ops.verifiers.base import VerificationItem
from ops.verifiers.logit import Logit
from tests.verifiers.test_real_engine import WordFormat

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

TEXTS = ["10 + 8 = 18 ; 18 - 6 = 12", "10 + 8 = 17", "8 * 6 = 48", "6 - 6 = 0"]
PROBLEM = Problem("10 8 6 -> 12", "countdown", "eval", {})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Untrained, of a size whose head_dim vLLM runs on a CPU."""
    from ops.builtin.model import new_model, new_tokenizer

    folder = tmp_path_factory.mktemp("untrained") / "model"
    new_model("xs", 0).save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engines(model):
    found = [VllmSettings(dtype="float32", kv_cache_gib=0.25).load(model)]
    found.append(TransformersEngineSettings(device="cpu").load(model))
    yield found
    for engine in found:
        engine.close()


def test_pairwise_in_both_orders(engines):
    judge = Pairwise(max_tokens=8)
    questions = [
        PairQuestion(PROBLEM, a, b, order, identity)
        for i, (a, b) in enumerate(itertools.pairwise(TEXTS))
        for order, _, identity in judge.question_ids(f"x{i}")
    ]
    answers = []
    for engine in engines:
        found = {index: said for group in judge.ask(engine, WordFormat(), questions) for index, said in group}
        assert sorted(found) == list(range(len(questions)))
        answers.append([(found[i].value, found[i].transcript) for i in range(len(questions))])
    assert answers[0] == answers[1]  # greedy
    assert all(value in (None, 0.0, 1.0) for value, _ in answers[0])


def test_the_scores_that_bradley_terry_reads(engines):
    items = [VerificationItem(PROBLEM, text, f"r{i}") for i, text in enumerate(TEXTS)]
    scores = []
    for engine in engines:
        found = {i: said.score for group in Logit().verify(engine, WordFormat(), items) for i, said in group}
        scores.append([found[i] for i in range(len(items))])
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert len(set(scores[0])) == len(items)
