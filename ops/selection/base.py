"""What a filter is: it turns verification scores into weights w(s) (2412.02674 §2)."""

from __future__ import annotations

import abc
from typing import ClassVar

import numpy as np

from ops.variants import Strict


class Filter(Strict, abc.ABC):
    """Base of filters. Subclasses add ``name: Literal[...]`` and their parameters as fields."""

    name: str
    version: ClassVar[str]

    @property
    def verifier_name(self) -> str | None:
        """The verifier whose scores it reads, or None (gold labels, no filter)."""
        return None

    @property
    def threshold_value(self) -> float | None:
        """The number reported in the column ``threshold``."""
        return None

    @abc.abstractmethod
    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        """Weights in [0, inf) of N responses.

        Args:
            problem_index: int [N], the problem of each response, 0..P-1.
            score: float [N], NaN where the verdict was unparseable (always weight 0).
            is_correct: bool [N], the truth; only the gold filter may read it.
        """
