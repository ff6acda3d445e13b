"""Every verifier that asks a model, once through the transformers engine with a real (tiny, untrained) model."""

import json
import math

import pytest

from ops.engines.transformers_settings import TransformersEngineSettings
from ops.types import Problem
from ops.verifiers import VERIFIERS
from ops.verifiers.base import ModelVerifier, VerificationItem
from ops.verifiers.logit import Logit
from ops.verifiers.p_true import PTrue
from ops.verifiers.sequence_logprob import SequenceLogprob
from ops.verifiers.tournament import Tournament

RESPONSES = ["10 + 8 = 18 ; 18 - 6 = 12", "10 + 8 = 17", "8 * 6 = 48", "10 + 8 = 18 ; 18 - 6 = 12", "6 - 6 = 0"]


class WordFormat:
    """Words that the tiny tokenizer knows. An untrained model says anything: its number of words is the judgement."""

    solve_stop, check_stop = (".",), (".",)
    choices = p_true_choices = ("yes", "no")

    def solve(self, problem):
        return f"<s> {problem.problem_id} :"

    def completion(self, response, finished):
        return f" {response}"

    def logit(self, problem, response):
        return f"<s> {problem.problem_id} : {response} . ?"

    p_true = logit

    def binary_cot(self, problem, response):
        return f"<s> {problem.problem_id} : {response} . #"

    def score_cot(self, problem, response, scale):
        return self.binary_cot(problem, response)

    def tournament(self, problem, first, second):
        return f"<s> {problem.problem_id} : {first} . {second} . #"

    def parse_binary_cot(self, transcript, finished):
        return ("correct", "incorrect", "unparseable")[len(transcript.split()) % 3]

    def parse_score_cot(self, transcript, finished, scale):
        return float(scale[0] + len(transcript.split()) % (scale[1] - scale[0] + 1))

    def parse_tournament(self, transcript, finished):
        return ("first", "second", None)[len(transcript.split()) % 3]


@pytest.fixture
def engine(tiny_model_folder):
    return TransformersEngineSettings(device="cpu", batch_size=16).load(tiny_model_folder)


ITEMS = [
    VerificationItem(Problem(p, "countdown", "eval", {}), text, f"{p}/{i}", f"{p}#0", i)
    for p in ("10 8 6 -> 12", "3 4 5")
    for i, text in enumerate(RESPONSES)
]


def _verified(verifier, engine):
    found = {}
    for group in verifier.verify(engine, WordFormat(), ITEMS):
        found.update(dict(group))
    assert sorted(found) == list(range(len(ITEMS)))
    return [found[i] for i in range(len(ITEMS))]


@pytest.mark.parametrize("name", [name for name, item in VERIFIERS.items() if issubclass(item, ModelVerifier)])
def test_it_scores_every_response_and_does_so_again(name, engine):
    verifier = VERIFIERS[name]()
    first, second = _verified(verifier, engine), _verified(verifier, engine)
    assert [(v.score, v.verdict) for v in first] == [(v.score, v.verdict) for v in second]
    low, high = verifier.score_range or (-math.inf, math.inf)
    for v in first:
        assert (v.score is None) == (v.verdict == "unparseable")
        assert v.score is None or low <= v.score <= high
    assert len({v.score for v in first}) > 1
    assert first[0].n_tokens == 0 or verifier.prompt_kind in ("binary_cot", "score_cot", "tournament")


def test_p_true_and_logit_agree_on_what_they_read(engine):
    # With the same prompt and choices both are functions of the same two probabilities: p+ > p- is share > .5.
    share, difference = _verified(PTrue(), engine), _verified(Logit(), engine)
    assert [a.score > 0.5 for a in share] == [b.score > 0 for b in difference]


def test_the_sum_is_the_mean_times_the_length(engine):
    mean, total = _verified(SequenceLogprob(), engine), _verified(SequenceLogprob(normalise="sum"), engine)
    for item, a, b in zip(ITEMS, mean, total, strict=True):
        assert b.score == pytest.approx(a.score * len(item.response.split()))
        assert b.score < 0


def test_a_tournament_has_survivors(engine):
    found = _verified(Tournament(seed=1), engine)
    for start in (0, 5):
        group = found[start : start + 5]
        assert any(v.score == 1.0 or v.score is None for v in group)
        played = [len(json.loads(v.transcript)) for v in group]
        assert max(played) >= 1
    assert sum(v.n_tokens for v in found) > 0
