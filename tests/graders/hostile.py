"""Graders that do to their process what SymPy has been seen to do. Here, so that a worker can import them."""

from __future__ import annotations

import ctypes
import os
import time
from typing import ClassVar

from ops.graders.base import Grader, graded
from ops.types import CORRECT, Grade, Problem


class Hostile(Grader):
    """Does what the response says."""

    name: ClassVar[str] = "hostile"
    version: ClassVar[str] = "1"
    isolated: ClassVar[bool] = True

    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        if response == "hang":
            time.sleep(60)
        if response == "hang in C":
            9**9**9
        if response == "raise":
            raise ZeroDivisionError("division by zero")
        if response == "recurse":
            return self.judge(problem, response, finished)
        if response == "exit":
            os._exit(3)
        if response == "segfault":
            ctypes.string_at(0)
        if response == "eat memory":
            return graded(CORRECT, str(len(bytearray(64 * 1024**3))), True)
        return graded(CORRECT, response, True)
