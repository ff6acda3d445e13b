"""The user's own problems: rows of ``problem`` and ``answer``, graded by a grader named in the experiment file.

A row may also have ``problem_id`` (else one is made from its words), ``aliases`` (further right
answers), ``category`` (a text; win rates may be estimated within it) and ``data`` (what the grader
needs: ``numbers`` and ``target``, or ``puzzle``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ops.errors import DatasetError
from ops.graders import GRADERS
from ops.graders.base import Grader, Item
from ops.graders.expression import value_of
from ops.graders.numeric import PREFIX, Numeric, read_number
from ops.graders.traced import Span
from ops.tasks.base import Task
from ops.tasks.grids import CELLS, EMPTY
from ops.tasks.rows import category_field, check_keys, checked_text, content_hash, id_of, text_field
from ops.types import Grade, Problem, Split
from ops.variants import FromList, Strict

GraderName = Literal["numeric", "math", "exact", "expression", "countdown", "sudoku", "label"]

MAX_ANSWER_CHARS = 2_000
_KEYS = ("problem_id", "problem", "answer", "aliases", "category", "data")
_NO_CONTENT = ("problem", "aliases", "category")
"""What of ``Problem.data`` poses nothing beside the problem's words."""
_WITHOUT_ANSWER = ("countdown", "sudoku", "label")
_REMEDY = 'write rows such as {"problem": "What is 6 * 3?", "answer": "18"}'
_DATA_REMEDY = {
    "countdown": 'write "data": {"numbers": [10, 8, 6], "target": 12}',
    "sudoku": 'write "data": {"puzzle": "1.34.4.22.4.4.21"}',
}
_INSTRUCTIONS = {
    "numeric": "Reason step by step. Write '{prefix} ' and the answer, as a number alone, on the last line.",
    "math": "Reason step by step. Write the final answer, in \\boxed{{}}, on the last line.",
    "exact": "Answer with a name, a number or a few words on one line, and nothing else.",
    "expression": "Write one arithmetic expression of numbers, + - * / and parentheses on the last line.",
    "countdown": "Write the steps on one line, separated by ' ; ', each as 'a + b = c', and nothing else.",
    "sudoku": "Write the completed grid as four lines of four digits, without spaces, and nothing else.",
    "label": "",
}


class Worked(Strict):
    """One worked example for few-shot prompts; those of verification show ``wrong_response`` as well."""

    problem: str = Field(min_length=1)
    response: str = Field(min_length=1)
    wrong_response: str = Field(min_length=1)


