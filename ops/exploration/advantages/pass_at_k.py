"""Pass@k training: a response is worth what it does for groups of k that count as solved by one right answer."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.exploration.advantages.base import Advantage, correct_of
from ops.exploration.group import Group


class PassAtK(Advantage):
    """The mean, over all groups of k of the n responses that hold response i, of the group's normalised reward.

    A group's reward is 1 where one of its responses is correct; it is normalised by mean and standard deviation over
    all C(n, k) groups (2508.10751, analytical form), n_neg the number of incorrect responses:

    R = 1 - C(n_neg, k) / C(n, k), sigma = sqrt(R (1 - R));
    A = (1 - R) / sigma of a correct response, (1 - R - C(n_neg - 1, k - 1) / C(n - 1, k - 1)) / sigma of another.

    All are 0 where sigma is 0: no group of k, or every one, holds a correct response. With k = 1 it is
    (r_i - mean) / std, std with n.
    """

    name: Literal["pass_at_k"] = "pass_at_k"
    k: int = Field(8, ge=1)
    version: ClassVar[str] = "1"
    needs_binary: ClassVar[bool] = True

    def of_group(self, reward_N: np.ndarray, group: Group) -> np.ndarray:
        correct_N = correct_of(reward_N)
        n, n_negative = len(correct_N), int((~correct_N).sum())
        mean = 1.0 - math.comb(n_negative, self.k) / math.comb(n, self.k)
        spread = math.sqrt(mean * (1.0 - mean))
        if spread == 0.0:
            return np.zeros(n)
        alone = math.comb(n_negative - 1, self.k - 1) / math.comb(n - 1, self.k - 1)
        return np.where(correct_N, 1.0 - mean, 1.0 - mean - alone) / spread

    def check(self, responses_per_problem: int) -> None:
        if self.k > responses_per_problem:
            raise ValueError(f"k: at most responses_per_problem ({responses_per_problem}), got {self.k}")
