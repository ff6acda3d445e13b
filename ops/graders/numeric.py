"""Numbers: ``18``, ``18.00``, ``$18`` and ``#### 18`` are the same answer, compared exactly.

Flexible extraction takes the last explicit answer (``#### 18``, ``A: 18``, ``the answer is 18``,
``\\boxed{18}``, with one number in the rest of its sentence), else the last number of the response;
currency signs, thousands separators, percent signs, units and a full stop are taken off. Strict
extraction wants the last line to be exactly ``#### 18`` (the format of GSM8K, arXiv 2110.14168), or
another prefix in the place of ``####``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import ClassVar

from ops.graders.base import Grader, accepted_answers, graded, quote, unparseable
from ops.graders.traced import Span, Traced
from ops.types import CORRECT, INCORRECT, Grade, Problem

PREFIX = "####"
MAX_DIGITS = 300
"""Longer runs of digits are no answer, and comparing them would cost quadratic time."""

_PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\.)\.[0-9]+"
_EXPONENT = r"(?:[eE](?P<exponent>[-+]?[0-9]{1,3})(?!\w))?"
_NUMBER = re.compile(
    r"(?:(?<![\w.)\]}%])(?P<sign>-)(?:\\?[$€£¥][ \t]?)?|(?<!\w)(?<![0-9]\.))"
    rf"(?P<number>{_PLAIN}){_EXPONENT}(?:/(?P<under>[0-9]+)(?![0-9]*\.[0-9])(?P<date>(?:/[0-9]+)+)?)?"
)
_ANSWER = re.compile(r"^[ \t*]*(?:####|A:|(?:final )?answer:)|\banswer is:?|\\boxed\{", re.IGNORECASE | re.MULTILINE)
_FRACTION = re.compile(r"\\[dt]?frac\{([0-9]{1,40})\}\{([0-9]{1,40})\}")
_COMMA = re.compile(re.escape("{,}"))
_LOOKS = str.maketrans({"−": "-", "–": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2044": "/"})
_STRICT_NUMBER = r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)")
_REST = 200


class Numeric(Grader):
    """Compares the number a response ends with. ``prefix`` is what strict grading wants before it on the last line."""

    name: ClassVar[str] = "numeric"
    version: ClassVar[str] = "1"

    def __init__(self, prefix: str = PREFIX) -> None:
        self.prefix = prefix

    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        wanted = {read_number(answer) for answer in accepted_answers(problem)}
        if None in wanted:
            return unparseable(f"the reference answer {quote(str(problem.answer))!r} is not a number")
        strict = self._read_strict(response) if finished else None
        found = strict if strict is not None else read_last_number(response)
        if found is None:
            return unparseable("no number found")
        answer = canonical_number(found)
        if found in wanted:
            return graded(CORRECT, answer, strict is not None)
        expected = canonical_number(next(iter(wanted - {None})))  # type: ignore[arg-type]
        return graded(INCORRECT, answer, strict is not None, f"{quote(answer)} is not {quote(expected)}")

    def find_answer(self, problem: Problem, response: str) -> Span | None:
        """The number, with its sign; None where taken by itself it would be another one."""
        if self._read_strict(response) is None:
            return last_number_span(response)
        end, line = len(response.rstrip()), response.strip().splitlines()[-1]
        return end - len(line) + len(self.prefix), end

    def _read_strict(self, response: str) -> Fraction | None:
        lines = response.strip().splitlines()
        if not lines or any(line.startswith(self.prefix) for line in lines[:-1]):
            return None
        match = re.fullmatch(rf"{re.escape(self.prefix)} ({_STRICT_NUMBER})", lines[-1])
        return read_number(match[1]) if match else None


def read_last_number(text: str) -> Fraction | None:
    """The number a text gives as its answer under flexible extraction, or None."""
    found = _last_number(_FRACTION.sub(r"\1/\2", text.translate(_LOOKS).replace("{,}", ",")))
    return found[0] if found else None


def last_number_span(text: str) -> Span | None:
    """The characters of the number that ``read_last_number`` reads; None without one, and where they do not hold the
    same number when they stand alone (in ``\\frac{1}{2}.5`` the number 2.5 is read out of 1/2.5).
    """
    traced = Traced.of(text).translate(_LOOKS).replace(_COMMA, (",",)).replace(_FRACTION, (1, "/", 2))
    found = _last_number(traced.text)
    if found is None:
        return None
    start, end = traced.back(*found[1])
    return (start, end) if read_last_number(text[start:end]) == found[0] else None


def read_number(text: str) -> Fraction | None:
    """The value of a text that is one number, with currency, percent sign, separators or full stop, or None."""
    text = _FRACTION.sub(r"\1/\2", text.translate(_LOOKS).replace("{,}", ",").strip())
    match = re.fullmatch(rf"(?:\\?[$€£¥] ?)?({_NUMBER.pattern}) ?(?:\\?%|[$€£¥])?\.?", text)
    return _value(match) if match else None


def canonical_number(value: Fraction) -> str:
    """``18``, ``-2.5``, or ``1/3`` where decimals do not end within 30 places."""
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 31):
        scaled = abs(value) * 10**places
        if scaled.denominator == 1:
            digits = str(scaled.numerator).rjust(places + 1, "0")
            return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    return f"{value.numerator}/{value.denominator}"


def _last_number(text: str) -> tuple[Fraction, Span] | None:
    """The answer of a text in plain characters, and where it stands."""
    for marker in reversed(list(_ANSWER.finditer(text))):
        rest = _SENTENCE_END.split(text[marker.end() : marker.end() + _REST], maxsplit=1)[0]
        found = list(_numbers(_inside_braces(rest) if marker[0].endswith("{") else rest))
        value, (start, end) = found[0] if len(found) == 1 else (None, (0, 0))
        if value is not None:
            return value, (marker.end() + start, marker.end() + end)
    for value, span in reversed(list(_numbers(text))):
        if value is not None:
            return value, span
    return None


def _numbers(text: str) -> Iterator[tuple[Fraction | None, Span]]:
    """Every number in order and where it stands; None for dates, divisions by 0, and what is too long to be meant."""
    return ((_value(match), match.span()) for match in _NUMBER.finditer(text))


def _value(match: re.Match[str]) -> Fraction | None:
    number, under = match["number"].replace(",", ""), match["under"] or "1"
    if match["date"] or len(number) > MAX_DIGITS or len(under) > MAX_DIGITS or not int(under):
        return None
    value = Fraction(number) * Fraction(10) ** int(match["exponent"] or 0) / int(under)
    return -value if match["sign"] else value


def _inside_braces(text: str) -> str:
    """The text up to the brace that closes the one before it."""
    depth = 1
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:position]
    return text
