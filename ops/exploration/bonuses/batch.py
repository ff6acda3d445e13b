"""Batch: an answer is worth the less, the more other responses of the same group give it."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.exploration.bonuses.base import OutcomeBonus


class Batch(OutcomeBonus):
    """b_i = -(1 / n) sum_{j != i} 1{a_i = a_j} (2509.06941 §4). It reads no counts: ``counting`` changes nothing."""

    name: Literal["batch"] = "batch"
    version: ClassVar[str] = "1"

    def of_answers(self, seen_N: np.ndarray, class_N: np.ndarray) -> np.ndarray:
        return -(np.bincount(class_N)[class_N] - 1.0) / len(class_N)
