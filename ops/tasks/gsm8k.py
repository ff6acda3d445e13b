"""GSM8K (arXiv 2110.14168): grade-school word problems whose answers are numbers.

Rows are the dataset's own: ``question``, and ``answer`` that ends with ``#### 18``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from ops.errors import DatasetError
from ops.graders.base import Grader
from ops.graders.numeric import Numeric, canonical_number, read_number
from ops.tasks.datasets_library import REVISION, DatasetTask
from ops.tasks.rows import check_keys, text_field
from ops.types import Problem, Split

_REMEDY = 'write rows such as {"question": "How many ...?", "answer": "6 * 3 = 18\\n#### 18"}'

_WORKED = (
    (
        "Nadia plants 4 rows of 9 tulips. A storm breaks 7, and she plants 3 new ones. How many tulips are there now?",
        "She plants 4 * 9 = 36 tulips.\nAfter the storm 36 - 7 = 29 are left.\nWith the new ones 29 + 3 = 32.",
        "32",
        "She plants 4 + 9 = 13 tulips.\nAfter the storm there are 13 - 7 = 6.\nWith the new ones there are 6 + 3 = 9.\n"
        "#### 9",
    ),
    (
        "A ferry ticket costs $6 for a child and twice as much for an adult. What do 2 adults and 5 children pay?",
        "An adult pays 6 * 2 = $12.\nTwo adults pay 12 * 2 = $24.\nFive children pay 5 * 6 = $30.\n"
        "Together they pay 24 + 30 = $54.",
        "54",
        "Two adults pay 2 * 6 = $12.\nFive children pay 5 * 6 = $30.\nTogether they pay 12 + 30 = $42.\n#### 42",
    ),
    (
        "Omar reads 15 pages a day. His book has 240 pages, and he has read for 6 days. How many days are left?",
        "In 6 days he has read 15 * 6 = 90 pages.\n240 - 90 = 150 pages are left.\nThey take 150 / 15 = 10 days.",
        "10",
        "The whole book takes 240 / 15 = 16 days.\nSo 16 days are left.\n#### 16",
    ),
    (
        "A baker sells 80 rolls in the morning and 25% more in the afternoon. How many rolls does he sell that day?",
        "25% of 80 is 80 / 4 = 20.\nIn the afternoon he sells 80 + 20 = 100 rolls.\n"
        "That day he sells 80 + 100 = 180 rolls.",
        "180",
        "25% of 80 is 80 / 4 = 20.\nThat day he sells 80 + 20 = 100 rolls.\n#### 100",
    ),
)
"""(question, steps, answer, wrong response); written for this project."""


class Gsm8k(DatasetTask):
    """GSM8K, from files or from the hub."""

    name: Literal["gsm8k"] = "gsm8k"
    dataset: str = "openai/gsm8k"
    dataset_config: str | None = "main"
    revision: str | None = Field("e53f048856ff4f594e959d75785d2c2d37b678ee", pattern=REVISION)
    version: ClassVar[str] = "1"
    grader_version: ClassVar[str] = Numeric.version

    def make_grader(self) -> Grader:
        return Numeric()

    def prompt_suffix(self) -> str:
        return "Reason step by step. Write '#### ' and the answer, as a number alone, on the last line."

    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        check_keys(row, ("question", "answer"), where, _REMEDY)
        question = text_field(row, "question", where, _REMEDY)
        _, mark, last = text_field(row, "answer", where, _REMEDY).rpartition("####")
        number = read_number(last) if mark else None
        if number is None:
            raise DatasetError(where, "expected '#### ' and a number at its end", field="answer", remedy=_REMEDY)
        return self._problem(question, canonical_number(number), split)

    def examples(self) -> list[tuple[Problem, str]]:
        return [
            (self._problem(question, answer, "train"), f"{steps}\n#### {answer}")
            for question, steps, answer, _ in _WORKED
        ]

    def wrong_examples(self) -> list[tuple[Problem, str]]:
        return [(self._problem(question, answer, "train"), wrong) for question, _, answer, wrong in _WORKED]

    def _problem(self, question: str, answer: str, split: Split) -> Problem:
        return Problem(self.id_of(question), self.name, split, {"question": question}, answer)
