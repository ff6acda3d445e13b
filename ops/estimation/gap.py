"""The generation-verification gap and the relative gap (2412.02674, Definitions 2.1 and 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import mean_interval
from ops.types import Interval


@dataclass(frozen=True)
class GapEstimate:
    """What one filter does to one set of responses. All means are over problems.

    Attributes:
        accuracy: J(f), mean over problems of the share of correct responses.
        filtered_accuracy: J(f[w]).
        gap: J(f[w]) - J(f).
        relative_gap: mean over problems with J(x) < 1 of (J_w(x) - J(x)) / (1 - J(x)).
        kept_fraction: sum of the kept responses over all responses (weights above 0).
        n_problems_kept_empty: problems where the filter kept nothing; they keep J(x), so contribute 0.
        n_problems_solved: problems with J(x) = 1, left out of the relative gap.
    """

    n_problems: int
    n_responses: int
    accuracy: Interval
    filtered_accuracy: Interval
    gap: Interval
    relative_gap: Interval
    kept_fraction: float
    n_problems_kept_empty: int
    n_problems_solved: int


def per_problem(problem_index: np.ndarray, value: np.ndarray, n_problems: int) -> np.ndarray:
    """Sum of ``value`` by problem, float64 [P]."""
    return np.bincount(problem_index, weights=value, minlength=n_problems)


def estimate_gap(
    problem_index: np.ndarray,
    is_correct: np.ndarray,
    weights: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
) -> GapEstimate:
    """Estimate the gap of weights w over responses.

    Args:
        problem_index: int [N], 0..P-1, every problem at least once.
        is_correct: bool [N].
        weights: float [N], w(s) >= 0.
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.
    """
    n_problems = counts_RP.shape[1]
    size_P = per_problem(problem_index, np.ones(len(problem_index)), n_problems)
    if (size_P == 0).any():
        raise ValueError("every problem needs at least one response")
    truth = is_correct.astype(float)
    accuracy_P = per_problem(problem_index, truth, n_problems) / size_P
    weight_P = per_problem(problem_index, weights, n_problems)
    kept_P = weight_P > 0
    weighted_P = np.divide(
        per_problem(problem_index, weights * truth, n_problems), weight_P, out=accuracy_P.copy(), where=kept_P
    )
    solved_P = accuracy_P >= 1.0
    relative_P = np.full(n_problems, np.nan)
    relative_P[~solved_P] = (weighted_P - accuracy_P)[~solved_P] / (1.0 - accuracy_P[~solved_P])
    return GapEstimate(
        n_problems=n_problems,
        n_responses=len(problem_index),
        accuracy=mean_interval(accuracy_P, counts_RP, confidence),
        filtered_accuracy=mean_interval(weighted_P, counts_RP, confidence),
        gap=mean_interval(weighted_P - accuracy_P, counts_RP, confidence),
        relative_gap=mean_interval(relative_P, counts_RP, confidence),
        kept_fraction=float((weights > 0).mean()),
        n_problems_kept_empty=int((~kept_P).sum()),
        n_problems_solved=int(solved_P.sum()),
    )
