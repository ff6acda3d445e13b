"""The generation-verification gap and the relative gap (2412.02674, Definitions 2.1 and 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import mean_intervals
from ops.types import Interval


@dataclass(frozen=True)
class GapEstimate:
    """What one filter does to one set of responses. All means are over problems.

    Attributes:
        accuracy: J(f), mean over problems of the share of correct responses.
        filtered_accuracy: J(f[w]).
        gap: J(f[w]) - J(f).
        relative_gap: mean over problems with J(x) < 1 of (J_w(x) - J(x)) / (1 - J(x)).
        kept_fraction: mean weight over all responses (pooled) of a filter that accepts: the share it keeps, a response
            that shares a last place counting as its probability of being kept. NaN for weights that accept and reject
            nothing, such as exp(s / beta): everything is kept, more or less.
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


@dataclass(frozen=True)
class ProblemGaps:
    """The gap problem by problem: what intervals, paired differences and fits are made from.

    Attributes:
        accuracy_P: J(x).
        filtered_P: J_w(x), equal to J(x) where the filter keeps nothing.
        gap_P: J_w(x) - J(x).
        relative_gap_P: gap_P / (1 - J(x)), NaN where J(x) = 1.
        kept_P: bool, the filter keeps something.
    """

    accuracy_P: np.ndarray
    filtered_P: np.ndarray
    gap_P: np.ndarray
    relative_gap_P: np.ndarray
    kept_P: np.ndarray


def per_problem(problem_index: np.ndarray, value: np.ndarray, n_problems: int) -> np.ndarray:
    """Sum of ``value`` by problem, float64 [P]."""
    return np.bincount(problem_index, weights=value, minlength=n_problems)


def group_sizes(problem_index: np.ndarray, n_problems: int) -> np.ndarray:
    """Responses by problem, int [P].

    Raises:
        ValueError: a problem without a response, or an index that is not below ``n_problems``.
    """
    size_P = np.bincount(problem_index, minlength=n_problems)
    if len(size_P) > n_problems:
        raise ValueError(f"problem_index goes up to {len(size_P) - 1}, but there are {n_problems} problems")
    if (size_P == 0).any():
        raise ValueError("every problem needs at least one response")
    return size_P


def gaps_of_sums(
    size: np.ndarray, correct: np.ndarray, weight: np.ndarray, weighted_correct: np.ndarray
) -> ProblemGaps:
    """Gaps from sums by problem: responses, correct ones, weights, weights of correct ones; [P] or [P, T] alike."""
    accuracy = np.broadcast_to(correct / size, weight.shape)
    kept = weight > 0
    filtered = np.divide(weighted_correct, weight, out=accuracy.copy(), where=kept)
    gap = filtered - accuracy
    solved = np.broadcast_to(correct >= size, weight.shape)
    relative = np.divide(gap, 1.0 - accuracy, out=np.full(weight.shape, np.nan), where=~solved)
    return ProblemGaps(accuracy, filtered, gap, relative, kept)


def problem_gaps(
    problem_index: np.ndarray, is_correct: np.ndarray, weights: np.ndarray, n_problems: int
) -> ProblemGaps:
    """The gap of weights w (float [N], >= 0) on each problem.

    Raises:
        ValueError: a problem without a response, or weights that are negative or NaN.
    """
    size_P = group_sizes(problem_index, n_problems)
    if not (weights >= 0).all():
        raise ValueError("weights must be at least 0; NaN is not a weight (an unparseable verdict has weight 0)")
    truth = is_correct.astype(float)
    return gaps_of_sums(
        size_P,
        per_problem(problem_index, truth, n_problems),
        per_problem(problem_index, weights, n_problems),
        per_problem(problem_index, weights * truth, n_problems),
    )


def estimate_gap(
    problem_index: np.ndarray,
    is_correct: np.ndarray,
    weights: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
    *,
    accepts: bool = True,
) -> GapEstimate:
    """Estimate the gap of weights w over responses.

    Args:
        problem_index: int [N], 0..P-1, every problem at least once.
        is_correct: bool [N].
        weights: float [N], w(s) >= 0.
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.
        accepts: whether a weight is (the probability of) acceptance, in [0, 1], as ``Filter.accepts`` says.

    Raises:
        ValueError: a problem without a response, weights that are negative or NaN, or above 1 of a filter that accepts.
    """
    if accepts and (weights > 1).any():
        raise ValueError("weights of a filter that accepts lie in [0, 1]; for others say accepts=False")
    n_problems = counts_RP.shape[1]
    gaps = problem_gaps(problem_index, is_correct, weights, n_problems)
    interval = mean_intervals(
        {
            "accuracy": gaps.accuracy_P,
            "filtered_accuracy": gaps.filtered_P,
            "gap": gaps.gap_P,
            "relative_gap": gaps.relative_gap_P,
        },
        counts_RP,
        confidence,
    )
    return GapEstimate(
        n_problems=n_problems,
        n_responses=len(problem_index),
        **interval,
        kept_fraction=float(weights.mean()) if accepts else float("nan"),
        n_problems_kept_empty=int((~gaps.kept_P).sum()),
        n_problems_solved=int(np.isnan(gaps.relative_gap_P).sum()),
    )
