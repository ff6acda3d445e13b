"""Dr. GRPO's advantage: rewards minus their group's mean, not divided by anything."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.exploration.advantages.base import Advantage
from ops.exploration.group import Group


class MeanOnly(Advantage):
    """A_i = r_i - mean(r) (2503.20783): easy and hard problems are not weighted up by their small spread."""

    name: Literal["mean_only"] = "mean_only"
    version: ClassVar[str] = "1"

    def of_group(self, reward_N: np.ndarray, group: Group) -> np.ndarray:
        return reward_N - reward_N.mean()
