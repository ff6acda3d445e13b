"""Self-certainty (2502.18581): how far the model's next-token distributions are from uniform along a response."""

from __future__ import annotations

from typing import ClassVar, Literal

from ops.engines.base import TokenStatistics
from ops.verifiers.token_scores import TokenScore


class SelfCertainty(TokenScore):
    """Score -(1 / (n V)) sum_i sum_j log(V p_ij), the mean over the n tokens of KL(uniform || p_i), at least 0.

    V counts every entry of the model's output, as in the paper's code; p_i is at temperature 1.
    """

    name: Literal["self_certainty"] = "self_certainty"
    version: ClassVar[str] = "1"

    def score_of(self, statistics: TokenStatistics) -> float:
        return statistics.self_certainty
