"""Positive and negative reinforcement with weights of their own, without a baseline and without normalisation."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from ops.exploration.advantages.base import Advantage, correct_of
from ops.exploration.group import Group


class Weighted(Advantage):
    """``positive_weight`` for a correct response, minus ``negative_weight`` for any other (2506.01347).

    0.1 and 1 are their W-REINFORCE; 0 and 1 their negative sample reinforcement, 1 and 0 their positive one, 1 and 1
    plain REINFORCE with rewards +1 and -1. An unparseable response is not correct.
    """

    name: Literal["weighted"] = "weighted"
    positive_weight: float = Field(0.1, ge=0.0)
    negative_weight: float = Field(1.0, ge=0.0)
    version: ClassVar[str] = "1"
    needs_binary: ClassVar[bool] = True

    @model_validator(mode="after")
    def _not_both_zero(self) -> Weighted:
        if self.positive_weight == self.negative_weight == 0.0:
            raise ValueError("positive_weight: above 0 where negative_weight is 0 (nothing would be reinforced)")
        return self

    def of_group(self, reward_N: np.ndarray, group: Group) -> np.ndarray:
        return np.where(correct_of(reward_N), self.positive_weight, -self.negative_weight)
