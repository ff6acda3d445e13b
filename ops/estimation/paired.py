"""Paired differences between two verifiers, filters or models on the same problems: first minus second.

Both sides are resampled with the same multiplicities, so what they share (easy and hard problems) cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.auroc import auroc_draws
from ops.estimation.bootstrap import mean_interval, percentile_interval
from ops.types import Interval


@dataclass(frozen=True)
class PairedDifference:
    """First minus second.

    Attributes:
        difference: with its interval over problems.
        n: problems (of a mean) or responses (of an AUROC) where both sides are defined.
        n_left_out: those where either is NaN.
    """

    difference: Interval
    n: int
    n_left_out: int


def paired_mean(
    first_P: np.ndarray, second_P: np.ndarray, counts_RP: np.ndarray, confidence: float
) -> PairedDifference:
    """Mean over problems of first_P - second_P, any statistic by problem; problems with a NaN in either are left out.

    So where the two sides have different NaN problems the difference is not that of their two reported means.
    """
    difference_P = np.asarray(first_P, float) - np.asarray(second_P, float)
    undefined = int(np.isnan(difference_P).sum())
    return PairedDifference(
        mean_interval(difference_P, counts_RP, confidence), len(difference_P) - undefined, undefined
    )


def paired_draws(first: tuple[float, np.ndarray], second: tuple[float, np.ndarray], confidence: float) -> Interval:
    """Difference of any two statistics from (value, draws [R]) that were made with the same multiplicities.

    Raises:
        ValueError: different numbers of draws.
    """
    if len(first[1]) != len(second[1]):
        raise ValueError(f"paired draws come from the same resamples, got {len(first[1])} and {len(second[1])}")
    return percentile_interval(first[0] - second[0], first[1] - second[1], confidence)


def paired_auroc(
    problem_index: np.ndarray,
    first_score: np.ndarray,
    second_score: np.ndarray,
    is_correct: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
) -> PairedDifference:
    """AUROC of the first verifier minus that of the second, on the responses that both could score.

    Args:
        problem_index: int [N], 0..P-1.
        first_score, second_score: float [N], NaN where the verdict could not be parsed.
        is_correct: bool [N].
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.
    """
    both = ~np.isnan(first_score) & ~np.isnan(second_score)
    first, second = (
        auroc_draws(problem_index[both], score[both], is_correct[both], counts_RP)
        for score in (first_score, second_score)
    )
    return PairedDifference(paired_draws(first, second, confidence), int(both.sum()), int((~both).sum()))
