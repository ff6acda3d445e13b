"""Sudoku responses, graded as the task of that name grades them."""

from __future__ import annotations

from typing import ClassVar

from ops.graders.base import Grader
from ops.types import Grade, Problem


class SudokuGrader(Grader):
    """The problem's data must give ``puzzle`` (16 characters)."""

    name: ClassVar[str] = "sudoku"
    version: ClassVar[str] = "1"  # the task's grader_version
    answer_is_part: ClassVar[bool] = False

    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        from ops.tasks.sudoku import Sudoku  # tasks import graders

        return Sudoku().grade(problem, response, finished)
