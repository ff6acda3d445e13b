"""UCB with the other responses of the group as the baseline: rarer than they are, or more frequent."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.exploration.bonuses.base import OutcomeBonus
from ops.exploration.bonuses.ucb import optimism


class UcbMean(OutcomeBonus):
    """b_i - (1 / (n - 1)) sum_{j != i} b_j of the b of ``ucb`` (2509.06941 §4).

    Where a response counts alone (``unparseable: not``, one answer in the group) it has no others, and 0 (ours).
    """

    name: Literal["ucb_mean"] = "ucb_mean"
    version: ClassVar[str] = "1"
    uses_counts: ClassVar[bool] = True

    def of_answers(self, seen_N: np.ndarray, class_N: np.ndarray) -> np.ndarray:
        bonus_N = optimism(seen_N)
        if len(bonus_N) == 1:
            return np.zeros(1)
        return bonus_N - (bonus_N.sum() - bonus_N) / (len(bonus_N) - 1)
