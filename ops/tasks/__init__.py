"""Tasks by name: one file each, one line here."""

from ops.tasks.arithmetic import Arithmetic
from ops.tasks.countdown import Countdown
from ops.tasks.gsm8k import Gsm8k
from ops.tasks.jsonl import Jsonl
from ops.tasks.math import Math
from ops.tasks.natural_questions import NaturalQuestions
from ops.tasks.open import Open
from ops.tasks.sudoku import Sudoku
from ops.types import Problem

CATEGORIES = {"jsonl": ("category",), "math": ("subject", "level"), "open": ("category",)}
"""By task: what of a problem's data says its category, the first that it has."""

TASKS = {
    "arithmetic": Arithmetic,
    "countdown": Countdown,
    "gsm8k": Gsm8k,
    "jsonl": Jsonl,
    "math": Math,
    "natural_questions": NaturalQuestions,
    "open": Open,
    "sudoku": Sudoku,
}


def category_of(problem: Problem) -> str | None:
    """The category of a problem, for estimates within categories; None where it has none."""
    found = (problem.data.get(name) for name in CATEGORIES.get(problem.task, ()))
    return next((value for value in found if isinstance(value, str) and value), None)
