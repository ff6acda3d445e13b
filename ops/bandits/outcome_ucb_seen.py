"""UCB1 over outcomes without generalisation: an arm's outcome is known once that arm was pulled, and not before."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ops.bandits.base import Learner, Statistics
from ops.bandits.bounds import worst_case
from ops.bandits.settings import Bandits


class OutcomeUcbSeen(Learner):
    """Pulls each of the K arms once, then an arm that it has seen of the outcome with the largest index.

    Knows: that a mean depends on the outcome only (pulls of all arms of an outcome are counted together), and the
    outcome of every arm that was pulled. Does not know: the outcome of an arm never pulled, nor how many outcomes there
    are, so an unseen arm may always hold a better one, and its index is infinite. It cannot ask for an outcome, only
    for an arm. So it pays up to K pulls before the m-armed problem begins: O(K + sqrt(m T log T)).

    That K is the price of the instance where the good outcome has one arm (``needle``): before that arm was pulled
    nothing tells it from the others, so no learner that has to pull arms one by one does better than about K/2 wrong
    pulls there. Where every outcome has many arms it is the price of this algorithm only: who knew m could
    stop looking once m outcomes were seen.
    """

    assumption: ClassVar[str] = "shares statistics by outcome; the outcome of an arm is unknown until it was pulled"
    names_outcomes: ClassVar[bool] = False

    def __init__(self, n_rows: int, n_arms: int, n_outcomes: int, settings: Bandits) -> None:
        super().__init__(n_rows, n_arms, n_outcomes, settings)
        self._outcomes = Statistics(self.rows, n_outcomes)  # room for all; nothing is decided by how many there are
        self._known_arm = np.full((n_rows, n_outcomes), -1)

    def choose(self, pulled: int) -> np.ndarray:
        if pulled < self.n_arms:
            return np.full(len(self.rows), pulled)
        return self._known_arm[self.rows, self._outcomes.ucb1(pulled).argmax(axis=1)]

    def learn(self, arm: np.ndarray, outcome: np.ndarray, reward: np.ndarray) -> None:
        self._known_arm[self.rows, outcome] = arm
        self._outcomes.add(outcome, reward)

    @staticmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> np.ndarray:
        return np.minimum(n_arms, round_q) + worst_case(n_outcomes, round_q)
