"""What theory says of the regret of UCB1."""

from __future__ import annotations

import math

import numpy as np


def worst_case(n_choices: int, round_q: np.ndarray) -> np.ndarray:
    """sqrt(n T ln T) of T rounds with n choices: the worst case over gaps, up to a constant: float [Q]."""
    rounds = np.asarray(round_q, dtype=np.float64)
    return np.sqrt(n_choices * rounds * np.log(rounds))


def ucb1_bound(delta_c: np.ndarray, rounds: int) -> float:
    """8 sum ln T / delta + (1 + pi^2 / 3) sum delta over the C choices that are not best, constants included.

    Theorem 1 of Auer, Cesa-Bianchi and Fischer (Machine Learning 47, 2002), for rewards in [0, 1].
    """
    worse = np.asarray(delta_c, dtype=np.float64)
    worse = worse[worse > 0.0]
    return float(8.0 * math.log(rounds) * (1.0 / worse).sum() + (1.0 + math.pi**2 / 3.0) * worse.sum())
