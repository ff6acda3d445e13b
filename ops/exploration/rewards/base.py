"""What a reward is: one number per response of a group, from verdicts and from the group itself."""

from __future__ import annotations

import abc
from typing import ClassVar

import numpy as np

from ops.exploration.group import Group
from ops.variants import Strict


class Reward(Strict, abc.ABC):
    """Base of rewards. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    ``version`` is bumped whenever the same group could be rewarded differently.
    """

    name: str
    version: ClassVar[str]
    is_binary: ClassVar[bool] = False
    """Whether every reward is 0 or 1, which some advantages need (``Advantage.needs_binary``)."""

    @abc.abstractmethod
    def of_group(self, group: Group) -> np.ndarray:
        """Rewards [N], float64."""
