"""Gap and relative gap by hand, and the coverage of their intervals by simulation."""

import numpy as np
import pytest

from ops.estimation.bootstrap import mean_interval, percentile_interval, resample_counts
from ops.estimation.gap import estimate_gap
from ops.selection.top_n import TopN


def _flat(groups):
    """[[(correct, weight), ...] per problem] -> problem_index, is_correct, weights."""
    index = [p for p, group in enumerate(groups) for _ in group]
    return (
        np.array(index),
        np.array([bool(c) for group in groups for c, _ in group]),
        np.array([float(w) for group in groups for _, w in group]),
    )


def _estimate(groups, **options):
    counts = resample_counts(len(groups), 500, 0)
    return estimate_gap(*_flat(groups), counts, 0.95, **options)


def test_gap_by_hand():
    # Problem 0: J = 1/2, kept {1} -> 1.  Problem 1: J = 1/4, kept {0, 1} -> 1/2.
    groups = [[(1, 1), (0, 0)], [(1, 1), (0, 1), (0, 0), (0, 0)]]
    result = _estimate(groups)
    assert result.accuracy.value == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert result.filtered_accuracy.value == pytest.approx((1 + 1 / 2) / 2)
    assert result.gap.value == pytest.approx(3 / 8)
    # (1/2)/(1/2) = 1 and (1/4)/(3/4) = 1/3, mean over problems 2/3.
    assert result.relative_gap.value == pytest.approx(2 / 3)
    assert result.kept_fraction == pytest.approx(3 / 6)
    assert (result.n_problems_kept_empty, result.n_problems_solved) == (0, 0)


def test_relative_gap_can_differ_in_sign_from_the_gap():
    # Problem 0: J = 9/10 -> J_w = 6/10: gap -0.3, relative -3.  Problem 1: J = 0.2 -> 0.8: gap +0.6, relative +0.75.
    first = [(1, 1)] * 3 + [(1, 0)] * 6 + [(0, 1)] + [(1, 0)] * 0
    kept_accuracy = 3 / 4
    first_gap = kept_accuracy - 9 / 10
    second = [(1, 1), (1, 1), *[(0, 0)] * 8]
    result = _estimate([first, second])
    assert result.gap.value == pytest.approx((first_gap + 0.8) / 2)
    assert result.relative_gap.value == pytest.approx((first_gap / 0.1 + 0.8 / 0.8) / 2)
    assert result.gap.value > 0 > result.relative_gap.value


def test_a_problem_where_nothing_is_kept_keeps_its_accuracy():
    result = _estimate([[(1, 0), (0, 0)], [(1, 1), (0, 0)]])
    assert result.n_problems_kept_empty == 1
    assert result.gap.value == pytest.approx((0 + 0.5) / 2)


def test_solved_problems_are_left_out_of_the_relative_gap():
    result = _estimate([[(1, 1), (1, 0)], [(1, 1), (0, 0)]])
    assert result.n_problems_solved == 1
    assert result.relative_gap.value == pytest.approx(1.0)


def test_all_solved_has_no_relative_gap():
    result = _estimate([[(1, 1)], [(1, 1)]])
    assert np.isnan(result.relative_gap.value)
    assert result.gap.value == 0.0


def test_weights_are_not_only_zero_or_one():
    # J_w = (2*1 + 1*0) / 3.
    groups = [[(1, 2), (0, 1)], [(1, 2), (0, 1)]]
    result = _estimate(groups, accepts=False)
    assert result.filtered_accuracy.value == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"accepts lie in \[0, 1\]"):
        _estimate(groups)


def test_shared_last_places_keep_their_chance():
    # The best of ten tied: one is kept, each with chance 1/10: 10 % and not 100 %.  Of the other problem, 1 of 2.
    tied = TopN(verifier="v", n=1).weights(np.repeat([0, 1], [10, 2]), np.r_[np.ones(10), 2.0, 1.0], np.ones(12, bool))
    result = _estimate([[(0, w) for w in tied[:10]], [(1, w) for w in tied[10:]]])
    assert result.kept_fraction == pytest.approx((1 + 1) / 12)


def test_weights_that_reject_nothing_have_no_kept_fraction():
    assert np.isnan(_estimate([[(1, 1.0), (0, 0.1)]], accepts=False).kept_fraction)


def test_a_problem_without_responses_is_refused():
    with pytest.raises(ValueError, match="at least one response"):
        estimate_gap(np.array([0, 0]), np.array([True, False]), np.ones(2), resample_counts(2, 200, 0), 0.95)


def test_counts_resample_problems():
    counts = resample_counts(7, 300, 1)
    assert counts.shape == (300, 7)
    assert (counts.sum(1) == 7).all()
    assert (resample_counts(7, 300, 1) == counts).all()


def test_percentile_interval_by_hand():
    interval = percentile_interval(0.5, np.arange(101) / 100, 0.90)
    assert (interval.low, interval.high) == pytest.approx((0.05, 0.95))


def test_mean_interval_leaves_out_nan_problems():
    interval = mean_interval(np.array([1.0, np.nan, 3.0]), resample_counts(3, 500, 0), 0.95)
    assert interval.value == 2.0
    assert interval.low == 1.0
    assert interval.high == 3.0


def test_interval_covers_the_true_gap():
    """Simulation: problems from a population whose gap is known; 95 % intervals must cover it 92-98 % of the time.

    Each problem has accuracy a ~ U(0.2, 0.8) and 8 responses; the filter keeps a right response with probability .9 and
    a wrong one with .3. The population gap is estimated from 200,000 problems with an independent per-problem formula.
    """
    rng = np.random.default_rng(0)

    def draw(n_problems):
        accuracy = rng.uniform(0.2, 0.8, (n_problems, 1))
        correct = rng.random((n_problems, 8)) < accuracy
        kept = rng.random((n_problems, 8)) < np.where(correct, 0.9, 0.3)
        return correct, kept

    correct, kept = draw(200_000)
    share = np.where(kept.any(1), (correct & kept).sum(1) / np.maximum(kept.sum(1), 1), correct.mean(1))
    truth = (share - correct.mean(1)).mean()
    covered = 0
    studies = 400
    for study in range(studies):
        correct, kept = draw(100)
        index = np.repeat(np.arange(100), 8)
        result = estimate_gap(
            index, correct.ravel(), kept.ravel().astype(float), resample_counts(100, 400, study), 0.95
        )
        covered += result.gap.low <= truth <= result.gap.high
    assert 0.92 <= covered / studies <= 0.98
