"""GRPO's advantage: rewards minus their group's mean, divided by their group's standard deviation."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.exploration.advantages.base import Advantage
from ops.exploration.group import Group

STD_EPSILON = 1e-4
"""Added to the standard deviation, as TRL does."""


class GroupNormalised(Advantage):
    """A_i = (r_i - mean(r)) / (std(r) + 1e-4), std with n - 1 (2402.03300 eq. 3; epsilon and n - 1 as in TRL)."""

    name: Literal["group_normalised"] = "group_normalised"
    version: ClassVar[str] = "1"

    def of_group(self, reward_N: np.ndarray, group: Group) -> np.ndarray:
        return (reward_N - reward_N.mean()) / (reward_N.std(ddof=1) + STD_EPSILON)
