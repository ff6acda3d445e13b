"""What a recipe's documents are about: its problems, right and wrong attempts, and how an attempt is traced."""

from __future__ import annotations

import abc
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ops.tasks.steps import Step
from ops.types import Problem

Attempt = tuple[Step, ...]
Key = Any
"""Hashable; its type is the recipe's own."""


class Exercises(abc.ABC):
    """Base of the exercises of one recipe. A *key* is the content of a problem, however it is shown.

    Whatever is drawn comes from the ``rng`` that is given, so that a document is a function of its seed.
    """

    task: ClassVar[Any]
    """The task, with the parameters that models of the recipe are trained on."""
    mixes: ClassVar[tuple[Mapping[str, float], ...]]
    """Share of each kind of document in the three phases of pretraining."""
    logit_attempts: ClassVar[int]
    """Attempts in one logit document."""
    same_problem: ClassVar[bool]
    """Whether all attempts in a document are at one problem; not where one right chain gives the others away."""
    flag_weight: ClassVar[float]
    """Loss weight of the flags ok and bad in a trace."""
    attempt_tokens: ClassVar[int]
    """Room for any attempt, its end mark included."""
    also_reads: ClassVar[tuple[str, ...]] = ()
    """Names of further tasks whose problems models of the recipe answer where ``check_row`` accepts each of them."""

    @abc.abstractmethod
    def keys(self) -> Sequence[Key]:
        """The problems of pretraining, in a fixed order; none of them is held out."""

    @abc.abstractmethod
    def key_of(self, problem: Problem) -> Key:
        """The key of a problem."""

    @abc.abstractmethod
    def is_held_out(self, key: Key) -> bool:
        """Whether pretraining never poses ``key``."""

    @abc.abstractmethod
    def posed(self, problem: Problem) -> list[str]:
        """The words of a problem, as it is shown."""

    @abc.abstractmethod
    def shown(self, rng: random.Random, key: Key) -> list[str]:
        """The words of a problem, shown in one of the possible ways."""

    @abc.abstractmethod
    def right(self, rng: random.Random, key: Key) -> Attempt:
        """A right attempt."""

    @abc.abstractmethod
    def wrong(self, rng: random.Random, key: Key) -> Attempt:
        """A wrong attempt in the notation."""

    @abc.abstractmethod
    def is_right(self, attempt: Sequence[Step], key: Key) -> bool:
        """The truth u(x, y), exactly as the task's flexible grading of such an attempt."""

    @abc.abstractmethod
    def trace(self, attempt: Sequence[Step], key: Key) -> list[str]:
        """The words that check an attempt step by step."""

    @abc.abstractmethod
    def score(self, rng: random.Random, attempt: Sequence[Step], key: Key) -> int:
        """A score of 0..10 for the trace; right attempts have the higher ones."""

    @abc.abstractmethod
    def true_step(self, rng: random.Random) -> Step:
        """A true step as it occurs in attempts, for the drills."""

    @abc.abstractmethod
    def parse(self, text: str, key: Key) -> list[Step] | None:
        """The steps of a sampled attempt, or None where it is not in the notation."""

    @abc.abstractmethod
    def check_task(self, task: Any) -> None:
        """Raise ValueError when models of this recipe do not fit the parameters of ``task``."""

    def check_row(self, problem: Problem, where: str) -> None:  # noqa: B027 - recipes of one task read no other's rows
        """Refuse a problem of a user's file that models of the recipe cannot read, or have seen already.

        Raises:
            DatasetError: names ``where`` (file and line), the field and what was expected.
        """

    def may_pose(self, problem: Problem) -> bool:
        """Whether pretraining may have posed ``problem``."""
        return not self.is_held_out(self.key_of(problem))
