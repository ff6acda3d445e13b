"""UCB1 over arms: outcomes do not exist for it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ops.bandits.base import IndexLearner
from ops.bandits.bounds import worst_case


class ArmUcb(IndexLearner):
    """Pulls each of the K arms once, then the one with the largest mean + sqrt(2 ln t / pulls of that arm).

    Knows nothing of outcomes: what it learns of an arm says nothing of another one. Regret O(sqrt(K T log T)), and
    nothing is gained before every arm was pulled once, in K rounds.
    """

    assumption: ClassVar[str] = "knows nothing of outcomes"
    names_outcomes: ClassVar[bool] = False
    searches_arms: ClassVar[bool] = True

    @staticmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> np.ndarray:
        return worst_case(n_arms, round_q)
