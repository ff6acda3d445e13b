"""How far annotators agree, with intervals that resample problems.

Krippendorff's alpha with the interval metric: any number of annotators, each of whom labelled some of the pairs, and a
tie half-way between the two sides. Cohen's kappa (scikit-learn has ``cohen_kappa_score``) is of two annotators who both
labelled everything, and takes labels as names. The package krippendorff computes the same alpha, once for a matrix; a
bootstrap asks for thousands, which are one matrix product here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import UNDEFINED, divide, percentile_interval, ratio_intervals, resample_counts
from ops.types import Interval

NEVER = "no pair has labels of two annotators"


@dataclass(frozen=True)
class Agreement:
    """Of labels that several annotators gave.

    Attributes:
        percent: share of equal labels among two labels of one pair by different people; NaN where there are none.
        alpha: Krippendorff's, 1 where all agree, 0 where they agree as chance would; NaN where every label is the same.
        n_pairs: pairs with labels of two annotators or more.
        n_conflicts: those of them whose labels are not all equal.
        n_annotators: who labelled any of them.
    """

    percent: Interval
    alpha: Interval
    n_pairs: int
    n_conflicts: int
    n_annotators: int


def agreement(
    labels: Sequence[tuple[str, str, str, float]], *, resamples: int, confidence: float, seed: int
) -> Agreement:
    """Agreement on pairs with two labels or more.

    With m_u labels of pair u, their variance s_u^2 (ddof 1) and the variance s^2 of all n such labels,
    alpha = 1 - (sum_u m_u s_u^2 / n) / s^2: Krippendorff's observed and expected disagreement where the distance of two
    labels is the square of their difference (Krippendorff 2011, Computing Krippendorff's alpha-reliability).

    Args:
        labels: (pair id, problem id, annotator, label), one of each annotator and pair.
    """
    of_pair: dict[str, list[tuple[str, str, float]]] = {}
    for pair_id, problem_id, annotator, label in labels:
        of_pair.setdefault(pair_id, []).append((problem_id, annotator, label))
    shared = [items for items in of_pair.values() if len(items) > 1]
    if not shared:
        return Agreement(UNDEFINED, UNDEFINED, 0, 0, 0)
    problems = {name: place for place, name in enumerate(dict.fromkeys(items[0][0] for items in shared))}
    sums_PK = np.zeros((len(problems), 6))
    conflicts = 0
    for items in shared:
        values = np.array([value for _, _, value in items])
        equal, couples = _equal_couples(values)
        conflicts += equal < couples
        within = len(values) * values.var(ddof=1)
        sums_PK[problems[items[0][0]]] += [equal, couples, len(values), values.sum(), (values**2).sum(), within]
    counts_RP = resample_counts(len(problems), resamples, seed)
    percent = ratio_intervals({"percent": (sums_PK[:, 0], sums_PK[:, 1])}, counts_RP, confidence)["percent"]
    value = float(_alpha(sums_PK.sum(0)[None, 2:])[0])
    alpha = percentile_interval(value, _alpha(counts_RP @ sums_PK[:, 2:]), confidence)
    people = {annotator for items in shared for _, annotator, _ in items}
    return Agreement(percent, alpha, len(shared), conflicts, len(people))


def _equal_couples(values: np.ndarray) -> tuple[int, int]:
    """Couples of annotators who say the same, and all couples."""
    _, counts = np.unique(values, return_counts=True)
    n = len(values)
    return int((counts * (counts - 1) // 2).sum()), n * (n - 1) // 2


def _alpha(sums_RK: np.ndarray) -> np.ndarray:
    """Alpha [R] from sums over pairs [R, 4]: labels, their sum, that of squares, and of m_u s_u^2."""
    n_R, sum_R, square_R, within_R = sums_RK.T
    total_R = divide(square_R - divide(sum_R**2, n_R), n_R - 1)  # variance of all labels
    total_R = np.where(total_R > 1e-12, total_R, 0.0)  # rounding of equal labels
    return 1.0 - divide(divide(within_R, n_R), total_R)
