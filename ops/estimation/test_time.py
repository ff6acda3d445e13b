"""Test-time improvement: accuracy against n of best-of-n and pass@n, in closed form over all subsets of n responses.

Votes over final answers have no closed form; they are in ``ops.estimation.voting``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import mean_interval
from ops.estimation.diversity import hit_probability, measured_ks
from ops.estimation.gap import group_sizes, per_problem
from ops.estimation.ranks import ranks_within
from ops.types import Interval


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy when n responses per problem may be drawn.

    Attributes:
        accuracy: mean over problems of the expectation over subsets of n of the problem's responses.
        n_problems: problems with at least n responses; the others are left out at this n, so that points of different
            n_problems are not of the same problems. 0 where the accuracy is undefined.
        subsets: None where the expectation is exact, otherwise how many random subsets estimate it per problem.
        monte_carlo_error: standard error of ``accuracy.value`` that those subsets cause; 0 where exact. The interval,
            which is over problems, includes it.
    """

    n: int
    accuracy: Interval
    n_problems: int
    subsets: int | None = None
    monte_carlo_error: float = 0.0


def default_ns(problem_index: np.ndarray, n_problems: int) -> list[int]:
    """Sizes of subsets that at least half of the problems have as many responses for; see ``measured_ks``."""
    return measured_ks(group_sizes(problem_index, n_problems))


def check_ns(ns: Sequence[int]) -> None:
    """Refuse subset sizes below 1.

    Raises:
        ValueError: naming them.
    """
    if any(n < 1 for n in ns):
        raise ValueError(f"n must be at least 1, got {', '.join(str(n) for n in ns)}")


def best_of_n(
    problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray, n_problems: int, ns: Sequence[int]
) -> np.ndarray:
    """Expected correctness of the highest score among n responses drawn without replacement: float64 [P, len(ns)].

    A run of t tied responses with L lower ones holds the highest score of C(L+t, n) - C(L, n) of the C(m, n) subsets of
    a group of m, and each of its members is then selected equally often. An unparseable verdict (NaN) is below every
    score; a subset without a parseable one selects uniformly. NaN where the problem has fewer than n responses.

    Raises:
        ValueError: a problem without a response, or an n below 1.
    """
    check_ns(ns)
    size_P = group_sizes(problem_index, n_problems)
    ranks = ranks_within(problem_index, score)
    truth = is_correct.astype(float)
    value_PK = np.full((n_problems, len(ns)), np.nan)
    for k, n in enumerate(ns):
        chance = np.full(len(truth), np.nan)
        for m in np.unique(size_P):
            rows = ranks.size_N == m
            # P(all n are among the lowest L) = P(none of the m - L others is drawn).
            all_below = 1.0 - hit_probability(int(m), n)[::-1]
            below, tied = ranks.below_N[rows], ranks.tied_N[rows]
            chance[rows] = (all_below[below + tied] - all_below[below]) / tied
        value_PK[:, k] = per_problem(problem_index, chance * truth, n_problems)
    return value_PK


def pass_at_n(problem_index: np.ndarray, is_correct: np.ndarray, n_problems: int, ns: Sequence[int]) -> np.ndarray:
    """Unbiased pass@n by problem, the oracle: float64 [P, len(ns)]; NaN where the problem has fewer responses.

    Raises:
        ValueError: a problem without a response, or an n below 1.
    """
    check_ns(ns)
    size_P = group_sizes(problem_index, n_problems)
    correct_P = per_problem(problem_index, is_correct.astype(float), n_problems).astype(np.int64)
    value_PK = np.empty((n_problems, len(ns)))
    for k, n in enumerate(ns):
        for m in np.unique(size_P):
            rows = size_P == m
            value_PK[rows, k] = hit_probability(int(m), n)[correct_P[rows]]
    return value_PK


def curve(value_PK: np.ndarray, ns: Sequence[int], counts_RP: np.ndarray, confidence: float) -> list[CurvePoint]:
    """Points of an exact curve from its values by problem."""
    return [
        CurvePoint(n, mean_interval(value_PK[:, k], counts_RP, confidence), int((~np.isnan(value_PK[:, k])).sum()))
        for k, n in enumerate(ns)
    ]


def best_of_n_curve(
    problem_index: np.ndarray,
    score: np.ndarray,
    is_correct: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
    ns: Sequence[int] | None = None,
) -> list[CurvePoint]:
    """Best-of-n accuracy with intervals over problems; ``default_ns`` when ns is None."""
    n_problems = counts_RP.shape[1]
    ns = default_ns(problem_index, n_problems) if ns is None else ns
    return curve(best_of_n(problem_index, score, is_correct, n_problems, ns), ns, counts_RP, confidence)


def pass_at_n_curve(
    problem_index: np.ndarray,
    is_correct: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
    ns: Sequence[int] | None = None,
) -> list[CurvePoint]:
    """pass@n with intervals over problems; ``default_ns`` when ns is None."""
    n_problems = counts_RP.shape[1]
    ns = default_ns(problem_index, n_problems) if ns is None else ns
    return curve(pass_at_n(problem_index, is_correct, n_problems, ns), ns, counts_RP, confidence)
