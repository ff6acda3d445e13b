"""Countdown responses, graded as the task of that name grades them."""

from __future__ import annotations

from typing import ClassVar

from ops.graders.base import Grader
from ops.types import Grade, Problem


class CountdownGrader(Grader):
    """The problem's data must give ``numbers`` and ``target``."""

    name: ClassVar[str] = "countdown"
    version: ClassVar[str] = "1"  # the task's grader_version
    answer_is_part: ClassVar[bool] = False

    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        from ops.tasks.countdown import Countdown  # tasks import graders

        return Countdown().grade(problem, response, finished)
