"""What the responses of one step are worth: rewards, advantages and bonuses, group by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.exploration.counts import AnswerCounts
from ops.exploration.group import Group
from ops.exploration.settings import Exploration
from ops.types import CORRECT, Completion, Grade


@dataclass(frozen=True)
class Worth:
    """Of one group; arrays [N].

    Attributes:
        reward_N: r_i.
        advantage_N: A_i, without the bonus.
        bonus_N: b_i, before its coefficient.
    """

    group: Group
    reward_N: np.ndarray
    advantage_N: np.ndarray
    bonus_N: np.ndarray

    @property
    def is_solved(self) -> bool:
        """Whether the group holds a correct response."""
        return bool(self.group.correct_N.any())


def worth_of(
    problem_id: str,
    completions: Sequence[Completion],
    grades: Sequence[Grade],
    settings: Exploration,
    counts: AnswerCounts,
) -> Worth:
    """Of one problem's group, whose answers are counted in ``counts``.

    Args:
        counts: of all groups before this one; changed.
    """
    answers = tuple(grade.answer for grade in grades)
    group = Group(
        answers=answers,
        correct_N=np.array([grade.verdict == CORRECT for grade in grades]),
        logprob_N=np.array([completion.logprob for completion in completions]),
        seen_N=counts.seen(problem_id, answers, settings.bonus),
    )
    counts.add(problem_id, answers, settings.bonus)
    reward_N = settings.reward.of_group(group)
    return Worth(group, reward_N, settings.advantage.of_group(reward_N, group), settings.bonus.of_group(group))
