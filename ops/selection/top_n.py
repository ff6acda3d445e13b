"""Top n: each problem's n best responses."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.estimation.ranks import ranks_within
from ops.selection.base import Filter


class TopN(Filter):
    """Keep each problem's ``n`` highest parseable scores; fewer where the problem has fewer.

    Responses that tie for the last places share them: with ``a`` responses above and ``t`` tied, each tied one weighs
    (n - a) / t, its probability of being kept when ties are broken at random. The sum of the weights of a problem is
    the same in every tie-breaking, so J_w computed from them is exactly the mean of J_w over all tie-breakings, without
    a seed and without favouring early samples.
    """

    name: Literal["top_n"] = "top_n"
    verifier: str
    n: int = Field(ge=1)
    version: ClassVar[str] = "1"

    @property
    def verifier_name(self) -> str:
        return self.verifier

    @property
    def threshold_value(self) -> float:
        return float(self.n)

    @property
    def label(self) -> str:
        return f"{self.verifier} best {self.n}"

    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        kept = np.zeros(len(score))
        parseable = ~np.isnan(score)
        ranks = ranks_within(problem_index[parseable], score[parseable])
        kept[parseable] = np.clip((self.n - ranks.above_N) / np.maximum(ranks.tied_N, 1), 0.0, 1.0)
        return kept
