"""A study of exploration in words: the answer with its numbers, and what published tables say of other models."""

from __future__ import annotations

from typing import NamedTuple

from ops.exploration_study import BASE
from ops.reporting.arms_data import Cell
from ops.reporting.arms_plots import capital
from ops.reporting.arms_words import NAMED
from ops.reporting.exploration_study_data import ExplorationData, TaskShown
from ops.reporting.words import interval


class Published(NamedTuple):
    """A row of a published table, as printed there; '' where it has none."""

    method: str
    pass_at_1: str = ""
    pass_at_32: str = ""
    distinct_solved: str = ""
    distinct_unsolved: str = ""
    distinct_all: str = ""


PUBLISHED = (
    Published("vanilla (GRPO)", ".215", ".395", "2.279", "4.805", "2.883"),
    Published("OBE / UCB", ".233", ".425"),
    Published("Mean", ".233", ".414"),
    Published("Con", ".228", ".417", "2.272", "4.855", "2.926"),
    Published("Batch", ".238", ".426", "2.284", "5.390", "3.230"),
)
"""Of 2509.06941 and its talk: pass@k of Llama-3.1-8B-Instruct on MATH; distinct answers in a group of 8."""


def study_answer(data: ExplorationData) -> str:
    """What the study says: one sentence with a clause for each task, then what is missing."""
    if not any(task.ks for task in data.tasks):
        return "Nothing is measured yet."
    clauses = capital("; ".join(_clause(data, task) for task in data.tasks))
    seeds = f", means over {len(data.seeds)} seeds" if len(data.seeds) > 1 else ""
    how = f"{100 * data.confidence:g} % intervals over problems, paired{seeds}"
    both = "what rose, fell or lies above does so by the intervals over problems and over seeds alike"
    parts = [f"{clauses} ({how}; {both})."]
    if missing := missing_words(data):
        parts.append(missing)
    return " ".join(parts)


def missing_words(data: ExplorationData) -> str:
    """``Not complete: 5 experiments.``; '' where all are there."""
    if not data.missing:
        return ""
    named = ", ".join(data.missing) if len(data.missing) <= NAMED else f"{len(data.missing)} experiments"
    return f"Not complete: {named}."


MOVED = {1: "rose", -1: "fell", 0: "did not change measurably"}
"""By the side of 0 on which both intervals lie."""


def _clause(data: ExplorationData, task: TaskShown) -> str:
    """``on countdown, against the base model, pass@64 fell (−.03 [...]) with vanilla, and 2 of 5 other arms ...``."""
    if not task.ks:
        return f"on {task.label} nothing is evaluated yet"
    k = task.ks[-1]
    if task.reference is None:
        return f"on {task.label} the arm that others are compared with is not measured yet"
    changes = [
        f"pass@{size} {MOVED[data.side(task.label, task.reference, BASE, 'pass_at_k', size)]} "
        f"({interval(cell.interval, sign=True)})"
        for size in sorted({1, k} & set(task.ks))
        if (cell := data.difference(task.label, task.reference, BASE, "pass_at_k", size)) is not None
    ]
    start = f"on {task.label}, against the base model, {' and '.join(changes)} with {task.reference}"
    return start + _others(data, task, task.reference, k)


def _others(data: ExplorationData, task: TaskShown, reference: str, k: int) -> str:
    """Which arms lie above the reference at the largest k; where none does, the one with the largest difference."""
    found: dict[str, Cell] = {}
    for arm in task.arms:
        cell = data.difference(task.label, arm, reference, "pass_at_k", k) if arm != reference else None
        if cell is not None and cell.interval.value == cell.interval.value:
            found[arm] = cell
    if not found:
        return ""
    n = len(found)
    above = {arm: cell for arm, cell in found.items() if data.side(task.label, arm, reference, "pass_at_k", k) > 0}
    if above:
        named = ", ".join(f"{arm} ({_beside(data, task, arm, cell, reference)})" for arm, cell in above.items())
        return f", and {len(above)} of {n} other arm{'s' * (n != 1)} lie{'s' * (len(above) == 1)} above it: {named}"
    best = max(found, key=lambda arm: found[arm].interval.value)
    words = interval(found[best].interval, sign=True)
    if n == 1:
        return f", and {best} does not lie measurably above it at pass@{k} ({words})"
    return f", and none of {n} other arms lies measurably above it at pass@{k} (the highest, {best}: {words})"


def _beside(data: ExplorationData, task: TaskShown, arm: str, cell: Cell, reference: str) -> str:
    """``pass@64 +.02 [...], pass@1 .00 [...]``."""
    small = data.difference(task.label, arm, reference, "pass_at_k", 1)
    words = f"pass@{task.ks[-1]} {interval(cell.interval, sign=True)}"
    return words if small is None else f"{words}, pass@1 {interval(small.interval, sign=True)}"
