"""The unlikeliness reward: of the correct responses, the less likely ones are worth more."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.exploration.group import Group
from ops.exploration.rewards.base import Reward

SAME_LOGPROB_DECIMALS = 4
"""Log-probabilities that agree to so many decimals are one: the same text, drawn and computed in two batches."""


class Unlikeliness(Reward):
    """r_i (1 - beta (n - rank(y_i)) / n), r as in ``verifiable``, beta = ``beta_rank`` (2506.02355).

    Ranks go from 1, the most likely response of the whole group, to n, the least likely, whose reward is whole. Their
    released code ranks by the mean log-probability per token; here, as in their text, by that of the response, at
    temperature 1 under the policy that drew it. Equally likely responses share the mean of their ranks (ours; their
    code ranks them by position).
    """

    name: Literal["unlikeliness"] = "unlikeliness"
    beta_rank: float = Field(0.25, ge=0.0, le=1.0)
    version: ClassVar[str] = "1"

    def of_group(self, group: Group) -> np.ndarray:
        from scipy.stats import rankdata  # type: ignore[import-untyped]

        rank_N = rankdata(-np.round(group.logprob_N, SAME_LOGPROB_DECIMALS), method="average")
        return group.correct_N * (1.0 - self.beta_rank * (group.n - rank_N) / group.n)
