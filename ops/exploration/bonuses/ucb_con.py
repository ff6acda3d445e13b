"""UCB with a constant as the baseline: answers seen more often than it allows lose."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.exploration.bonuses.base import OutcomeBonus
from ops.exploration.bonuses.ucb import optimism


class UcbCon(OutcomeBonus):
    """b_i - b0 of the b of ``ucb`` (2509.06941 §4). ``baseline``: b0, 1 on their easy and 0.5 on their medium set."""

    name: Literal["ucb_con"] = "ucb_con"
    baseline: float = Field(0.5, ge=0.0, le=1.0)
    version: ClassVar[str] = "1"
    uses_counts: ClassVar[bool] = True

    def of_answers(self, seen_N: np.ndarray, class_N: np.ndarray) -> np.ndarray:
        return optimism(seen_N) - self.baseline
