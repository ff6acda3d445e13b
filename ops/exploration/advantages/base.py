"""What an advantage is: how the rewards of a group become the weights of its responses in the gradient."""

from __future__ import annotations

import abc
from typing import ClassVar

import numpy as np

from ops.exploration.group import Group
from ops.variants import Strict


class Advantage(Strict, abc.ABC):
    """Base of advantages. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    ``version`` is bumped whenever the same rewards could become other advantages.
    """

    name: str
    version: ClassVar[str]
    needs_binary: ClassVar[bool] = False
    """Whether it is defined for rewards of 0 and 1 only (``Reward.is_binary``)."""

    @abc.abstractmethod
    def of_group(self, reward_N: np.ndarray, group: Group) -> np.ndarray:
        """Advantages [N], float64, without any bonus."""

    def check(self, responses_per_problem: int) -> None:
        """Refuse a group size that it is not defined for.

        Raises:
            ValueError: ``field: what was expected``, the field as in the experiment file behind ``advantage.``.
        """


def correct_of(reward_N: np.ndarray) -> np.ndarray:
    """Which rewards are 1, bool [N].

    Raises:
        ValueError: when one is neither 0 nor 1.
    """
    if not np.isin(reward_N, (0.0, 1.0)).all():
        raise ValueError("expected rewards of 0 and 1 only")
    return reward_N == 1.0
