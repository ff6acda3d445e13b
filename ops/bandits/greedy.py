"""No bonus: the reference, as RL on outcome rewards alone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ops.bandits.base import Learner, Statistics
from ops.bandits.outcome_ucb import ASSUMPTION_G
from ops.bandits.settings import Bandits


class Greedy(Learner):
    """Names each of the m outcomes once, then the one with the largest mean reward so far.

    Generalises as ``OutcomeUcb`` does (assumption G), but has no bonus: a good outcome that was unlucky at first is
    never looked at again. So it locks in, and its regret grows in proportion to T. No bound.
    """

    assumption: ClassVar[str] = f"{ASSUMPTION_G}; no bonus"
    names_outcomes: ClassVar[bool] = True

    def __init__(self, n_rows: int, n_arms: int, n_outcomes: int, settings: Bandits) -> None:
        super().__init__(n_rows, n_arms, n_outcomes, settings)
        self._outcomes = Statistics(self.rows, n_outcomes)

    def choose(self, pulled: int) -> np.ndarray:
        if pulled < self.n_outcomes:
            return np.full(len(self.rows), pulled)
        return self._outcomes.mean.argmax(axis=1)

    def learn(self, arm: np.ndarray, outcome: np.ndarray, reward: np.ndarray) -> None:
        self._outcomes.add(outcome, reward)

    @staticmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> None:
        return None
