"""Normalised exact match with aliases, as SQuAD (arXiv 1606.05250) and NQ-open (arXiv 1906.00300) define it.

Normalising: Unicode NFKC, lower case, without punctuation, without the articles a, an, the, single
spaces. Here every Unicode punctuation mark goes, not the ASCII ones only.
"""

from __future__ import annotations

import re
import string
import unicodedata
from typing import ClassVar

from ops.graders.base import Grader, accepted_answers, graded, quote, unparseable
from ops.graders.traced import Span
from ops.types import CORRECT, INCORRECT, Grade, Problem

MAX_ANSWER_CHARS = 500
"""A longer line is prose, not an answer."""

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_MARKER = re.compile(r"(?:^[ \t*]*(?:A|(?:final )?answer)\**:|\banswer is:?)", re.IGNORECASE)


class Exact(Grader):
    """Strict: the response is one line, the answer. Flexible: what follows the last 'Answer:', else the last line."""

    name: ClassVar[str] = "exact"
    version: ClassVar[str] = "1"

    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        wanted = [normalise(answer) for answer in accepted_answers(problem)]
        lines = [line.strip() for line in response.splitlines() if line.strip()]
        if not lines:
            return unparseable("no answer found")
        marked = next((line for line in reversed(lines) if _MARKER.search(line)), None)
        strict = finished and len(lines) == 1 and marked is None
        found = lines[-1] if marked is None else marked[list(_MARKER.finditer(marked))[-1].end() :]
        if len(found) > MAX_ANSWER_CHARS:
            return unparseable(f"expected a short answer, found a line of {len(found):,} characters")
        answer = normalise(found)
        if not answer:
            return unparseable("no answer found")
        if answer in wanted:
            return graded(CORRECT, answer, strict)
        return graded(INCORRECT, answer, strict, f"{quote(answer)!r} is not {quote(wanted[0])!r} or an alias")

    def find_answer(self, problem: Problem, response: str) -> Span | None:
        """What follows the last 'Answer:' of the last line that has one, else the last line."""
        lines, start = [], 0
        for line in response.splitlines(keepends=True):
            if line.strip():
                lines.append((start + len(line) - len(line.lstrip()), line.strip()))
            start += len(line)
        if not lines:
            return None
        place, line = next((item for item in reversed(lines) if _MARKER.search(item[1])), lines[-1])
        after = max((match.end() for match in _MARKER.finditer(line)), default=0)
        found = line[after:]
        return (place + after, place + len(line)) if len(found) <= MAX_ANSWER_CHARS and normalise(found) else None


def normalise(text: str) -> str:
    """The normalised form that is compared. What articles or punctuation alone make up is kept."""
    lower = _single_spaced(unicodedata.normalize("NFKC", text).lower())
    plain = _single_spaced("".join("" if _is_punctuation(character) else character for character in lower))
    return _single_spaced(_ARTICLE.sub(" ", plain)) or plain or lower


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _single_spaced(text: str) -> str:
    """Control characters and lone surrogates count as spaces."""
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text).split())
