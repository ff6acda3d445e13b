"""Arithmetic expressions: the last one of a response must have the value of the answer.

Text is parsed by Python's ``ast`` and walked with a whitelist; it is never evaluated as code. All
arithmetic is exact (fractions), and every value is bounded before it is computed.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any, ClassVar

from ops.graders.base import Grader, accepted_answers, graded, quote, unparseable
from ops.graders.numeric import canonical_number
from ops.graders.traced import Span, Traced
from ops.types import CORRECT, INCORRECT, Grade, Problem

MAX_EXPRESSION_CHARS = 500
MAX_EXPONENT = 64
MAX_BITS = 1024
"""Bound of numerators and denominators, about 300 decimal digits."""

_SPAN = re.compile(r"[0-9(.+\-*/^][0-9().,+\-*/^ \t]*")
_OPERATOR = re.compile(r"[0-9)][ \t]*[-+*/^]")
_LOOKS = str.maketrans({"−": "-", "×": "*", "·": "*", "÷": "/", "\u00a0": " "})
_LATEX = (("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"), ("\\left", ""), ("\\right", ""))
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Expression(Grader):
    """Strict: the last line is one expression and nothing else. Canonical answer: the value."""

    name: ClassVar[str] = "expression"
    version: ClassVar[str] = "1"

    def judge(self, problem: Problem, response: str, finished: bool) -> Grade:
        wanted = [value_of(answer) for answer in accepted_answers(problem)]
        if None in wanted:
            return unparseable(f"the reference answer {quote(str(problem.answer))!r} is not an expression")
        text = _plain(response)
        strict = value_of(text.strip().rpartition("\n")[2]) if finished else None
        found = strict if strict is not None else _last_value(text)
        if found is None:
            return unparseable("no arithmetic expression found")
        answer = canonical_number(found)
        if found in wanted:
            return graded(CORRECT, answer, strict is not None)
        reason = f"the value is {quote(answer)}, not {quote(canonical_number(wanted[0] or Fraction(0)))}"
        return graded(INCORRECT, answer, strict is not None, reason)

    def find_answer(self, problem: Problem, response: str) -> Span | None:
        """The expression; None where taken by itself it would have another value."""
        traced = Traced.of(response).translate(_LOOKS)
        for latex, sign in _LATEX:
            traced = traced.replace(re.compile(re.escape(latex)), (sign,))
        text = traced.text
        line = text.rstrip().rpartition("\n")[2]
        value = value_of(line)
        if value is not None:
            found = (len(text.rstrip()) - len(line), len(text.rstrip()))
        elif (last := _last_span(text)) is not None:
            value, found = last
        else:
            return None
        start, end = traced.back(*found)
        return (start, end) if value_of(response[start:end]) == value else None


def value_of(text: str) -> Fraction | None:
    """The exact value of an expression of numbers, ``+ - * / ** ^`` and parentheses, or None."""
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", _plain(text).strip()).replace("^", "**")
    text = re.sub(r"(?<![0-9.])0+(?=[0-9])", "", text)
    if not text or len(text) > MAX_EXPRESSION_CHARS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval")
        return _walk(tree.body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _walk(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(Fraction(repr(node.value)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        value = _walk(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.BinOp):
        raise ValueError(f"{type(node).__name__} is not arithmetic")
    left, right = _walk(node.left), _walk(node.right)
    if isinstance(node.op, ast.Pow):
        return _power(left, right)
    if type(node.op) not in _BINARY:
        raise ValueError(f"{type(node.op).__name__} is not allowed")
    return _bounded(_BINARY[type(node.op)](left, right))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT:
        raise ValueError("the exponent is not a small integer")
    if max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent) > MAX_BITS:
        raise ValueError("the power is too large")
    return Fraction(base ** int(exponent))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise ValueError("the value is too large")
    return value


def _last_value(text: str) -> Fraction | None:
    """The value of the last expression that has an operator, else of the last number."""
    last = _last_span(text)
    return last[0] if last else None


def _last_span(text: str) -> tuple[Fraction, Span] | None:
    """The value of the last expression that has an operator, else of the last number, and where it stands."""
    matches = list(_SPAN.finditer(text))
    spans = [match[0].strip(" \t,.*/+^-") if _is_open(match[0]) else match[0] for match in matches]
    for has_operator in (True, False):
        for match, span in zip(reversed(matches), reversed(spans), strict=True):
            if bool(_OPERATOR.search(span)) == has_operator and (value := value_of(_trimmed(span))) is not None:
                start = match.start() + match[0].index(_trimmed(span))  # before it there is no digit, so the first
                return value, (start, start + len(_trimmed(span)))
    return None


def _is_open(span: str) -> bool:
    """Whether a sentence's punctuation or a dangling operator may hang on the span."""
    return span.rstrip()[-1:] in (",", ".", "*", "/", "+", "^", "-") or span[:1] in "*/+^."


def _trimmed(span: str) -> str:
    """Without unmatched parentheses at its ends, such as those of the sentence around it."""
    span = span.strip()
    while span.endswith(")") and span.count(")") > span.count("("):
        span = span[:-1].rstrip(" ,.")
    while span.startswith("(") and span.count("(") > span.count(")"):
        span = span[1:].lstrip()
    return span


def _plain(text: str) -> str:
    text = text.translate(_LOOKS)
    for latex, sign in _LATEX:
        text = text.replace(latex, sign)
    return text
