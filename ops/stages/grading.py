"""Grading many responses: every different (problem, text) once, and not again what was graded while sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ops.config import Experiment
from ops.identity import fingerprint
from ops.plan import CODE_VERSIONS
from ops.types import Grade, Problem

ITEMS_AT_ONCE = 1024


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
    known: dict[tuple[str, str, bool], Grade] = {}
    names, values = list(different), list(different.values())
    for start in range(0, len(values), ITEMS_AT_ONCE):
        if stop():
            break
        part = slice(start, start + ITEMS_AT_ONCE)
        known |= zip(names[part], experiment.task.grade_all(values[part]), strict=True)
    return [known.get(key) for key in keys]
