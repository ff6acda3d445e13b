"""No bonus: the reference, as RL on outcome rewards alone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ops.bandits.base import IndexLearner
from ops.bandits.outcome_ucb import ASSUMPTION_G


class Greedy(IndexLearner):
    """Names each of the m outcomes once, then the one with the largest mean reward so far.

    Generalises as ``OutcomeUcb`` does (assumption G), but has no bonus: a good outcome that was unlucky at first is
    never looked at again. So it locks in, and its regret grows in proportion to T. No bound.
    """

    assumption: ClassVar[str] = f"{ASSUMPTION_G}; no bonus"
    names_outcomes: ClassVar[bool] = True

    def index(self, pulled: int) -> np.ndarray:
        return self._choices.mean

    @staticmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> None:
        return None
