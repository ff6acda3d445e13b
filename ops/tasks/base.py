"""What a task is: it makes problems, says when a response is right, and knows nothing of models."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ops.graders.traced import Span
from ops.types import Grade, Problem, Split
from ops.variants import Strict


class Task(Strict, abc.ABC):
    """Base of tasks. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    ``version`` is bumped whenever the same parameters would give other problems;
    ``grader_version`` whenever the same response could be graded differently.
    """

    version: ClassVar[str]
    grader_version: ClassVar[str]

    @abc.abstractmethod
    def generate(self, split: Split, count: int, seed: int, skip: int = 0) -> list[Problem]:
        """Return ``count`` distinct problems of ``split`` after the first ``skip`` in the order of ``seed``.

        The two splits are disjoint whatever the seed, and a prefix does not depend on ``count``.

        Raises:
            DatasetError: when the split has fewer than ``skip + count`` problems.
        """

    @abc.abstractmethod
    def capacity(self, split: Split) -> int | None:
        """How many distinct problems ``split`` holds, or None where that is practically unbounded."""

    @abc.abstractmethod
    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        """Make a problem from one row of a user's JSONL file.

        Raises:
            DatasetError: names ``where`` (file and line), the field and what was expected.
        """

    @abc.abstractmethod
    def content_key(self, problem: Problem) -> str:
        """The same text for the same problem, whatever its id and however it is written down."""

    @abc.abstractmethod
    def grade(self, problem: Problem, response: str, finished: bool = True) -> Grade:
        """Grade a response. ``finished`` is False when it was cut at max_tokens. Never raises."""

    def grade_all(self, items: Sequence[tuple[Problem, str, bool]]) -> list[Grade]:
        """Grade many (problem, response, finished), in their order. Never raises.

        Tasks whose grader may hang or crash override it: they grade in worker processes.
        """
        return [self.grade(*item) for item in items]

    @property
    def answer_is_part(self) -> bool:
        """Whether a response holds a final answer and more; False where the answer is the whole response, or none."""
        return False

    def answer_span(self, problem: Problem, response: str) -> Span | None:
        """(first character, the one after the last) of the final answer that ``grade`` reads in a finished response.

        None where ``answer_is_part`` is False, where there is no answer, and where its place cannot be told exactly.
        Never raises.
        """
        return None

    @abc.abstractmethod
    def question(self, problem: Problem) -> str:
        """The problem in plain words, with the answer format that strict grading expects."""

    @abc.abstractmethod
    def examples(self) -> list[tuple[Problem, str]]:
        """Worked examples (problem, right response) for few-shot prompts; ``generate`` never gives them out."""

    @abc.abstractmethod
    def wrong_examples(self) -> list[tuple[Problem, str]]:
        """(problem, wrong response) for prompts of verification: one for each of ``examples``, in that order."""
