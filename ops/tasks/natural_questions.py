"""Natural Questions, open-domain form (NQ-open, arXiv 1906.00300): short answers with aliases.

Rows are the dataset's own: ``question``, and ``answer``, the list of accepted answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from ops.errors import DatasetError
from ops.graders.base import Grader
from ops.graders.exact import Exact
from ops.tasks.datasets_library import DatasetTask
from ops.tasks.rows import check_keys, checked_text, text_field
from ops.types import Problem, Split

_REMEDY = 'write rows such as {"question": "who wrote Emma", "answer": ["Jane Austen", "Austen"]}'
MAX_ANSWER_CHARS = 500

_WORKED = (
    ("which planet of the solar system has the shortest year", ("Mercury",), "Venus"),
    ("what is the chemical symbol of the metal tungsten", ("W",), "Tu"),
    ("who painted the ceiling of the sistine chapel", ("Michelangelo", "Michelangelo Buonarroti"), "Raphael"),
    ("how many strings does a violin have", ("four", "4"), "six"),
)
"""(question, accepted answers, wrong answer); written for this project."""


class NaturalQuestions(DatasetTask):
    """NQ-open, from files or from the hub (there the revision has to be given). Its test split is ``validation``."""

    name: Literal["natural_questions"] = "natural_questions"
    dataset: str = "google-research-datasets/nq_open"
    dataset_config: str | None = "nq_open"
    version: ClassVar[str] = "1"
    grader_version: ClassVar[str] = Exact.version
    splits: ClassVar[Mapping[Split, str]] = {"train": "train", "eval": "validation"}

    def make_grader(self) -> Grader:
        return Exact()

    def prompt_suffix(self) -> str:
        return "Answer with a name, a number or a few words on one line, and nothing else."

    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        check_keys(row, ("question", "answer"), where, _REMEDY)
        question = text_field(row, "question", where, _REMEDY)
        answers = row.get("answer")
        if answers is None:
            raise DatasetError(where, "required, but missing", field="answer", remedy=_REMEDY)
        if not isinstance(answers, list) or not answers:
            raise DatasetError(where, "expected a list of one or more texts", field="answer", remedy=_REMEDY)
        texts = [checked_text(answer, "answer", where, _REMEDY, MAX_ANSWER_CHARS) for answer in answers]
        return self._problem(question, texts, split)

    def examples(self) -> list[tuple[Problem, str]]:
        return [(self._problem(question, answers, "train"), answers[0]) for question, answers, _ in _WORKED]

    def wrong_examples(self) -> list[tuple[Problem, str]]:
        return [(self._problem(question, answers, "train"), wrong) for question, answers, wrong in _WORKED]

    def _problem(self, question: str, answers: Sequence[str], split: Split) -> Problem:
        data = {"question": question, "aliases": list(answers[1:])}
        return Problem(self.id_of(question), self.name, split, data, answers[0])
