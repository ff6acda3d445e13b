"""MATH (arXiv 2103.03874): competition problems whose answers are LaTeX.

Rows are the dataset's own: ``problem`` and ``solution`` (its last ``\\boxed{...}`` is the answer), or
``problem`` and ``answer``; ``level`` and ``type`` (or ``subject``) are kept where they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from ops.errors import DatasetError
from ops.graders.base import Grader
from ops.graders.math import Math as MathGrader
from ops.graders.math import last_boxed
from ops.tasks.datasets_library import DatasetTask
from ops.tasks.rows import check_keys, checked_text, text_field
from ops.types import Problem, Split

_REMEDY = 'write rows such as {"problem": "What is $1+1$?", "solution": "It is $\\\\boxed{2}$."}'
_KEYS = ("problem", "solution", "answer", "level", "type", "subject", "unique_id")
MAX_ANSWER_CHARS = 2_000

_WORKED = (
    (
        "What is the sum of the solutions of $x^2 - 7x + 10 = 0$?",
        "The equation factors as $(x-2)(x-5) = 0$, so its solutions are $2$ and $5$. Their sum is $2 + 5 = 7$.",
        "7",
        "By Vieta the sum of the solutions is the coefficient of $x$, which is $-7$.\n\\boxed{-7}",
    ),
    (
        "A bag holds 3 red and 5 blue marbles. Two are drawn without putting the first one back. What is the "
        "probability that both are red?",
        "The first is red with probability $\\frac{3}{8}$. Then $2$ of $7$ marbles are red. The product is "
        "$\\frac{3}{8} \\cdot \\frac{2}{7} = \\frac{6}{56} = \\frac{3}{28}$.",
        "\\frac{3}{28}",
        "Each is red with probability $\\frac{3}{8}$, so both are with probability "
        "$\\left(\\frac{3}{8}\\right)^2 = \\frac{9}{64}$.\n\\boxed{\\frac{9}{64}}",
    ),
    (
        "What is the distance between the points $(1, -2)$ and $(5, 2)$?",
        "The differences of the coordinates are $4$ and $4$. The distance is $\\sqrt{4^2 + 4^2} = \\sqrt{32} = "
        "4\\sqrt{2}$.",
        "4\\sqrt{2}",
        "The differences of the coordinates are $4$ and $4$. The distance is $4 + 4 = 8$.\n\\boxed{8}",
    ),
    (
        "For which real $x$ is $|2x - 6| < 4$? Write the answer as an interval.",
        "The inequality says $-4 < 2x - 6 < 4$, that is $2 < 2x < 10$, so $1 < x < 5$.",
        "(1,5)",
        "The inequality says $2x - 6 < 4$, that is $2x < 10$, so $x < 5$.\n\\boxed{(-\\infty,5)}",
    ),
)
"""(problem, solution without its last line, answer, wrong response); written for this project."""


class Math(DatasetTask):
    """MATH, from files or from the hub (there the revision has to be given)."""

    name: Literal["math"] = "math"
    dataset: str = "DigitalLearningGmbH/MATH-lighteval"
    dataset_config: str | None = "default"
    version: ClassVar[str] = "1"
    grader_version: ClassVar[str] = MathGrader.version
    text_key: ClassVar[str] = "problem"

    def make_grader(self) -> Grader:
        return MathGrader()

    def prompt_suffix(self) -> str:
        return "Reason step by step. Write the final answer, in \\boxed{}, on the last line."

    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        check_keys(row, _KEYS, where, _REMEDY)
        text = text_field(row, "problem", where, _REMEDY)
        about = {
            key: checked_text(row[name], name, where, _REMEDY, 200)
            for key, name in (("level", "level"), ("subject", "type"), ("subject", "subject"))
            if row.get(name) is not None
        }
        return self._problem(text, _answer(row, where), split, about)

    def examples(self) -> list[tuple[Problem, str]]:
        return [
            (self._problem(text, answer, "train", {}), f"{solution}\n\\boxed{{{answer}}}")
            for text, solution, answer, _ in _WORKED
        ]

    def wrong_examples(self) -> list[tuple[Problem, str]]:
        return [(self._problem(text, answer, "train", {}), wrong) for text, _, answer, wrong in _WORKED]

    def _problem(self, text: str, answer: str, split: Split, about: Mapping[str, str]) -> Problem:
        return Problem(self.id_of(text), self.name, split, {"problem": text, **about}, answer)


def _answer(row: Mapping[str, Any], where: str) -> str:
    if row.get("answer") is not None:
        return text_field(row, "answer", where, _REMEDY, MAX_ANSWER_CHARS)
    found = (last_boxed(text_field(row, "solution", where, _REMEDY)) or "").strip()
    if not found:
        raise DatasetError(where, "expected an answer in \\boxed{}, found none", field="solution", remedy=_REMEDY)
    return checked_text(found, "solution", where, _REMEDY, MAX_ANSWER_CHARS)
