"""What a learner is, and the statistics that they share."""

from __future__ import annotations

import abc
import math
from typing import ClassVar

import numpy as np

from ops.bandits.settings import Bandits


class Learner(abc.ABC):
    """One algorithm, in all rows of a world at once. It sees nothing but what ``learn`` tells it.

    Attributes:
        assumption: what it knows and may do, in words, for the table.
        names_outcomes: whether ``choose`` names outcomes (assumption G: nature then draws an arm of it), or arms.
        searches_arms: whether it compares all K arms in every round; only the memory for it is planned by that.
    """

    assumption: ClassVar[str]
    names_outcomes: ClassVar[bool]
    searches_arms: ClassVar[bool] = False

    def __init__(self, n_rows: int, n_arms: int, n_outcomes: int, settings: Bandits) -> None:
        self.n_arms, self.n_outcomes = n_arms, n_outcomes
        self.rows = np.arange(n_rows)

    @abc.abstractmethod
    def choose(self, pulled: int) -> np.ndarray:
        """What to pull next in every row, after ``pulled`` pulls: int [rows], an arm or an outcome."""

    @abc.abstractmethod
    def learn(self, arm: np.ndarray, outcome: np.ndarray, reward: np.ndarray) -> None:
        """Take in what was pulled, its outcome and its reward: [rows] each."""

    @staticmethod
    @abc.abstractmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> np.ndarray | None:
        """What theory says of the regret after so many rounds, up to a constant factor: [Q]; None where nothing."""


class IndexLearner(Learner):
    """Tries every choice once, an outcome or an arm, then always the one with the largest index."""

    def __init__(self, n_rows: int, n_arms: int, n_outcomes: int, settings: Bandits) -> None:
        super().__init__(n_rows, n_arms, n_outcomes, settings)
        self._n_choices = n_outcomes if self.names_outcomes else n_arms
        self._choices = Statistics(self.rows, self._n_choices)

    def choose(self, pulled: int) -> np.ndarray:
        if pulled < self._n_choices:
            return np.full(len(self.rows), pulled)
        return self.index(pulled).argmax(axis=1)

    def index(self, pulled: int) -> np.ndarray:
        """Of every choice in every row: [rows, choices]; UCB1's, unless a learner has another one."""
        return self._choices.ucb1(pulled)

    def learn(self, arm: np.ndarray, outcome: np.ndarray, reward: np.ndarray) -> None:
        self._choices.add(outcome if self.names_outcomes else arm, reward)


class Statistics:
    """Mean reward and number of pulls of C things (arms or outcomes) in every row."""

    def __init__(self, rows: np.ndarray, columns: int) -> None:
        self._rows = rows
        shape = (len(rows), columns)
        self.mean = np.zeros(shape)  # of what was never pulled: 0
        self.count = np.zeros(shape)
        self._root = np.zeros(shape)  # 1 / sqrt(count), kept because the square roots cost most
        self._index = np.empty(shape)

    def add(self, column: np.ndarray, reward: np.ndarray) -> None:
        """One pull in every row."""
        place = (self._rows, column)
        count = self.count[place] + 1.0
        self.count[place] = count
        self.mean[place] += (reward - self.mean[place]) / count
        self._root[place] = 1.0 / np.sqrt(count)

    def ucb1(self, pulled: int) -> np.ndarray:
        """mean + sqrt(2 ln(pulled) / count) of everything, each pulled before (Auer, Cesa-Bianchi and Fischer 2002).

        The array is overwritten by the next call.
        """
        np.multiply(self._root, math.sqrt(2.0 * math.log(pulled)), out=self._index)
        self._index += self.mean
        return self._index
