"""How well scores separate correct from incorrect responses: area under the ROC curve."""

from __future__ import annotations

import numpy as np

from ops.estimation.bootstrap import percentile_interval
from ops.types import Interval

LEVELS = 1024
"""The interval is computed on scores cut into so many rank levels; the point estimate is exact."""


def auroc(score: np.ndarray, is_correct: np.ndarray) -> float:
    """P(score of a correct response > score of an incorrect one), ties count half; NaN where one kind is missing."""
    level = np.unique(score, return_inverse=True)[1]
    positive = np.bincount(level, weights=is_correct.astype(float), minlength=level.max(initial=0) + 1)
    negative = np.bincount(level, weights=(~is_correct).astype(float), minlength=len(positive))
    return float(_from_levels(positive[None], negative[None])[0])


def auroc_interval(
    problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray, counts_RP: np.ndarray, confidence: float
) -> Interval:
    """AUROC over all responses with a parseable score (NaN ones are left out), bootstrap over problems."""
    used = ~np.isnan(score)
    problem_index, score, is_correct = problem_index[used], score[used], is_correct[used].astype(bool)
    if not is_correct.any() or is_correct.all():
        return Interval(float("nan"), float("nan"), float("nan"))
    values = np.unique(score)
    if len(values) > LEVELS:
        values = np.unique(np.quantile(score, np.linspace(0.0, 1.0, LEVELS + 1)[1:], method="higher"))
    level = np.searchsorted(values, score)
    n_problems, n_levels = counts_RP.shape[1], len(values)
    cell = problem_index * n_levels + level
    positive_PL = np.bincount(cell[is_correct], minlength=n_problems * n_levels).reshape(n_problems, n_levels)
    negative_PL = np.bincount(cell[~is_correct], minlength=n_problems * n_levels).reshape(n_problems, n_levels)
    draws_R = _from_levels(counts_RP @ positive_PL, counts_RP @ negative_PL)
    return percentile_interval(auroc(score, is_correct), draws_R, confidence)


def _from_levels(positive_RL: np.ndarray, negative_RL: np.ndarray) -> np.ndarray:
    """AUROC [R] from counts per score level (ascending)."""
    below_RL = np.cumsum(negative_RL, axis=1) - negative_RL
    wins_R = (positive_RL * (below_RL + 0.5 * negative_RL)).sum(1)
    pairs_R = positive_RL.sum(1) * negative_RL.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs_R > 0, wins_R / pairs_R, np.nan)
