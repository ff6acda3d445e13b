"""1 for a correct final answer, 0 for any other."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.exploration.group import Group
from ops.exploration.rewards.base import Reward


class Verifiable(Reward):
    """r(x, a) = 1 where the final answer is correct, else 0; an unparseable response has no answer and gets 0."""

    name: Literal["verifiable"] = "verifiable"
    version: ClassVar[str] = "1"
    is_binary: ClassVar[bool] = True

    def of_group(self, group: Group) -> np.ndarray:
        return group.correct_N.astype(np.float64)
