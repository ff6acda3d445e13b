"""Open-ended prompts, from files only: nothing is right or wrong, people and judges say which response is better.

Rows have ``problem`` (the prompt), and may have ``problem_id`` (else one is made from its words) and ``category``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from ops.errors import DatasetError
from ops.graders.base import unparseable
from ops.tasks.base import Task
from ops.tasks.rows import category_field, check_keys, content_hash, id_of, text_field
from ops.types import Grade, Problem, Split

_KEYS = ("problem_id", "problem", "category")
_REMEDY = 'write rows such as {"problem": "Write a poem about rain.", "category": "writing"}'


class Open(Task):
    """Prompts without gold answers. Every response is unparseable to the grader, which has nothing to compare it with.

    For experiments with ``evaluation`` and labels of people only: whatever else there is needs the truth.
    """

    name: Literal["open"] = "open"
    version: ClassVar[str] = "1"
    grader_version: ClassVar[str] = "1"

    def generate(self, split: Split, count: int, seed: int, skip: int = 0) -> list[Problem]:
        raise DatasetError(
            "task open",
            "has no prompts of its own",
            field="problems.eval_file",
            remedy="give problems.eval_file",
        )

    def capacity(self, split: Split) -> int | None:
        return None

    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        check_keys(row, _KEYS, where, _REMEDY)
        text = text_field(row, "problem", where, _REMEDY)
        data = {"problem": text, **category_field(row, where, _REMEDY)}
        return Problem(id_of("open", row, text, where), self.name, split, data)

    def content_key(self, problem: Problem) -> str:
        return f"open-{content_hash(str(problem.data['problem']))}"

    def grade(self, problem: Problem, response: str, finished: bool = True) -> Grade:
        return unparseable("an open-ended prompt has no right answer")

    def question(self, problem: Problem) -> str:
        return str(problem.data["problem"])

    def examples(self) -> list[tuple[Problem, str]]:
        return []

    def wrong_examples(self) -> list[tuple[Problem, str]]:
        return []
