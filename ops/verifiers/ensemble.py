"""Ensembles of verifiers: logical AND of their verdicts (2412.02674 §5), majority of them, or mean of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from ops.variants import Strict
from ops.verifiers.base import DerivedVerifier, Verifier


class Member(Strict):
    """One verifier of an ensemble. It accepts scores of at least ``threshold``; None: its own default threshold."""

    verifier: str
    threshold: float | None = None


class Ensemble(DerivedVerifier):
    """Several verifiers as one; ``of`` lists their labels, or ``{verifier: label, threshold: x}``.

    - ``and``: 1 where every member accepts, 0 where one rejects. A member without a score leaves it open: no score
      unless another member rejects.
    - ``majority``: the share of accepting members among those that have a score. It has no score where the members
      without one could still turn the majority. 'Correct' needs more than half of all members.
    - ``mean``: the mean of the members' scores, each mapped from its range to [0, 1]; members without a score are left
      out, as in k averaged verifications, and there is none where all are. 'Correct' from 0.5 on.
    """

    name: Literal["ensemble"] = "ensemble"
    how: Literal["and", "majority", "mean"]
    of: tuple[Member, ...] = Field(min_length=2)
    version: ClassVar[str] = "1"
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @field_validator("of", mode="before")
    @classmethod
    def _labels(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple({"verifier": item} if isinstance(item, str) else item for item in value)

    @field_validator("of")
    @classmethod
    def _each_once(cls, value: tuple[Member, ...]) -> tuple[Member, ...]:
        names = [member.verifier for member in value]
        if len(set(names)) < len(names):
            raise ValueError("each verifier once")
        return value

    @property
    def called(self) -> str:
        return self.label or f"{self.how}-{'+'.join(self.members)}"

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(member.verifier for member in self.of)

    @property
    def default_threshold(self) -> float:
        """Of a majority: between the largest minority and the smallest majority of all members."""
        return (len(self.of) // 2 + 0.5) / len(self.of) if self.how == "majority" else 0.5

    def check_members(self, verifiers: Mapping[str, Verifier]) -> None:
        for member in self.of:
            verifier = verifiers[member.verifier]
            if self.how == "mean":
                if verifier.score_range is None:
                    raise ValueError(f"of: verifiers whose scores have a range (for a mean), got {member.verifier}")
                if member.threshold is not None:
                    raise ValueError("of: labels alone (a mean reads no thresholds)")
            elif member.threshold is None and verifier.default_threshold == -np.inf:
                raise ValueError(
                    f"of: {{verifier: {member.verifier}, threshold: ...}}, because that verifier has none of its own"
                )

    def derive(
        self, responses: pl.DataFrame, scores: Mapping[str, np.ndarray], verifiers: Mapping[str, Verifier]
    ) -> np.ndarray:
        score_MN = np.stack([np.asarray(scores[name], dtype=float) for name in self.members])
        if self.how == "mean":
            return _mean(score_MN, [verifiers[name].score_range for name in self.members])
        cut_M = np.array([self._threshold(member, verifiers) for member in self.of])
        unparseable_N = np.isnan(score_MN).sum(axis=0)
        accepting_N = (score_MN >= cut_M[:, None]).sum(axis=0)  # NaN accepts nothing
        rejecting_N = len(self.of) - accepting_N - unparseable_N
        if self.how == "and":
            open_N = (rejecting_N == 0) & (unparseable_N > 0)
            return np.where(open_N, np.nan, (rejecting_N == 0).astype(float))
        needed = len(self.of) // 2 + 1
        open_N = (accepting_N < needed) & (accepting_N + unparseable_N >= needed)
        return np.where(open_N, np.nan, accepting_N / np.maximum(accepting_N + rejecting_N, 1))

    def _threshold(self, member: Member, verifiers: Mapping[str, Verifier]) -> float:
        return verifiers[member.verifier].default_threshold if member.threshold is None else member.threshold


def _mean(score_MN: np.ndarray, ranges: list[tuple[float, float] | None]) -> np.ndarray:
    """Mean over members of (score - low) / (high - low), float [N]; NaN where no member has a score."""
    low_M, high_M = np.array(ranges, dtype=float).T
    share_MN = (score_MN - low_M[:, None]) / (high_M - low_M)[:, None]
    count_N = (~np.isnan(share_MN)).sum(axis=0)
    total_N = np.nansum(share_MN, axis=0)
    return np.divide(total_N, count_N, out=np.full(total_N.shape, np.nan), where=count_N > 0)
