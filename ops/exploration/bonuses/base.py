"""What a bonus is: one number per response of a group, added to its advantage (arXiv 2509.06941 §4)."""

from __future__ import annotations

import abc
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.exploration.classes import answer_classes
from ops.exploration.group import Group
from ops.variants import Strict


class Bonus(Strict, abc.ABC):
    """Base of bonuses. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    ``version`` is bumped whenever the same group could get another bonus.
    """

    name: str
    version: ClassVar[str]
    uses_counts: ClassVar[bool] = False
    """Whether it reads ``Group.seen_N``."""

    @property
    def weight(self) -> float:
        """The coefficient c that the bonus is multiplied with; 0 where there is none by outcome."""
        return 0.0

    @property
    def entropy_weight(self) -> float:
        """The coefficient of the policy's token entropy in the objective; 0 for all but the entropy bonus."""
        return 0.0

    @abc.abstractmethod
    def of_group(self, group: Group) -> np.ndarray:
        """Bonuses b_i [N], float64, before the coefficient; every rule below is already applied."""


class OutcomeBonus(Bonus):
    """Base of bonuses by final answer: b(x, a_i). A variant gives its formula, ``of_answers``; all rules are here.

    ``coefficient``: c. ``counting``: whether N(x, a) counts the current group (after) or not (before; open in the
    paper: with N >= 1 its min{1, .} would never bind, so before is the default). ``unparseable``: how responses
    without an answer count: all as one answer (one), each as an answer of its own that is never seen again (apart), or
    not at all (not: their bonus is 0, and the formula is that of a group of the others alone: they are no a_j, and n
    does not count them). ``zero_when_all_correct``: bonus 0 where the whole group is correct.
    ``mask_answer``: whether the tokens of the final answer itself carry no bonus (None: where the task's answer is a
    part of the response and not all of it).
    """

    coefficient: float = Field(0.2, ge=0.0)
    counting: Literal["before", "after"] = "before"
    unparseable: Literal["one", "apart", "not"] = "one"
    zero_when_all_correct: bool = True
    mask_answer: bool | None = None

    @property
    def weight(self) -> float:
        return self.coefficient

    @abc.abstractmethod
    def of_answers(self, seen_N: np.ndarray, class_N: np.ndarray) -> np.ndarray:
        """The formula alone, for the N >= 1 responses that count.

        Args:
            seen_N: N(x, a_i), int64.
            class_N: int64, equal where two answers are the same; an unparseable response as ``unparseable`` says.
        """

    def of_group(self, group: Group) -> np.ndarray:
        bonus_N = np.zeros(group.n)
        if self.zero_when_all_correct and group.correct_N.all():
            return bonus_N
        answered_N = np.array([answer is not None for answer in group.answers])
        counts_N = answered_N if self.unparseable == "not" else np.ones(group.n, dtype=bool)
        if counts_N.any():
            class_N = answer_classes(group.answers, apart=self.unparseable == "apart")
            bonus_N[counts_N] = self.of_answers(group.seen_N[counts_N], class_N[counts_N])
        return bonus_N
