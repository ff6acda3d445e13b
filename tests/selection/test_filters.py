"""Each filter by hand."""

import numpy as np

from ops.selection import FILTERS
from ops.selection.quantile import Quantile
from ops.selection.threshold import Threshold

PROBLEM = np.array([0, 0, 0, 0, 1, 1])
SCORE = np.array([0.1, 0.9, 0.5, np.nan, -1.0, -2.0])
TRUTH = np.array([False, True, False, True, True, False])


def test_threshold_keeps_ties_and_drops_unparseable():
    kept = Threshold(verifier="logit", threshold=0.5).weights(PROBLEM, SCORE, TRUTH)
    assert kept.tolist() == [0, 1, 1, 0, 0, 0]


def test_quantile_is_per_problem():
    # Problem 0: parseable .1 .5 .9, q = .5 -> order statistic floor(.5 * 2) = 1 -> .5.
    # Problem 1: floor(.5 * 1) = 0 -> -2.
    kept = Quantile(verifier="logit", q=0.5).weights(PROBLEM, SCORE, TRUTH)
    assert kept.tolist() == [0, 1, 1, 0, 1, 1]


def test_quantile_keeps_all_ties_at_the_cut():
    kept = Quantile(verifier="logit", q=0.9).weights(
        np.zeros(4, int), np.array([1.0, 1.0, 1.0, 0.0]), np.zeros(4, bool)
    )
    assert kept.tolist() == [1, 1, 1, 0]


def test_quantile_of_only_unparseable_keeps_nothing():
    kept = Quantile(verifier="logit", q=0.0).weights(np.zeros(2, int), np.full(2, np.nan), np.ones(2, bool))
    assert kept.tolist() == [0, 0]


def test_gold_and_none():
    assert FILTERS["gold"]().weights(PROBLEM, SCORE, TRUTH).tolist() == TRUTH.astype(float).tolist()
    assert FILTERS["none"]().weights(PROBLEM, SCORE, TRUTH).tolist() == [1.0] * 6
