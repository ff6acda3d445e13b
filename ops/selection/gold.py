"""Gold labels: keep what is really correct; the control that bounds what a verifier can do."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.selection.base import Filter


class Gold(Filter):
    """w = 1[u(x, y) = 1]: the ground truth stands in for the verifier."""

    name: Literal["gold"] = "gold"
    version: ClassVar[str] = "1"

    @property
    def label(self) -> str:
        return "gold labels"

    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        return is_correct.astype(float)
