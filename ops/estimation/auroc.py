"""How well scores separate correct from incorrect responses: area under the ROC curve."""

from __future__ import annotations

import numpy as np

from ops.estimation.bootstrap import UNDEFINED, percentile_interval
from ops.types import Interval

LEVELS = 1024
"""The interval is computed on scores cut into so many rank levels; the point estimate is exact."""
BLOCK = 1000
"""Resamples computed at once: bounds memory at a few [BLOCK, LEVELS] arrays, whatever R is."""


def auroc(score: np.ndarray, is_correct: np.ndarray) -> float:
    """P(score of a correct response > score of an incorrect one), ties count half; NaN where one kind is missing."""
    level = np.unique(score, return_inverse=True)[1]
    positive = np.bincount(level, weights=is_correct.astype(float), minlength=level.max(initial=0) + 1)
    negative = np.bincount(level, weights=(~is_correct).astype(float), minlength=len(positive))
    return float(_from_levels(positive[None], negative[None])[0])


def auroc_draws(
    problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray, counts_RP: np.ndarray
) -> tuple[float, np.ndarray]:
    """AUROC over all responses with a parseable score (NaN ones are left out) and its resamples, float64 [R].

    Returns:
        (NaN, all NaN) where only one kind of response is left; a resample with one kind only is NaN.
    """
    used = ~np.isnan(score)
    problem_index, score, is_correct = problem_index[used], score[used], is_correct[used].astype(bool)
    draws_R = np.full(len(counts_RP), np.nan)
    if not is_correct.any() or is_correct.all():
        return float("nan"), draws_R
    values = np.unique(score)
    if len(values) > LEVELS:
        values = np.unique(np.quantile(score, np.linspace(0.0, 1.0, LEVELS + 1)[1:], method="higher"))
    level = np.searchsorted(values, score)
    n_problems, n_levels = counts_RP.shape[1], len(values)
    cell = problem_index * n_levels + level
    # Both kinds side by side, so that one matrix product reads the multiplicities once.
    counts_PL = [
        np.bincount(cell[kind], minlength=n_problems * n_levels).reshape(n_problems, n_levels)
        for kind in (is_correct, ~is_correct)
    ]
    both_PL = np.concatenate(counts_PL, axis=1).astype(np.float64)
    for start in range(0, len(counts_RP), BLOCK):
        sums = counts_RP[start : start + BLOCK] @ both_PL
        draws_R[start : start + BLOCK] = _from_levels(sums[:, :n_levels], sums[:, n_levels:])
    return auroc(score, is_correct), draws_R


def auroc_interval(
    problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray, counts_RP: np.ndarray, confidence: float
) -> Interval:
    """AUROC over all responses with a parseable score (NaN ones are left out), bootstrap over problems."""
    value, draws_R = auroc_draws(problem_index, score, is_correct, counts_RP)
    return UNDEFINED if np.isnan(value) else percentile_interval(value, draws_R, confidence)


def _from_levels(positive_RL: np.ndarray, negative_RL: np.ndarray) -> np.ndarray:
    """AUROC [R] from counts per score level (ascending)."""
    up_to_RL = np.cumsum(negative_RL, axis=1)
    pairs_R = positive_RL.sum(1) * up_to_RL[:, -1]
    # Negatives below plus half the tied ones = those up to the level minus half of those on it.
    up_to_RL -= 0.5 * negative_RL
    wins_R = np.einsum("rl,rl->r", positive_RL, up_to_RL)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs_R > 0, wins_R / pairs_R, np.nan)
