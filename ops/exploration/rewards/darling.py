"""DARLING's reward: quality times diversity, with exact answers in the place of their learned classes."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.exploration.classes import answer_classes
from ops.exploration.group import Group
from ops.exploration.rewards.base import Reward


class Darling(Reward):
    """r_i max{floor, d_i}, r as in ``verifiable``, d_i the part of the other n - 1 responses with another answer.

    Source: 2509.02534, whose semantic classes come from a learned classifier; here two responses are in one class
    where their canonical answers are equal, and all unparseable ones are in one (ours). d_i = (n - size of i's class) /
    (n - 1) and the floor of 0.1 (a group of one class keeps its reward's signal) are those of their released code.
    """

    name: Literal["darling"] = "darling"
    floor: float = Field(0.1, ge=0.0, le=1.0)
    version: ClassVar[str] = "1"

    def of_group(self, group: Group) -> np.ndarray:
        class_N = answer_classes(group.answers)
        diversity_N = (group.n - np.bincount(class_N)[class_N]) / (group.n - 1)
        return group.correct_N * np.maximum(diversity_N, self.floor)
