"""Sequence log-probability: how likely the verifier model finds the response itself."""

from __future__ import annotations

from typing import ClassVar, Literal

from ops.engines.base import TokenStatistics
from ops.verifiers.token_scores import TokenScore


class SequenceLogprob(TokenScore):
    """Score log p(y|x) in nats at temperature 1, divided by the number of tokens with ``normalise: mean``.

    The sum favours short responses; the mean does not.
    """

    name: Literal["sequence_logprob"] = "sequence_logprob"
    normalise: Literal["mean", "sum"] = "mean"
    version: ClassVar[str] = "1"

    def score_of(self, statistics: TokenStatistics) -> float:
        return statistics.logprob / (statistics.n_tokens if self.normalise == "mean" else 1)
