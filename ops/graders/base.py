"""What a grader is: it reads the final answer out of a response and compares it with the reference."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

from ops.graders.traced import Span, trimmed
from ops.types import UNPARSEABLE, Grade, Problem, Verdict

MAX_RESPONSE_CHARS = 20_000
"""A response is read by its last characters only, so that a runaway one costs little."""

Item = tuple[Problem, str, bool]
"""(problem, response, finished): what ``grade_all`` takes many of."""


class Grader(abc.ABC):
    """Base of graders. Whatever a response holds, ``grade`` returns; it never raises and never hangs.

    ``version`` is bumped whenever the same response could be graded differently. ``isolated`` graders
    run in worker processes (``ops.graders.batch``), because what they call may hang or take the process down.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    isolated: ClassVar[bool] = False
    answer_is_part: ClassVar[bool] = True
    """Whether a response holds a final answer and more; False where the answer is all of it, or none is read."""

    @abc.abstractmethod
    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        """Grade the last ``MAX_RESPONSE_CHARS`` of a response. May raise; isolated graders: in a worker only."""

    def grade(self, problem: Problem, response: str, finished: bool = True) -> Grade:
        """Grade one response. ``finished`` is False when it was cut at max_tokens.

        For many responses of an isolated grader take ``grade_all``: this starts a worker for a single one.
        """
        return self.grade_all([(problem, response, finished)])[0]

    def grade_all(self, items: Sequence[Item]) -> list[Grade]:
        """Grade many responses, in their order."""
        if self.isolated:
            from ops.graders.batch import grade_in_workers

            return grade_in_workers(self, items)
        return [self.judge_safely(*item) for item in items]

    def answer_span(self, problem: Problem, response: str) -> Span | None:
        """The characters of ``response`` that ``grade`` reads as the final answer of a finished response.

        None where it has none, and where the place cannot be told exactly. Never raises.
        """
        text = response[-MAX_RESPONSE_CHARS:]
        try:
            span = self.find_answer(problem, text) if self.answer_is_part else None
        except Exception:  # as in judge_safely
            return None
        found = trimmed(text, span) if span else None
        return (found[0] + len(response) - len(text), found[1] + len(response) - len(text)) if found else None

    def find_answer(self, problem: Problem, response: str) -> Span | None:
        """``answer_span`` of the last ``MAX_RESPONSE_CHARS`` of a response. May raise; may not hang."""
        return None

    def judge_safely(self, problem: Problem, response: str, finished: bool) -> Grade:
        """``judge``, with every exception turned into an unparseable grade that keeps its reason."""
        try:
            text = response[-MAX_RESPONSE_CHARS:]
            grade = self.judge(problem, text, finished)
            return Grade(grade.verdict, grade.strict_verdict, _storable(grade.answer), _storable(grade.reason) or "")
        except Exception as error:  # whatever a response makes of a parser, one item is lost, never the batch
            return crashed(f"{type(error).__name__}: {error}")


def crashed(reason: str) -> Grade:
    """The grade of an item whose grader failed."""
    return unparseable(f"grader crashed: {_storable(reason[:300])}")


def unparseable(reason: str) -> Grade:
    """The grade of a response that holds no readable answer."""
    return Grade(UNPARSEABLE, UNPARSEABLE, None, reason)


def graded(verdict: Verdict, answer: str, strict: bool, reason: str = "") -> Grade:
    """The grade of a response with an answer; ``strict`` says whether it stood in the asked format."""
    return Grade(verdict, verdict if strict else UNPARSEABLE, answer, reason)


def accepted_answers(problem: Problem) -> list[str]:
    """The reference answer and its aliases (``problem.data["aliases"]``).

    Raises:
        ValueError: when the problem has neither.
    """
    answers = [] if problem.answer is None else [problem.answer]
    answers += [alias for alias in problem.data.get("aliases", ()) if alias not in answers]
    if not answers:
        raise ValueError("the problem has no reference answer")
    return answers


def quote(text: str) -> str:
    """A text for a reason, shortened."""
    return text if len(text) <= 80 else f"{text[:77]}..."


def _storable(text: str | None) -> str | None:
    """Without NUL and lone surrogates, which UTF-8 columns cannot hold."""
    return None if text is None else text.encode("utf-8", "replace").decode().replace("\0", "?")
