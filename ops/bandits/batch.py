"""Batches of n with a penalty on repetition inside the batch (2509.06941: ``Batch``)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ops.bandits.base import Learner, Statistics
from ops.bandits.outcome_ucb import ASSUMPTION_G
from ops.bandits.settings import Bandits


class Batch(Learner):
    """Fills a batch of n pulls one by one with the outcome of the largest mean - (c/n) (times it is in the batch).

    That is the batch bonus -(1/n) sum_j 1{a_i = a_j} with weight c, on mean rewards that are brought up to date after
    each batch. An outcome never seen counts as mean 0 (ours). Generalises as ``OutcomeUcb`` does (assumption G), but
    has no memory of counts: it does not explore what is uncertain, it keeps the batch diverse, for ever. With n < m and
    a small c it may never see m - n of the outcomes. So it has no bound: its regret grows in proportion to T.
    """

    assumption: ClassVar[str] = f"{ASSUMPTION_G}; remembers means, no counts"
    names_outcomes: ClassVar[bool] = True

    def __init__(self, n_rows: int, n_arms: int, n_outcomes: int, settings: Bandits) -> None:
        super().__init__(n_rows, n_arms, n_outcomes, settings)
        self._outcomes = Statistics(self.rows, n_outcomes)
        self._size, self._step = settings.batch, settings.batch_weight / settings.batch
        self._filled = 0
        self._value = np.zeros((n_rows, n_outcomes))  # means at the start of the batch, less the penalty in it

    def choose(self, pulled: int) -> np.ndarray:
        return self._value.argmax(axis=1)

    def learn(self, arm: np.ndarray, outcome: np.ndarray, reward: np.ndarray) -> None:
        self._outcomes.add(outcome, reward)
        self._value[self.rows, outcome] -= self._step
        self._filled += 1
        if self._filled == self._size:
            self._filled = 0
            self._value = self._outcomes.mean.copy()

    @staticmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> None:
        return None
