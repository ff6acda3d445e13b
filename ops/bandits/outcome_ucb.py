"""UCB1 over outcomes with generalisation, as an outcome bonus in training is meant to work."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ops.bandits.base import Learner, Statistics
from ops.bandits.bounds import worst_case
from ops.bandits.settings import Bandits

ASSUMPTION_G = "G: names one of the m outcomes, nature draws an arm of it"


class OutcomeUcb(Learner):
    """Names each of the m outcomes once, then the one with the largest mean + sqrt(2 ln t / pulls of that outcome).

    Assumption G (ours; 2509.06941 has a generalisation assumption of its own, of which we know the consequence only):
    raising or lowering the index of an outcome raises or lowers the policy's probability of all its arms, also of those
    never pulled. Taken to its end: the learner names an outcome, and nature draws one of its arms in proportion to the
    base policy, which here is uniform over arms. So it knows the list of outcomes, and reaches an outcome however rare
    its arms are. What is left is a problem of m arms: regret O(sqrt(m T log T)), whatever K is.
    """

    assumption: ClassVar[str] = ASSUMPTION_G
    names_outcomes: ClassVar[bool] = True

    def __init__(self, n_rows: int, n_arms: int, n_outcomes: int, settings: Bandits) -> None:
        super().__init__(n_rows, n_arms, n_outcomes, settings)
        self._outcomes = Statistics(self.rows, n_outcomes)

    def choose(self, pulled: int) -> np.ndarray:
        if pulled < self.n_outcomes:
            return np.full(len(self.rows), pulled)
        return self._outcomes.ucb1(pulled).argmax(axis=1)

    def learn(self, arm: np.ndarray, outcome: np.ndarray, reward: np.ndarray) -> None:
        self._outcomes.add(outcome, reward)

    @staticmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> np.ndarray:
        return worst_case(n_outcomes, round_q)
