"""Which problems were solved before and are solved after: learned, forgotten, and what stayed as it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import mean_intervals
from ops.types import Interval


@dataclass(frozen=True)
class Flips:
    """Fractions of the problems; they sum to 1.

    Attributes:
        n_problems: where solved or not is defined at both times.
        n_left_out: the others.
    """

    stayed_solved: Interval
    learned: Interval
    forgotten: Interval
    stayed_unsolved: Interval
    n_problems: int
    n_left_out: int


def flips(before_P: np.ndarray, after_P: np.ndarray, counts_RP: np.ndarray, confidence: float) -> Flips:
    """The table of transitions of the same problems, with intervals over problems.

    Args:
        before_P, after_P: float [P], 1 solved, 0 not solved, NaN undefined: left out.
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.

    Raises:
        ValueError: a value that is neither 0, 1 nor NaN, or sides of different lengths.
    """
    if before_P.shape != after_P.shape:
        raise ValueError(f"both times need the same problems, got {len(before_P)} and {len(after_P)}")
    for value_P in (before_P, after_P):
        if not np.isin(value_P[~np.isnan(value_P)], (0.0, 1.0)).all():
            raise ValueError("solved is 1 or 0, or NaN where it is undefined")
    known_P = ~np.isnan(before_P) & ~np.isnan(after_P)

    def share(before: float, after: float) -> np.ndarray:
        return np.where(known_P, (before_P == before) & (after_P == after), np.nan)

    found = mean_intervals(
        {
            "stayed_solved": share(1.0, 1.0),
            "learned": share(0.0, 1.0),
            "forgotten": share(1.0, 0.0),
            "stayed_unsolved": share(0.0, 0.0),
        },
        counts_RP,
        confidence,
    )
    n_known = int(known_P.sum())
    return Flips(**found, n_problems=n_known, n_left_out=len(known_P) - n_known)
