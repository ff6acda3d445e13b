"""AND: keep what every member keeps ("ensemble = logical AND of the filters", 2412.02674)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.selection.base import Filter
from ops.selection.quantile import Quantile
from ops.selection.threshold import Threshold
from ops.selection.top_n import TopN
from ops.variants import FromList, Strict, union

MEMBERS: dict[str, type[Strict]] = {"threshold": Threshold, "quantile": Quantile, "top_n": TopN}
"""Filters that accept or reject: what an AND can be made of."""


class And(Filter):
    """w = product of the members' weights, each computed on its own verifier's scores.

    With weights of 0 and 1 that is the logical AND. Where a ``top_n`` shares its last places among ties, the product is
    the probability of being kept when every member breaks its ties independently.
    """

    name: Literal["and"] = "and"
    filters: FromList[Annotated[tuple[union(MEMBERS), ...], Field(min_length=2)]]  # type: ignore[valid-type]
    version: ClassVar[str] = "1"

    @property
    def verifier_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for member in self.filters for name in member.verifier_names))

    @property
    def label(self) -> str:
        return " AND ".join(member.label for member in self.filters)

    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        raise TypeError(f"the filter `{self.label}` has a score per member: call weights_of")

    def weights_of(
        self, problem_index: np.ndarray, scores: Mapping[str, np.ndarray], is_correct: np.ndarray
    ) -> np.ndarray:
        """Product of the members' weights.

        Raises:
            ExperimentError: ``scores`` has none of a verifier that a member reads.
        """
        product = np.ones(len(problem_index))
        for member in self.filters:
            product *= member.weights_of(problem_index, scores, is_correct)
        return product
