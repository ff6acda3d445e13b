"""Correctness that only a recorded label knows: nothing is read out of the response."""

from __future__ import annotations

from typing import ClassVar

from ops.graders.base import Grader, unparseable
from ops.types import Grade, Problem


class Label(Grader):
    """For responses that were judged elsewhere; whoever reads the labels puts them in the place of these grades."""

    name: ClassVar[str] = "label"
    version: ClassVar[str] = "1"
    answer_is_part: ClassVar[bool] = False

    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        return unparseable("correctness is known by a recorded label only, and none was given")
