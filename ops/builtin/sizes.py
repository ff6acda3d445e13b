"""The family of built-in models, and which recipe fits which task. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ops.builtin.arithmetic import ArithmeticExercises
from ops.builtin.countdown import CountdownExercises
from ops.builtin.exercises import Exercises
from ops.types import Problem


@dataclass(frozen=True)
class Size:
    """Shape of a Llama-architecture decoder."""

    width: int
    layers: int
    heads: int


SIZES = {
    "a": Size(32, 2, 2),  # 28 k parameters
    "xxs": Size(48, 2, 2),  # 61 k
    "xs": Size(64, 2, 2),  # 102 k
    "s": Size(96, 3, 3),  # 344 k
    "m": Size(128, 4, 4),  # 795 k
}


@dataclass(frozen=True)
class Recipe:
    """What a built-in recipe was made for. ``version`` is bumped when its documents or training change."""

    version: str
    exercises: Exercises

    @property
    def task(self) -> str:
        """The name of the task that models of this recipe solve and verify."""
        return str(self.exercises.task.name)

    def may_pose(self, problem: Problem) -> bool:
        """Whether pretraining may have posed ``problem``: it draws from the task's training split."""
        return self.exercises.may_pose(problem)

    def check_row(self, problem: Problem, where: str) -> None:
        """Refuse a problem of a user's file that models of this recipe cannot read, or have seen already.

        Raises:
            DatasetError: names ``where`` (file and line), the field and what was expected.
        """
        self.exercises.check_row(problem, where)

    def check_task(self, task: Any) -> None:
        """Raise ValueError when models of this recipe do not fit ``task``."""
        self.exercises.check_task(task)


RECIPES = {
    "countdown": Recipe(version="1", exercises=CountdownExercises()),
    "arithmetic": Recipe(version="1", exercises=ArithmeticExercises()),
}


def recipe_of(task: str) -> Recipe | None:
    """The recipe whose models know the notation of a task, or None."""
    return next((recipe for recipe in RECIPES.values() if recipe.task == task), None)


def recipe_of_problem(problem: Problem) -> Recipe | None:
    """The recipe in whose notation a problem can be posed: its task's, or one that reads rows of that task; or None."""
    reading = (recipe for recipe in RECIPES.values() if problem.task in recipe.exercises.also_reads)
    return recipe_of(problem.task) or next(reading, None)
