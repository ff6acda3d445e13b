"""Learned and forgotten problems by hand; the four fractions are a partition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.estimation.bootstrap import resample_counts
from ops.estimation.transitions import flips

SOLVED = st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, np.nan])] * 2), min_size=1, max_size=20)


def test_by_hand():
    """before 1 1 0 0 0 and after 1 0 1 0 1: 1/5 stayed solved, 2/5 learned, 1/5 forgotten, 1/5 stayed unsolved."""
    before_P, after_P = np.array([1.0, 1, 0, 0, 0, np.nan]), np.array([1.0, 0, 1, 0, 1, 1])
    found = flips(before_P, after_P, resample_counts(6, 500, 0), 0.95)
    assert found.stayed_solved.value == pytest.approx(1 / 5)
    assert found.learned.value == pytest.approx(2 / 5)
    assert found.forgotten.value == pytest.approx(1 / 5)
    assert found.stayed_unsolved.value == pytest.approx(1 / 5)
    assert (found.n_problems, found.n_left_out) == (5, 1)
    assert found.learned.low <= 2 / 5 <= found.learned.high


def test_the_interval_by_hand():
    """Of two problems the second was learned: in the four resamples 0, 1/2, 1/2 and 1. The middle half of them, by
    quantiles that interpolate: at 1/4 of 3 steps 3/4 * 1/2 = 3/8, at 3/4 of 3 steps 1/2 + 1/4 * 1/2 = 5/8."""
    counts_RP = np.array([[2.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
    found = flips(np.array([0.0, 0.0]), np.array([0.0, 1.0]), counts_RP, 0.5)
    assert (found.learned.low, found.learned.high) == (pytest.approx(3 / 8), pytest.approx(5 / 8))


@given(SOLVED)
def test_they_sum_to_one(pairs):
    before_P, after_P = (np.array(side) for side in zip(*pairs, strict=True))
    found = flips(before_P, after_P, resample_counts(len(pairs), 50, 1), 0.9)
    total = sum(item.value for item in (found.stayed_solved, found.learned, found.forgotten, found.stayed_unsolved))
    assert found.n_problems + found.n_left_out == len(pairs)
    if found.n_problems:
        assert total == pytest.approx(1.0)
        solved_P = after_P[~np.isnan(before_P) & ~np.isnan(after_P)]
        assert found.stayed_solved.value + found.learned.value == pytest.approx(solved_P.mean())
    else:
        assert np.isnan(total)


def test_what_is_not_solved_or_unsolved_is_refused():
    with pytest.raises(ValueError, match="1 or 0"):
        flips(np.array([0.5]), np.array([1.0]), np.ones((2, 1)), 0.9)
    with pytest.raises(ValueError, match="same problems"):
        flips(np.array([0.0, 1.0]), np.array([1.0]), np.ones((2, 1)), 0.9)
