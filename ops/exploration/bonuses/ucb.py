"""UCB: an answer is worth the more, the less often it has been seen over training."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.exploration.bonuses.base import OutcomeBonus


class Ucb(OutcomeBonus):
    """b_i = min{1, sqrt(1 / N(x, a_i))}, 1 for an answer that was never seen (2509.06941 §4)."""

    name: Literal["ucb"] = "ucb"
    version: ClassVar[str] = "1"
    uses_counts: ClassVar[bool] = True

    def of_answers(self, seen_N: np.ndarray, class_N: np.ndarray) -> np.ndarray:
        return optimism(seen_N)


def optimism(seen_N: np.ndarray) -> np.ndarray:
    """min{1, sqrt(1 / N)} of counts N >= 0, float64; 1 where N is 0."""
    return 1.0 / np.sqrt(np.maximum(seen_N, 1))
