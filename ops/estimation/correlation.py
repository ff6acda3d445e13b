"""Correlation of two verifiers' scores (the table between mechanisms of 2412.02674), with intervals over problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import UNDEFINED, mean_interval, percentile_interval
from ops.estimation.gap import per_problem
from ops.estimation.ranks import ranks_within
from ops.types import Interval


@dataclass(frozen=True)
class Correlation:
    """How alike two verifiers score the same responses.

    Attributes:
        pearson: over all responses that both scored.
        spearman: Pearson of the ranks (ties get their mean rank). Ranks are taken once, on the full sample, and
            resampled as they are: ranking anew in each resample would change them by one part in the sample size.
        within_problem: mean over problems of the Pearson correlation inside the problem; what is common to all
            responses of a problem, such as its difficulty, drops out.
        n_responses: scored by both.
        n_responses_left_out: with a NaN in either.
        n_problems_left_out: problems without a within-problem correlation: fewer than two such responses, or one of
            the two scores constant.
    """

    pearson: Interval
    spearman: Interval
    within_problem: Interval
    n_responses: int
    n_responses_left_out: int
    n_problems_left_out: int


def correlate(
    problem_index: np.ndarray, first: np.ndarray, second: np.ndarray, counts_RP: np.ndarray, confidence: float
) -> Correlation:
    """Correlate the scores of two verifiers; every resample is a matrix product of sums by problem.

    Args:
        problem_index: int [N], 0..P-1.
        first, second: float [N], NaN where the verdict could not be parsed.
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.
    """
    used = ~np.isnan(first) & ~np.isnan(second)
    n_problems = counts_RP.shape[1]
    problem_index, first, second = problem_index[used], first[used], second[used]
    left_out = int((~used).sum())
    if not used.any():
        return Correlation(UNDEFINED, UNDEFINED, UNDEFINED, 0, left_out, n_problems)
    within_P = _within(problem_index, first, second, n_problems)
    return Correlation(
        pearson=_pooled(problem_index, first, second, counts_RP, confidence),
        spearman=_pooled(problem_index, _mean_ranks(first), _mean_ranks(second), counts_RP, confidence),
        within_problem=mean_interval(within_P, counts_RP, confidence),
        n_responses=len(first),
        n_responses_left_out=left_out,
        n_problems_left_out=int(np.isnan(within_P).sum()),
    )


def pearson_draws(
    problem_index: np.ndarray, first: np.ndarray, second: np.ndarray, counts_RP: np.ndarray
) -> tuple[float, np.ndarray]:
    """Pearson correlation over the responses that both scored, and its resamples [R] over problems.

    Args: as ``correlate``.

    Returns:
        NaN and NaNs where no response has both scores, or one of the two is constant.
    """
    used = ~np.isnan(first) & ~np.isnan(second)
    if not used.any():
        return float("nan"), np.full(len(counts_RP), np.nan)
    scores = _standardised(first[used]), _standardised(second[used])
    moments_PK = _moments(problem_index[used], *scores, counts_RP.shape[1])
    return float(_pearson(moments_PK.sum(0))), _pearson(counts_RP @ moments_PK)


def _mean_ranks(value: np.ndarray) -> np.ndarray:
    """Rank of each value in the whole sample, from 1; ties get the mean of theirs."""
    ranks = ranks_within(np.zeros(len(value), dtype=np.int64), value)
    return ranks.below_N + (ranks.tied_N + 1) / 2


def _standardised(value: np.ndarray) -> np.ndarray:
    """Mean 0, variance 1 (all 0 where constant): correlations stay, and sums of squares lose no digits."""
    if (value == value[0]).all():
        return np.zeros(len(value))
    centred = value - value.mean()
    return centred / centred.std()


def _moments(problem_index: np.ndarray, x: np.ndarray, y: np.ndarray, n_problems: int) -> np.ndarray:
    """Sufficient statistics of a correlation by problem: n, sums of x, y, xx, yy, xy; float64 [P, 6]."""
    parts = (np.ones(len(x)), x, y, x * x, y * y, x * y)
    return np.stack([per_problem(problem_index, part, n_problems) for part in parts], axis=1)


def _pearson(moments: np.ndarray) -> np.ndarray:
    """Pearson correlation [...] from sums [..., 6]; NaN where either variance is 0."""
    n, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    # A constant leaves rounding behind, not 0; scores are standardised, so 1e-12 of it is no real spread.
    defined = (spread_x > 1e-12 * n * xx) & (spread_y > 1e-12 * n * yy)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (n * xy - x * y) / np.sqrt(spread_x * spread_y)
    return np.where(defined, np.clip(r, -1.0, 1.0), np.nan)


def _pooled(
    problem_index: np.ndarray, first: np.ndarray, second: np.ndarray, counts_RP: np.ndarray, confidence: float
) -> Interval:
    value, draws_R = pearson_draws(problem_index, first, second, counts_RP)
    return percentile_interval(value, draws_R, confidence)


def _within(problem_index: np.ndarray, first: np.ndarray, second: np.ndarray, n_problems: int) -> np.ndarray:
    """Pearson correlation inside each problem [P], from deviations from the problem's own means."""
    size_P = np.maximum(np.bincount(problem_index, minlength=n_problems), 1)
    # Deviations of constant scores are equal up to rounding, in which `_pearson` sees no spread.
    first_N, second_N = (
        value - (per_problem(problem_index, value, n_problems) / size_P)[problem_index]
        for value in (_standardised(first), _standardised(second))
    )
    return _pearson(_moments(problem_index, first_N, second_N, n_problems))
