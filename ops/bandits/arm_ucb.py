"""UCB1 over arms: outcomes do not exist for it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ops.bandits.base import Learner, Statistics
from ops.bandits.bounds import worst_case
from ops.bandits.settings import Bandits


class ArmUcb(Learner):
    """Pulls each of the K arms once, then the one with the largest mean + sqrt(2 ln t / pulls of that arm).

    Knows nothing of outcomes: what it learns of an arm says nothing of another one. Regret O(sqrt(K T log T)), and
    nothing is gained before every arm was pulled once, in K rounds.
    """

    assumption: ClassVar[str] = "knows nothing of outcomes"
    names_outcomes: ClassVar[bool] = False
    searches_arms: ClassVar[bool] = True

    def __init__(self, n_rows: int, n_arms: int, n_outcomes: int, settings: Bandits) -> None:
        super().__init__(n_rows, n_arms, n_outcomes, settings)
        self._arms = Statistics(self.rows, n_arms)

    def choose(self, pulled: int) -> np.ndarray:
        if pulled < self.n_arms:
            return np.full(len(self.rows), pulled)
        return self._arms.ucb1(pulled).argmax(axis=1)

    def learn(self, arm: np.ndarray, outcome: np.ndarray, reward: np.ndarray) -> None:
        self._arms.add(arm, reward)

    @staticmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> np.ndarray:
        return worst_case(n_arms, round_q)
