"""No filter: keep everything; the control that shows what fine-tuning alone does."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.selection.base import Filter


class NoFilter(Filter):
    """w = 1 for every response."""

    name: Literal["none"] = "none"
    version: ClassVar[str] = "1"
    drops: ClassVar[bool] = False

    @property
    def label(self) -> str:
        return "no filter"

    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        return np.ones(len(score))
