"""Global threshold: w = 1[s >= threshold] (2412.02674 §2)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.selection.base import Filter, shortest


class Threshold(Filter):
    """Keep responses whose score is at least ``threshold``; an unparseable verdict is not kept."""

    name: Literal["threshold"] = "threshold"
    verifier: str
    threshold: float
    version: ClassVar[str] = "1"

    @property
    def verifier_name(self) -> str:
        return self.verifier

    @property
    def threshold_value(self) -> float:
        return self.threshold

    @property
    def label(self) -> str:
        return f"{self.verifier} ≥ {shortest(self.threshold)}"

    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(score), 0.0, score >= self.threshold).astype(float)
