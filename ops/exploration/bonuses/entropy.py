"""The entropy bonus: a baseline of 2509.06941, which goes by tokens and not by answers."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.exploration.bonuses.base import Bonus
from ops.exploration.group import Group


class Entropy(Bonus):
    """``coefficient`` times the entropy (nats) of the policy's next-token distributions is added to the objective.

    b_i = 0: the whole of it is ``entropy_weight``, which the objective reads. The coefficient is ours (the paper gives
    none).
    """

    name: Literal["entropy"] = "entropy"
    coefficient: float = Field(0.01, ge=0.0)
    version: ClassVar[str] = "1"

    @property
    def entropy_weight(self) -> float:
        return self.coefficient

    def of_group(self, group: Group) -> np.ndarray:
        return np.zeros(group.n)
