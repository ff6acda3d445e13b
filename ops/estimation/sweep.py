"""The gap as a function of the threshold (2412.02674): global thresholds, per-problem quantiles, best on train.

Nothing is filtered anew per threshold: responses are binned between thresholds, or sorted once, and cumulative sums by
problem give every threshold's kept responses at once, [P, T]; one matrix product resamples them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ops.estimation.bootstrap import mean_draws, percentile_interval
from ops.estimation.gap import gaps_of_sums, group_sizes, per_problem
from ops.types import Interval

MAX_THRESHOLDS = 101
"""A default grid holds every distinct score, or so many quantiles of the scores where there are more."""
BLOCK = 128
"""Thresholds resampled at once: bounds memory at a few [R, BLOCK] arrays."""

Objective = Literal["gap", "relative_gap"]


@dataclass(frozen=True)
class ScoredResponses:
    """One verifier's scores of one set of responses, with the set's bootstrap.

    Attributes:
        problem_index: int [N], 0..P-1, every problem at least once.
        score: float [N], NaN where the verdict could not be parsed (never kept).
        is_correct: bool [N].
        counts_RP: bootstrap multiplicities of the P problems.
    """

    problem_index: np.ndarray
    score: np.ndarray
    is_correct: np.ndarray
    counts_RP: np.ndarray


@dataclass(frozen=True)
class SweepPoint:
    """The gap at one threshold.

    Attributes:
        value: the threshold, or q of the per-problem quantile.
        gap, relative_gap: means over problems, as in ``ops.estimation.gap``.
        kept_fraction: kept responses over all responses (pooled).
        n_problems_kept_empty: problems where nothing is kept; they contribute 0 to the gap.
    """

    value: float
    gap: Interval
    relative_gap: Interval
    kept_fraction: Interval
    n_problems_kept_empty: int


@dataclass(frozen=True)
class BestThreshold:
    """The threshold that was best on one set, and what it does on another.

    Attributes:
        value: the threshold, or q.
        train: on the set it was chosen on: optimistic, because it was chosen there.
        evaluation: on the other set. Its interval holds the threshold fixed.
    """

    value: float
    train: SweepPoint
    evaluation: SweepPoint


def default_thresholds(score: np.ndarray, most: int = MAX_THRESHOLDS) -> np.ndarray:
    """Ascending thresholds worth trying: the distinct parseable scores, or ``most`` of their quantiles."""
    values = np.unique(score[~np.isnan(score)])
    if len(values) <= most:
        return values
    return np.unique(np.quantile(score[~np.isnan(score)], np.linspace(0.0, 1.0, most), method="lower"))


def sweep_thresholds(
    responses: ScoredResponses, confidence: float, thresholds: np.ndarray | None = None
) -> list[SweepPoint]:
    """The gap of w = 1[s >= threshold] at every global threshold, ascending (``default_thresholds`` when None).

    Raises:
        ValueError: a problem without a response, or NaN among the thresholds.
    """
    cuts = np.unique(default_thresholds(responses.score) if thresholds is None else np.asarray(thresholds, float))
    if np.isnan(cuts).any():
        raise ValueError("thresholds must be numbers, got NaN")
    n_problems, bins = responses.counts_RP.shape[1], len(cuts) + 1
    used = ~np.isnan(responses.score)
    # The bin of a response is the number of thresholds that it reaches: it is kept by the first so many.
    reached = np.searchsorted(cuts, responses.score[used], side="right")
    cell = responses.problem_index[used] * bins + reached

    def kept(value: np.ndarray) -> np.ndarray:
        hist = np.bincount(cell, weights=value, minlength=n_problems * bins).reshape(n_problems, bins)
        return np.cumsum(hist[:, ::-1], axis=1)[:, ::-1][:, 1:]

    truth = responses.is_correct[used].astype(float)
    return _points(responses, cuts, kept(np.ones(len(truth))), kept(truth), confidence)


def sweep_quantiles(responses: ScoredResponses, confidence: float, quantiles: np.ndarray) -> list[SweepPoint]:
    """The gap of keeping each problem's scores at or above its own q-quantile, for every q in [0, 1).

    The same rule as the filter ``quantile``: lower order statistic of the parseable scores, ties all kept.

    Raises:
        ValueError: a problem without a response, or a q outside [0, 1).
    """
    q_Q = np.unique(np.asarray(quantiles, float))
    if not ((q_Q >= 0) & (q_Q < 1)).all():
        raise ValueError("quantiles must lie in [0, 1)")
    n_problems = responses.counts_RP.shape[1]
    used = ~np.isnan(responses.score)
    problem, score = responses.problem_index[used], responses.score[used]
    order = np.lexsort((score, problem))
    score, problem = score[order], problem[order]
    size_P = np.bincount(problem, minlength=n_problems)
    start_P = np.cumsum(size_P) - size_P
    before = np.r_[0.0, np.cumsum(responses.is_correct[used][order])]  # correct ones before each sorted place
    is_first = np.r_[True, (score[1:] != score[:-1]) | (problem[1:] != problem[:-1])][: len(score)]
    run_start = np.maximum.accumulate(np.where(is_first, np.arange(len(score)), 0))
    scored_P = size_P > 0
    cut_PQ = (start_P[:, None] + np.floor(q_Q * (size_P[:, None] - 1.0))).astype(np.int64)
    first_PQ = np.zeros_like(cut_PQ)
    first_PQ[scored_P] = run_start[cut_PQ[scored_P]]  # ties at the cut are all kept
    end_P1 = (start_P + size_P)[:, None]
    kept_PQ = np.where(scored_P[:, None], end_P1 - first_PQ, 0).astype(float)
    correct_PQ = np.where(scored_P[:, None], before[end_P1] - before[first_PQ], 0.0)
    return _points(responses, q_Q, kept_PQ, correct_PQ, confidence)


def _points(
    responses: ScoredResponses, value_T: np.ndarray, kept_PT: np.ndarray, correct_PT: np.ndarray, confidence: float
) -> list[SweepPoint]:
    counts_RP = responses.counts_RP
    size_P = group_sizes(responses.problem_index, counts_RP.shape[1]).astype(float)
    truth_P = per_problem(responses.problem_index, responses.is_correct.astype(float), len(size_P))
    gaps = gaps_of_sums(size_P[:, None], truth_P[:, None], kept_PT, correct_PT)
    is_solved_P = truth_P >= size_P
    size_R = counts_RP @ size_P
    points: list[SweepPoint] = []
    for start in range(0, len(value_T), BLOCK):
        part = slice(start, start + BLOCK)
        gap_RT = counts_RP @ gaps.gap_P[:, part] / counts_RP.shape[1]
        relative_RT = mean_draws(gaps.relative_gap_P[:, part], counts_RP)
        kept_RT = (counts_RP @ kept_PT[:, part]) / size_R[:, None]
        for i, threshold in enumerate(value_T[part]):
            t = start + i
            relative = np.nan if is_solved_P.all() else float(gaps.relative_gap_P[~is_solved_P, t].mean())
            points.append(
                SweepPoint(
                    value=float(threshold),
                    gap=percentile_interval(float(gaps.gap_P[:, t].mean()), gap_RT[:, i], confidence),
                    relative_gap=percentile_interval(relative, relative_RT[:, i], confidence),
                    kept_fraction=percentile_interval(kept_PT[:, t].sum() / size_P.sum(), kept_RT[:, i], confidence),
                    n_problems_kept_empty=int((kept_PT[:, t] == 0).sum()),
                )
            )
    return points


def best_on_train(
    train: ScoredResponses,
    evaluation: ScoredResponses,
    confidence: float,
    *,
    thresholds: np.ndarray | None = None,
    quantiles: np.ndarray | None = None,
    by: Objective = "gap",
) -> BestThreshold | None:
    """Choose the threshold with the largest ``by`` on one set and evaluate it on another, disjoint one.

    Where several are equally good the lowest is taken: it keeps the most responses.

    Args:
        train: the set to choose on.
        evaluation: the set to evaluate on, of other problems; another model's or task's responses for a transfer table.
        confidence: e.g. 0.95.
        thresholds: global thresholds to choose from; ``default_thresholds`` of the train scores when None.
        quantiles: choose a per-problem quantile from these instead.
        by: ``gap`` or ``relative_gap``.

    Returns:
        None where the choice is undefined: no parseable score on train, or (relative gap) every problem solved there.

    Raises:
        ValueError: both thresholds and quantiles, or as the sweeps do.
    """
    if thresholds is not None and quantiles is not None:
        raise ValueError("choose among thresholds or among quantiles, not both")
    if quantiles is None:
        points = sweep_thresholds(train, confidence, thresholds)
    else:
        points = sweep_quantiles(train, confidence, quantiles)
    if np.isnan(train.score).all():
        return None
    points = [point for point in points if not np.isnan(getattr(point, by).value)]
    if not points:
        return None
    # Sums of the same terms in another order differ in the last bits; those are ties.
    top = max(getattr(point, by).value for point in points)
    best = next(point for point in points if getattr(point, by).value >= top - 1e-12)
    chosen = np.array([best.value])
    if quantiles is None:
        return BestThreshold(best.value, best, sweep_thresholds(evaluation, confidence, chosen)[0])
    return BestThreshold(best.value, best, sweep_quantiles(evaluation, confidence, chosen)[0])
