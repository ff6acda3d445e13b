"""No bonus: plain policy gradient."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.exploration.bonuses.base import Bonus
from ops.exploration.group import Group


class NoBonus(Bonus):
    """b_i = 0."""

    name: Literal["none"] = "none"
    version: ClassVar[str] = "1"

    def of_group(self, group: Group) -> np.ndarray:
        return np.zeros(group.n)
