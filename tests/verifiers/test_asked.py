"""Verifiers that ask for a verdict, a score or a probability: what they make of the answers."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from ops.types import CORRECT, INCORRECT, UNPARSEABLE
from ops.verifiers import VERIFIERS
from ops.verifiers.base import combined
from ops.verifiers.binary_cot import BinaryCot
from ops.verifiers.p_true import PTrue
from ops.verifiers.score_cot import ScoreCot
from ops.verifiers.self_certainty import SelfCertainty
from ops.verifiers.sequence_logprob import SequenceLogprob
from tests.verifiers.scripted import ScriptedEngine, items_of, verified


def test_score_cot_stays_on_its_scale():
    said = {"a": "Fine.\nScore: 8", "b": "Score: 7.5", "c": "Score: 11", "d": "It is good.", "e": "**Score:** 0/10"}
    engine = ScriptedEngine(lambda prompt, seed: said[prompt[-1]])
    found = verified(ScoreCot(), engine, items_of(list(said)))
    assert [v.score for v in found] == [8.0, 7.5, None, None, 0.0]
    assert [v.verdict for v in found] == [CORRECT, INCORRECT, UNPARSEABLE, UNPARSEABLE, INCORRECT]
    assert [v.transcript for v in found] == list(said.values())
    assert [v.n_tokens for v in found] == [3, 2, 2, 3, 2]
    assert engine.calls[0][0].startswith("score 0-10 ")


@pytest.mark.parametrize(
    ("fields", "threshold", "span"),
    [
        ({}, 8.0, (0, 10)),
        ({"scale": [1, 10]}, 8.2, (1, 10)),  # 1 + .8 * 9
        ({"scale": [0, 100], "threshold": 50.0}, 50.0, (0, 100)),
    ],
)
def test_scale_and_threshold(fields, threshold, span):
    verifier = ScoreCot.model_validate(fields)
    assert verifier.default_threshold == pytest.approx(threshold)
    assert verifier.score_range == span
    assert verifier.verdict_of(threshold) == CORRECT
    assert verifier.verdict_of(threshold - 0.01) == INCORRECT


@pytest.mark.parametrize("scale", [[10, 0], [5, 5], [0, 5.5], [0, 5, 10], "0-10"])
def test_scales_that_are_none(scale):
    with pytest.raises(ValidationError):
        ScoreCot.model_validate({"scale": scale})


def test_equal_responses_are_judged_by_samples_of_their_own():
    engine = ScriptedEngine(lambda prompt, seed: f"Score: {seed % 11}")
    verified(ScoreCot(), engine, items_of(["a"] * 6 + ["b"]))
    assert len(set(engine.seeds)) == 7
    again = ScriptedEngine(lambda prompt, seed: f"Score: {seed % 11}")
    verified(ScoreCot(), again, items_of(["a"] * 6 + ["b"]))
    assert again.seeds == engine.seeds
    other = ScriptedEngine(lambda prompt, seed: f"Score: {seed % 11}")
    verified(ScoreCot(seed=1), other, items_of(["a"] * 6 + ["b"]))
    assert not set(other.seeds) & set(engine.seeds)


def test_repeats_are_averaged_and_unparseable_ones_left_out():
    said = iter(["Score: 4", "no idea", "Score: 9"])
    engine = ScriptedEngine(lambda prompt, seed: next(said))
    parts = [verified(ScoreCot(repeats=3), engine, items_of(["a"]))[0] for _ in range(3)]
    # (4 + 9) / 2 = 6.5, below 8; the unreadable one is no zero. Tokens 2 + 2 + 2.
    mean = combined(ScoreCot(repeats=3), parts)
    assert (mean.score, mean.verdict, mean.n_tokens) == (6.5, INCORRECT, 6)
    assert combined(ScoreCot(), [parts[1], parts[1]]).score is None
    assert combined(ScoreCot(), [parts[1], parts[1]]).verdict == UNPARSEABLE
    assert combined(ScoreCot(), parts[:1]) == parts[0]
    assert ScoreCot(repeats=3).identity() == ScoreCot(repeats=1).identity()


def test_binary_cot_counts_the_unparseable():
    said = {"a": "Verdict: correct", "b": "Verdict: incorrect", "c": "Well."}
    found = verified(BinaryCot(), ScriptedEngine(lambda prompt, seed: said[prompt[-1]]), items_of(list(said)))
    assert [(v.score, v.verdict) for v in found] == [(1.0, CORRECT), (0.0, INCORRECT), (None, UNPARSEABLE)]


def test_p_true_is_the_share_of_true():
    # .3 / (.3 + .1) = .75; .1 / (.1 + .4) = .2; e^-900 / (e^-900 + e^-900) = .5 although both underflow.
    p = {"a": (math.log(0.3), math.log(0.1)), "b": (math.log(0.1), math.log(0.4)), "c": (-900.0, -900.0)}
    p["d"] = (-math.inf, -math.inf)
    engine = ScriptedEngine(lambda prompt, seed: p[prompt[-1]])
    found = verified(PTrue(), engine, items_of(["a", "b", "c", "d", "a"]))
    assert [v.score for v in found] == [
        pytest.approx(0.75),
        pytest.approx(0.2),
        pytest.approx(0.5),
        None,
        found[0].score,
    ]
    assert [v.verdict for v in found] == [CORRECT, INCORRECT, CORRECT, UNPARSEABLE, CORRECT]
    assert len(engine.calls[0]) == 4  # equal responses once


def test_token_scores():
    # The scripted engine says -0.5 nats per token, and a certainty of 2.
    engine = ScriptedEngine()
    items = items_of(["one two three", " ", "one two three"])
    assert [v.score for v in verified(SequenceLogprob(), engine, items)] == [-0.5, None, -0.5]
    assert [v.score for v in verified(SequenceLogprob(normalise="sum"), engine, items)] == [-1.5, None, -1.5]
    found = verified(SelfCertainty(), engine, items)
    assert [v.score for v in found] == [2.0, None, 2.0]
    assert [v.verdict for v in found] == [CORRECT, UNPARSEABLE, CORRECT]
    assert engine.calls[0] == ["solve p0 -> one two three", "solve p0 ->  "]
    assert verified(SelfCertainty(threshold=2.5), engine, items)[0].verdict == INCORRECT


def test_default_filters():
    assert ScoreCot(label="s").default_filter().label == "s ≥ 8"
    assert SequenceLogprob().default_filter().label == "sequence_logprob top 20 %"
    assert SequenceLogprob(threshold=-1.5).default_filter().label == "sequence_logprob ≥ -1.5"


def test_one_line_for_each():
    assert sorted(VERIFIERS) == list(VERIFIERS)
    classes: dict[str, Any] = dict(VERIFIERS)
    for name, verifier in classes.items():
        assert verifier.model_fields["name"].default == name
