"""UCB1 over outcomes with generalisation, as an outcome bonus in training is meant to work."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ops.bandits.base import IndexLearner
from ops.bandits.bounds import worst_case

ASSUMPTION_G = "G: names one of the m outcomes, nature draws an arm of it"


class OutcomeUcb(IndexLearner):
    """Names each of the m outcomes once, then the one with the largest mean + sqrt(2 ln t / pulls of that outcome).

    Assumption G (ours; 2509.06941 has a generalisation assumption of its own, of which we know the consequence only):
    raising or lowering the index of an outcome raises or lowers the policy's probability of all its arms, also of those
    never pulled. Taken to its end: the learner names an outcome, and nature draws one of its arms in proportion to the
    base policy, which here is uniform over arms. So it knows the list of outcomes, and reaches an outcome however rare
    its arms are. What is left is a problem of m arms: regret O(sqrt(m T log T)), whatever K is.
    """

    assumption: ClassVar[str] = ASSUMPTION_G
    names_outcomes: ClassVar[bool] = True

    @staticmethod
    def bound(n_arms: int, n_outcomes: int, round_q: np.ndarray) -> np.ndarray:
        return worst_case(n_outcomes, round_q)
