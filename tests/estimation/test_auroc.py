"""AUROC by hand, with ties, and against all pairs."""

import math

import numpy as np
import pytest

from ops.estimation.auroc import auroc, auroc_interval
from ops.estimation.bootstrap import resample_counts


def test_by_hand():
    # Pairs (correct, incorrect): (.9,.1) (.9,.5) win, (.5,.1) win, (.5,.5) tie: 3.5 / 4.
    assert auroc(np.array([0.9, 0.5, 0.1, 0.5]), np.array([True, True, False, False])) == pytest.approx(3.5 / 4)


def test_equals_all_pairs():
    rng = np.random.default_rng(0)
    score, truth = rng.integers(0, 20, 300) / 20, rng.random(300) < 0.4
    pairs = score[truth][:, None] - score[~truth][None]
    assert auroc(score, truth) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_interval_contains_the_point_and_leaves_out_unparseable():
    rng = np.random.default_rng(1)
    problem = np.repeat(np.arange(50), 20)
    truth = rng.random(1000) < 0.5
    score = truth + rng.normal(size=1000)
    score[::10] = np.nan
    interval = auroc_interval(problem, score, truth, resample_counts(50, 500, 0), 0.95)
    used = ~np.isnan(score)
    assert interval.value == pytest.approx(auroc(score[used], truth[used]))
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low < 0.12


def test_one_kind_only_is_undefined():
    interval = auroc_interval(np.zeros(3, int), np.ones(3), np.ones(3, bool), resample_counts(1, 200, 0), 0.95)
    assert math.isnan(interval.value)
