"""Score drift and the accuracy of the plurality answer, by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.estimation.drift import score_drift
from ops.estimation.plurality import plurality_accuracy

GROUPS = st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6), min_size=1, max_size=5)


def test_drift_by_hand():
    """A: scores 1 .5 -, truth 1 0 1: the third said nothing: 3/4 - 1/2 = 1/4. B: nothing said. C: 0 - 1 = -1."""
    index, truth = np.array([0, 0, 0, 1, 2]), np.array([True, False, True, True, True])
    drift_P = score_drift(index, np.array([1.0, 0.5, np.nan, np.nan, 0.0]), truth, 3)
    assert drift_P == pytest.approx([1 / 4, np.nan, -1.0], nan_ok=True)


def test_a_calibrated_verifier_does_not_drift():
    """It says .25 of four responses of which one is right."""
    assert score_drift(np.zeros(4, int), np.full(4, 0.25), np.array([1, 0, 0, 0], bool), 1) == pytest.approx([0.0])


def test_plurality_by_hand():
    """A: x x y, x right: 1. B: x y, x right, a tie: 1/2. C: no answers, 1 of 2 right: 1/2. D: w right, z z: 0."""
    index = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    answers = ["x", "x", "y", "x", "y", None, None, "w", "z", "z"]
    truth = np.array([1, 1, 0, 1, 0, 1, 0, 1, 0, 0], bool)
    assert plurality_accuracy(index, answers, truth, 4) == pytest.approx([1.0, 0.5, 0.5, 0.0])


def test_no_answers_at_all_are_undefined():
    assert np.isnan(plurality_accuracy(np.array([0, 1]), [None, None], np.array([True, False]), 2)).all()


@given(GROUPS)
def test_plurality_equals_counting(groups):
    """The answer ``a`` is right, alone."""
    index = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    answers = [answer for group in groups for answer in group]
    found = plurality_accuracy(index, answers, np.array([answer == "a" for answer in answers]), len(groups))
    if all(answer is None for answer in answers):
        assert np.isnan(found).all()
        return
    for group, value in zip(groups, found, strict=True):
        votes = Counter(answer for answer in group if answer is not None)
        first = [answer for answer, n in votes.items() if n == max(votes.values())]
        assert value == pytest.approx(first.count("a") / len(first) if first else 0.0)