class Jsonl(Task):
    """Problems of the user's, from files only.

    ``instruction`` follows every problem; left out, it is the sentence that asks for the grader's format.
    ``answer_prefix`` is what strict numeric grading wants before the number, ``####`` by default.
    ``worked`` are the examples of few-shot prompts (none: the model is asked without examples).
    """

    name: Literal["jsonl"] = "jsonl"
    grader: GraderName
    instruction: str | None = None
    answer_prefix: str | None = Field(None, min_length=1, max_length=40)
    worked: FromList[tuple[Worked, ...]] = ()
    version: ClassVar[str] = "1"
    grader_version: ClassVar[str] = "-".join(grader.version for grader in GRADERS.values())

    @model_validator(mode="after")
    def _combinations(self) -> Jsonl:
        if self.answer_prefix is not None and self.grader != "numeric":
            raise ValueError(f"answer_prefix: with grader numeric only, got grader {self.grader}")
        return self

    def generate(self, split: Split, count: int, seed: int, skip: int = 0) -> list[Problem]:
        raise DatasetError(
            "task jsonl",
            "has no problems of its own",
            field="problems.train_file",
            remedy="give problems.train_file and problems.eval_file",
        )

    def capacity(self, split: Split) -> int | None:
        return None

    def content_key(self, problem: Problem) -> str:
        needed = {key: value for key, value in problem.data.items() if key not in _NO_CONTENT}
        text = str(problem.data["problem"])
        return f"jsonl-{content_hash(f'{text} {json.dumps(needed, sort_keys=True)}' if needed else text)}"

    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        check_keys(row, _KEYS, where, _REMEDY)
        text = text_field(row, "problem", where, _REMEDY)
        answer = self._answer(row, where)
        aliases = row.get("aliases")
        if aliases is not None and not isinstance(aliases, list):
            raise DatasetError(where, "expected a list of texts", field="aliases", remedy='write "aliases": ["18.0"]')
        others = [self._checked_answer(alias, "aliases", where) for alias in aliases or ()]
        about = {"problem": text, **({"aliases": others} if others else {}), **category_field(row, where, _REMEDY)}
        data = {**self._data(row, where), **about}
        return Problem(id_of("jsonl", row, text, where), self.name, split, data, answer)

    def _answer(self, row: Mapping[str, Any], where: str) -> str | None:
        if row.get("answer") is None:
            if self.grader in _WITHOUT_ANSWER:
                return None
            raise DatasetError(where, "required, but missing", field="answer", remedy=_REMEDY)
        return self._checked_answer(row["answer"], "answer", where)

    def _checked_answer(self, value: Any, field: str, where: str) -> str:
        if type(value) in (int, float) and self.grader in ("numeric", "expression"):
            value = repr(value)
        text = checked_text(value, field, where, _REMEDY, MAX_ANSWER_CHARS)
        readers = {"numeric": (read_number, "a number"), "expression": (value_of, "an arithmetic expression")}
        if self.grader in readers:
            reader, expected = readers[self.grader]
            if reader(text) is None:
                shown = text if len(text) <= 60 else f"{text[:57]}..."
                raise DatasetError(where, f"expected {expected}, got {shown!r}", field=field, remedy=_REMEDY)
        return text

    def _data(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        data = row.get("data")
        remedy = _DATA_REMEDY.get(self.grader, 'write an object, such as "data": {"level": 3}')
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise DatasetError(where, "expected an object", field="data", remedy=remedy)
        taken = sorted({"problem", "aliases"} & set(data))
        taken += ["category"] if row.get("category") is not None and "category" in data else []
        if taken:
            raise DatasetError(where, f"{taken[0]} is a field of the row itself", field="data", remedy="rename it")
        problem = {"countdown": _countdown_problem, "sudoku": _sudoku_problem}.get(self.grader, lambda _: "")(data)
        if problem:
            raise DatasetError(where, problem, field="data", remedy=remedy)
        return data

    def make_grader(self) -> Grader:
        """The grader that the experiment file names."""
        if self.grader == "numeric":
            return Numeric(self.answer_prefix or PREFIX)
        return GRADERS[self.grader]()

    def grade(self, problem: Problem, response: str, finished: bool = True) -> Grade:
        return self.make_grader().grade(problem, response, finished)

    def grade_all(self, items: Sequence[Item]) -> list[Grade]:
        return self.make_grader().grade_all(items)

    @property
    def answer_is_part(self) -> bool:
        return GRADERS[self.grader].answer_is_part

    def answer_span(self, problem: Problem, response: str) -> Span | None:
        return self.make_grader().answer_span(problem, response)

    def question(self, problem: Problem) -> str:
        asked = self.instruction
        if asked is None:
            asked = _INSTRUCTIONS[self.grader].format(prefix=self.answer_prefix or PREFIX)
        return f"{problem.data['problem']}\n\n{asked}".strip()

    def examples(self) -> list[tuple[Problem, str]]:
        return [(self._shown(item), item.response) for item in self.worked]

    def wrong_examples(self) -> list[tuple[Problem, str]]:
        return [(self._shown(item), item.wrong_response) for item in self.worked]

    def _shown(self, item: Worked) -> Problem:
        return Problem(f"jsonl-{content_hash(item.problem)}", self.name, "train", {"problem": item.problem.strip()})


def _countdown_problem(data: Mapping[str, Any]) -> str:
    numbers, target = data.get("numbers"), data.get("target")
    if not isinstance(numbers, list) or not 2 <= len(numbers) <= 8 or not all(_small(number) for number in numbers):
        return "expected numbers, a list of 2 to 8 integers from 0 to 99"
    return "" if _small(target) else "expected target, an integer from 0 to 99"


def _small(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 99


def _sudoku_problem(data: Mapping[str, Any]) -> str:
    puzzle = data.get("puzzle")
    if isinstance(puzzle, str) and len(puzzle) == CELLS and not set(puzzle) - set("1234" + EMPTY):
        return ""
    return f"expected puzzle, a text of {CELLS} characters 1-4 and {EMPTY} for an empty cell"
