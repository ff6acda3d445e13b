"""Reliability bins, expected calibration error and Brier score by hand."""

import math

import numpy as np
import pytest

from ops.estimation.bootstrap import resample_counts
from ops.estimation.calibration import calibrate

PROBLEM = np.array([0, 0, 1, 1, 1])
PROBABILITY = np.array([0.1, 0.9, 0.3, 0.7, np.nan])
TRUTH = np.array([0, 1, 1, 1, 1], bool)
COUNTS = resample_counts(2, 400, 0)


def test_two_bins_by_hand():
    result = calibrate(PROBLEM, PROBABILITY, TRUTH, COUNTS, 0.95, n_bins=2)
    low, high = result.bins
    # [0, .5): .1 wrong, .3 correct: claims .2, accuracy .5.  [.5, 1]: .9 and .7, both correct: claims .8, accuracy 1.
    assert (low.n, low.mean_probability, low.accuracy.value) == pytest.approx((2, 0.2, 0.5))
    assert (high.n, high.mean_probability, high.accuracy.value) == pytest.approx((2, 0.8, 1.0))
    assert result.ece.value == pytest.approx(2 / 4 * 0.3 + 2 / 4 * 0.2)
    assert result.brier.value == pytest.approx((0.01 + 0.01 + 0.49 + 0.09) / 4)
    assert (result.n_responses, result.n_unparseable) == (4, 1)


def test_interval_resamples_problems():
    # Problem 0 twice: bins off by .1 and .1 over 2 of 4 responses each: .1.  Problem 1 twice: .7 and .3: .5.
    result = calibrate(PROBLEM, PROBABILITY, TRUTH, np.array([[2.0, 0], [0, 2]]), 0.9999, n_bins=2)
    assert (result.ece.low, result.ece.high) == pytest.approx((0.1, 0.5), abs=1e-3)
    assert (result.brier.low, result.brier.high) == pytest.approx((0.01, 0.29), abs=1e-3)


def test_empty_bins_are_undefined_not_zero():
    result = calibrate(PROBLEM, PROBABILITY, TRUTH, COUNTS, 0.95, n_bins=10)
    assert [item.n for item in result.bins] == [0, 1, 0, 1, 0, 0, 0, 1, 0, 1]
    assert math.isnan(result.bins[0].mean_probability)
    assert math.isnan(result.bins[0].accuracy.value)


def test_the_ends_belong_to_the_outer_bins():
    probability = np.array([0.0, 0.5, 1.0])
    result = calibrate(np.arange(3), probability, np.ones(3, bool), resample_counts(3, 200, 0), 0.95, n_bins=2)
    assert [item.n for item in result.bins] == [1, 2]


def test_equal_mass_bins_hold_equal_numbers():
    rng = np.random.default_rng(0)
    probability = rng.random(1000) ** 3
    counts = resample_counts(50, 200, 0)
    truth = rng.random(1000) < probability
    result = calibrate(np.repeat(np.arange(50), 20), probability, truth, counts, 0.95, binning="equal_mass")
    assert len(result.bins) == 10
    assert all(95 <= item.n <= 105 for item in result.bins)
    assert sum(item.n for item in result.bins) == 1000
    assert result.bins[0].low == 0.0 and result.bins[-1].high == 1.0


def test_equal_probabilities_share_an_equal_mass_bin():
    probability = np.array([0.2] * 7 + [0.8])
    counts = resample_counts(8, 200, 0)
    result = calibrate(np.arange(8), probability, np.ones(8, bool), counts, 0.95, n_bins=4, binning="equal_mass")
    assert sum(item.n for item in result.bins) == 8
    assert sorted(item.n for item in result.bins if item.n) in ([1, 7], [8])


def test_ece_of_a_calibrated_verifier_is_small_and_biased_upwards():
    rng = np.random.default_rng(1)
    probability = rng.random(20_000)
    truth = rng.random(20_000) < probability
    result = calibrate(np.arange(20_000) // 20, probability, truth, resample_counts(1000, 200, 0), 0.95)
    assert 0.0 < result.ece.value < 0.02
    assert result.brier.value == pytest.approx(1 / 6, abs=0.01)  # E[p (1 - p)] of uniform p


def test_nothing_parseable_is_undefined():
    result = calibrate(np.zeros(2, int), np.full(2, np.nan), np.ones(2, bool), resample_counts(1, 9, 0), 0.95)
    assert math.isnan(result.ece.value) and result.n_unparseable == 2


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        calibrate(np.zeros(1, int), np.array([-0.5]), np.ones(1, bool), resample_counts(1, 9, 0), 0.95)
