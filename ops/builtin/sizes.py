"""The family of built-in models, and which recipe fits which task. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

    task: str
    version: str
    numbers: int = 3
    max_number: int = 12

    def may_pose(self, problem: Problem) -> bool:
        """Whether pretraining may have posed ``problem``: it draws from the task's training split."""
        from ops.tasks.countdown import split_of

        return split_of(tuple(sorted(problem.data["numbers"])), problem.data["target"]) == "train"

    def check_task(self, task: Any) -> None:
        """Raise ValueError when models of this recipe do not fit ``task``."""
        if task.name != self.task:
            raise ValueError(f"task.name: {self.task} (what this built-in recipe is trained on), got {task.name}")
        if task.numbers != self.numbers:
            raise ValueError(
                f"task.numbers: {self.numbers} (what this built-in recipe is trained on), got {task.numbers}"
            )
        if task.max_number > self.max_number:
            raise ValueError(
                f"task.max_number: at most {self.max_number} with this built-in recipe, got {task.max_number}"
            )


RECIPES = {
    "countdown": Recipe(task="countdown", version="1"),
}
