"""Grading many responses: every different (problem, text) once, and not again what was graded while sampling."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ops.config import Experiment
from ops.identity import fingerprint
from ops.plan import CODE_VERSIONS
from ops.types import Grade, Problem

FIRST_ITEMS, MOST_ITEMS, LONG_SECONDS = 64, 1024, 2.0
"""Items graded between two looks at ``stop``: twice as many each time, few again where they took longer than this."""


def grader_identity(experiment: Experiment) -> str:
    """What decides the grade of a given response to a given problem."""
    task = experiment.task
    about = {"task": task, "version": type(task).version, "grader": type(task).grader_version}
    return fingerprint("grades", CODE_VERSIONS["grades"], about)


def grade_texts(
    experiment: Experiment, items: Sequence[tuple[Problem, str, bool]], stop: Callable[[], bool] = lambda: False
) -> list[Grade | None]:
    """Grades of (problem, response, finished) in their order; None for what is left when ``stop`` says so."""
    keys = [(problem.problem_id, text, finished) for problem, text, finished in items]
    different = dict(zip(keys, items, strict=True))
    names, values = list(different), list(different.values())
    known: dict[tuple[str, str, bool], Grade] = {}
    size, start = FIRST_ITEMS, 0
    while start < len(values) and not stop():
        began = time.monotonic()
        part = slice(start, start + size)
        known |= zip(names[part], experiment.task.grade_all(values[part]), strict=True)
        start += size
        size = FIRST_ITEMS if time.monotonic() - began > LONG_SECONDS else min(2 * size, MOST_ITEMS)
    return [known.get(key) for key in keys]
