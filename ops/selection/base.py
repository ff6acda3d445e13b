"""What a filter is: it turns verification scores into weights w(s) (2412.02674 §2)."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ops.errors import ExperimentError
from ops.variants import Strict


def shortest(value: float) -> str:
    """The fewest digits that are this number and no other, ``0.5``, ``8``, ``0.1234567``: different numbers differ."""
    return repr(float(value) + 0.0).removesuffix(".0")  # + 0.0: there is one zero


class Filter(Strict, abc.ABC):
    """Base of filters. Subclasses add ``name: Literal[...]`` and their parameters as fields."""

    name: str
    version: ClassVar[str]
    accepts: ClassVar[bool] = True
    """Whether a weight is (the probability of) acceptance, in [0, 1]; precision and recall need that."""
    drops: ClassVar[bool] = True
    """Whether a response whose scores could be read may have the weight 0."""

    @property
    def verifier_name(self) -> str | None:
        """The verifier whose scores it reads, or None (gold labels, no filter, several verifiers)."""
        return None

    @property
    def verifier_names(self) -> tuple[str, ...]:
        """All verifiers whose scores it reads, each once, in order of first mention."""
        return () if self.verifier_name is None else (self.verifier_name,)

    @property
    def threshold_value(self) -> float | None:
        """The number reported in the column ``threshold``."""
        return None

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """Short words for people and tables, e.g. ``logit ≥ 0.5``. Rows are found by it: different filters differ."""

    @abc.abstractmethod
    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        """Weights in [0, inf) of N responses, from the scores of its one verifier.

        Args:
            problem_index: int [N], the problem of each response, 0..P-1.
            score: float [N], NaN where the verdict was unparseable (always weight 0).
            is_correct: bool [N], the truth; only the gold filter may read it.
        """

    def weights_of(
        self, problem_index: np.ndarray, scores: Mapping[str, np.ndarray], is_correct: np.ndarray
    ) -> np.ndarray:
        """Weights of N responses, from the scores of all verifiers by name.

        Raises:
            ExperimentError: ``scores`` has none of a verifier that this filter reads.
        """
        if self.verifier_name is None:
            return self.weights(problem_index, np.full(len(problem_index), np.nan), is_correct)
        if self.verifier_name not in scores:
            raise ExperimentError(
                f"filter {self.label}",
                f"there are no scores of {self.verifier_name} (there are: {', '.join(scores) or 'none'})",
                field="verifier",
                remedy="name a verifier that is listed under `verifiers`",
            )
        return self.weights(problem_index, scores[self.verifier_name], is_correct)
