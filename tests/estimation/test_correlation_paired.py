"""Correlations and paired differences by hand and against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from ops.estimation.auroc import auroc, auroc_draws
from ops.estimation.bootstrap import resample_counts
from ops.estimation.correlation import correlate
from ops.estimation.paired import paired_auroc, paired_draws, paired_mean


def test_pearson_and_within_by_hand():
    # Problem 0: x 0 1, y 0 2: r = 1.  Problem 1: x 2 3, y 3 1: r = -1.  Mean 0.
    # All: x mean 1.5, deviations -1.5 -.5 .5 1.5; y mean 1.5, deviations -1.5 .5 1.5 -.5.
    # xy = 2.25 - .25 + .75 - .75 = 2; xx = 5; yy = 5: r = .4.  Ranks of y are 1 3 4 2: spearman
    # 1 - 6 * (0 + 1 + 1 + 4) / (4 * 15) = .4.
    result = correlate(
        np.array([0, 0, 1, 1]), np.array([0.0, 1, 2, 3]), np.array([0.0, 2, 3, 1]), resample_counts(2, 400, 0), 0.95
    )
    assert result.pearson.value == pytest.approx(0.4)
    assert result.spearman.value == pytest.approx(0.4)
    assert result.within_problem.value == pytest.approx(0.0)
    assert (result.within_problem.low, result.within_problem.high) == pytest.approx((-1, 1))


def test_equals_scipy_with_ties_offsets_and_unparseable():
    rng = np.random.default_rng(0)
    problem = np.repeat(np.arange(30), 10)
    first = 1e6 + rng.integers(0, 5, 300) / 10  # a large offset, where naive sums of squares lose their digits
    second = first - 1e6 + rng.normal(size=300)
    first[::7], second[::11] = np.nan, np.nan
    result = correlate(problem, first, second, resample_counts(30, 400, 0), 0.95)
    used = ~np.isnan(first) & ~np.isnan(second)
    assert result.pearson.value == pytest.approx(stats.pearsonr(first[used], second[used]).statistic)
    assert result.spearman.value == pytest.approx(stats.spearmanr(first[used], second[used]).statistic)
    assert (result.n_responses, result.n_responses_left_out) == (used.sum(), (~used).sum())
    assert result.pearson.low < result.pearson.value < result.pearson.high


def test_draws_equal_a_loop_over_resamples():
    rng = np.random.default_rng(1)
    problem = np.repeat(np.arange(6), 4)
    first, second = rng.normal(size=24), rng.normal(size=24)
    counts = resample_counts(6, 50, 0)
    result = correlate(problem, first, second, counts, 0.9)
    draws = []
    for row in counts:
        rows = np.concatenate([np.flatnonzero(problem == p) for p in range(6) for _ in range(int(row[p]))])
        draws.append(np.corrcoef(first[rows], second[rows])[0, 1])
    assert (result.pearson.low, result.pearson.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))


def test_constant_problems_are_left_out_of_the_within_mean_and_counted():
    # Problem 0 constant in x (a value that does not sum exactly), problem 1 has one response, problem 2 r = 1.
    problem = np.array([0, 0, 0, 1, 2, 2])
    first = np.array([0.1, 0.1, 0.1, 0.5, 0.0, 1.0])
    second = np.array([0.3, 0.7, 0.2, 0.1, 0.4, 0.9])
    result = correlate(problem, first, second, resample_counts(3, 400, 0), 0.95)
    assert result.within_problem.value == pytest.approx(1.0)
    assert result.n_problems_left_out == 2


def test_rounding_makes_no_correlation_of_a_constant():
    # The mean of so many equal numbers differs from them in the last bit, which must not pass for a spread.
    rng = np.random.default_rng(0)
    for size in (3, 7, 11, 23, 50):
        problem = np.repeat([0, 1], size)
        first, second = np.r_[np.full(size, 0.7), rng.normal(size=size)], rng.normal(size=2 * size)
        result = correlate(problem, first, second, np.ones((9, 2)), 0.95)
        assert result.n_problems_left_out == 1
        assert result.within_problem.value == pytest.approx(np.corrcoef(first[size:], second[size:])[0, 1])


def test_a_constant_score_has_no_correlation():
    result = correlate(np.array([0, 0, 1]), np.full(3, 0.1), np.arange(3.0), resample_counts(2, 99, 0), 0.95)
    assert math.isnan(result.pearson.value) and math.isnan(result.spearman.value)
    nothing = correlate(np.zeros(2, int), np.full(2, np.nan), np.ones(2), np.ones((9, 1)), 0.95)
    assert math.isnan(nothing.pearson.value)
    assert (nothing.n_responses_left_out, nothing.n_problems_left_out) == (2, 1)


def test_paired_mean_by_hand():
    # Differences 1, 2, undefined, 3: mean 2 of three problems.
    result = paired_mean(np.array([2.0, 3, np.nan, 3]), np.array([1.0, 1, 5, 0]), resample_counts(4, 400, 0), 0.95)
    assert result.difference.value == pytest.approx(2.0)
    assert (result.n, result.n_left_out) == (3, 1)


def test_pairing_cancels_what_both_share():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=200)
    counts = resample_counts(200, 1000, 0)
    result = paired_mean(hard + 0.1, hard, counts, 0.95)
    assert (result.difference.low, result.difference.high) == pytest.approx((0.1, 0.1))


def test_paired_auroc_by_hand():
    # First separates perfectly (1), second is reversed (0); the unparseable response counts for neither.
    truth = np.array([True, False, True])
    first, second = np.array([1.0, 0.0, np.nan]), np.array([0.0, 1.0, 5.0])
    result = paired_auroc(np.zeros(3, int), first, second, truth, np.ones((9, 1)), 0.95)
    assert result.difference.value == pytest.approx(1.0)
    assert (result.n, result.n_left_out) == (2, 1)


def test_paired_auroc_uses_the_same_draws():
    rng = np.random.default_rng(0)
    problem, truth = np.repeat(np.arange(60), 10), rng.random(600) < 0.5
    first = truth + rng.normal(size=600)
    second = first + 0.1 * rng.normal(size=600)
    counts = resample_counts(60, 500, 0)
    result = paired_auroc(problem, first, second, truth, counts, 0.95).difference
    assert result.value == pytest.approx(auroc(first, truth) - auroc(second, truth))
    same = paired_draws(auroc_draws(problem, first, truth, counts), auroc_draws(problem, second, truth, counts), 0.95)
    assert (same.low, same.high) == (result.low, result.high)
    alone = auroc_draws(problem, first, truth, counts)[1]
    assert result.high - result.low < 0.5 * (np.quantile(alone, 0.975) - np.quantile(alone, 0.025))


def test_draws_of_different_resamples_are_refused():
    with pytest.raises(ValueError, match="same resamples"):
        paired_draws((0.0, np.zeros(3)), (0.0, np.zeros(4)), 0.95)
