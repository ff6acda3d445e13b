"""B-STaR (2412.17256): the temperature and the threshold with the highest balance score."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.adapt.base import Adaptation
from ops.estimation.balance import KeptCounts, balance_scores


class Balance(Adaptation):
    """A selection is worth its balance score: enough right responses of a problem, few wrong ones among them."""

    name: Literal["balance"] = "balance"
    version: ClassVar[str] = "1"

    def values(self, counts: KeptCounts, target: int) -> np.ndarray:
        """``balance_scores`` with n* = ``target``."""
        return balance_scores(counts.kept_P, counts.correct_P, target)
