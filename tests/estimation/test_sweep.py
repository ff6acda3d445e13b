"""Sweeps against the filters they stand for, and the best threshold of one set on another."""

import math

import numpy as np
import pytest

from ops.estimation.bootstrap import resample_counts
from ops.estimation.gap import estimate_gap
from ops.estimation.sweep import ScoredResponses, best_on_train, default_thresholds, sweep_quantiles, sweep_thresholds
from ops.selection.quantile import Quantile
from ops.selection.threshold import Threshold


def _responses(seed, n_problems=40, levels=12):
    """Ragged groups, tied scores, unparseable ones, a problem without any score, a solved problem."""
    rng = np.random.default_rng(seed)
    problem = np.repeat(np.arange(n_problems), rng.integers(1, 9, n_problems))
    truth = rng.random(len(problem)) < rng.random(n_problems)[problem]
    score = np.round((truth + rng.normal(size=len(problem))) * 3) / levels
    score[rng.random(len(problem)) < 0.1] = np.nan
    score[problem == 3] = np.nan
    truth[problem == 5] = True
    return ScoredResponses(problem, score, truth, resample_counts(n_problems, 300, seed))


def _same(point, item, responses):
    weights = item.weights(responses.problem_index, responses.score, responses.is_correct)
    expected = estimate_gap(responses.problem_index, responses.is_correct, weights, responses.counts_RP, 0.95)
    for name in ("gap", "relative_gap"):
        ours, theirs = getattr(point, name), getattr(expected, name)
        assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))
    assert point.kept_fraction.value == pytest.approx(expected.kept_fraction)
    assert point.n_problems_kept_empty == expected.n_problems_kept_empty


def test_every_threshold_equals_its_filter():
    responses = _responses(0)
    points = sweep_thresholds(responses, 0.95)
    assert [point.value for point in points] == np.unique(responses.score[~np.isnan(responses.score)]).tolist()
    for point in points:
        _same(point, Threshold(verifier="v", threshold=point.value), responses)


def test_every_quantile_equals_its_filter():
    responses = _responses(1)
    for point in sweep_quantiles(responses, 0.95, np.linspace(0, 0.99, 12)):
        _same(point, Quantile(verifier="v", q=point.value), responses)


def test_thresholds_beyond_the_scores():
    responses = _responses(2)
    below, above = sweep_thresholds(responses, 0.95, np.array([99.0, -99.0]))  # sorted ascending
    assert (below.value, above.value) == (-99.0, 99.0)
    assert above.gap.value == 0.0 and above.kept_fraction.value == 0.0
    assert above.n_problems_kept_empty == 40


def test_by_hand():
    # Scores 1 2 3, the last correct: J = 1/3; thresholds keep 3, 2, 1 responses: J_w = 1/3, 1/2, 1.
    responses = ScoredResponses(
        np.zeros(3, int), np.array([1.0, 2, 3]), np.array([False, False, True]), np.ones((5, 1))
    )
    points = sweep_thresholds(responses, 0.95)
    assert [point.gap.value for point in points] == pytest.approx([0, 1 / 6, 2 / 3])
    assert [point.relative_gap.value for point in points] == pytest.approx([0, 1 / 4, 1])
    assert [point.kept_fraction.value for point in points] == pytest.approx([1, 2 / 3, 1 / 3])


def test_default_thresholds_are_quantiles_where_scores_are_many():
    score = np.random.default_rng(0).normal(size=5000)
    cuts = default_thresholds(np.r_[score, np.nan])
    assert len(cuts) == 101 and np.isin(cuts, score).all()
    assert cuts[50] == pytest.approx(np.median(score), abs=0.01)


def test_best_on_train_takes_its_threshold_to_the_other_set():
    # Train: only score 3 is right: threshold 3 is best.  Evaluation: at 3, problem 0 keeps a wrong one, J 1/2 -> 0.
    train = ScoredResponses(np.zeros(3, int), np.array([1.0, 2, 3]), np.array([False, False, True]), np.ones((5, 1)))
    other = ScoredResponses(np.array([0, 0]), np.array([3.0, 1]), np.array([False, True]), np.ones((5, 1)))
    best = best_on_train(train, other, 0.95)
    assert best.value == 3.0
    assert best.train.gap.value == pytest.approx(2 / 3)
    assert best.evaluation.gap.value == pytest.approx(-1 / 2)


def test_of_equally_good_thresholds_the_lowest_is_taken():
    train = ScoredResponses(np.zeros(3, int), np.array([1.0, 2, 3]), np.array([False, True, True]), np.ones((5, 1)))
    assert best_on_train(train, train, 0.95).value == 2.0


def test_best_quantile_and_objective():
    train, other = _responses(3), _responses(4)
    grid = np.linspace(0, 0.9, 10)
    best = best_on_train(train, other, 0.95, quantiles=grid, by="relative_gap")
    values = [point.relative_gap.value for point in sweep_quantiles(train, 0.95, grid)]
    assert best.train.relative_gap.value == max(values)
    _same(best.evaluation, Quantile(verifier="v", q=best.value), other)


def test_no_score_no_best():
    empty = ScoredResponses(np.zeros(2, int), np.full(2, np.nan), np.array([True, False]), np.ones((5, 1)))
    assert best_on_train(empty, empty, 0.95) is None
    assert sweep_thresholds(empty, 0.95) == []
    kept_nothing = sweep_quantiles(empty, 0.95, np.array([0.5]))[0]
    assert kept_nothing.gap.value == 0.0 and kept_nothing.n_problems_kept_empty == 1
    with pytest.raises(ValueError, match="not both"):
        best_on_train(empty, empty, 0.95, thresholds=np.ones(1), quantiles=np.ones(1) / 2)


def test_all_solved_has_no_relative_gap():
    solved = ScoredResponses(np.zeros(2, int), np.array([0.0, 1]), np.ones(2, bool), np.ones((5, 1)))
    assert all(math.isnan(point.relative_gap.value) for point in sweep_thresholds(solved, 0.95))
    assert best_on_train(solved, solved, 0.95, by="relative_gap") is None
