"""Reading and checking chains of arithmetic steps. Text is parsed, never evaluated as code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

LARGEST = 99
MAX_EXPRESSION_CHARS = 200
MAX_RESPONSE_CHARS = 20_000
"""A response is read by its last characters only, so that a runaway one costs little."""

_NUMBER = r"(?<![\d.])(\d{1,4})(?![\d.]*\d)"
_STEP = re.compile(rf"{_NUMBER}\s*([-+*x×−·])\s*{_NUMBER}\s*=\s*{_NUMBER}")
_STRICT_STEP = re.compile(r"(\d{1,4}) ([-+*]) (\d{1,4}) = (\d{1,4})")
_EXPRESSION = re.compile(r"[\d(][\d\s()+\-*x×−·]*[\d)]")
_OPERATORS = {"−": "-", "x": "*", "×": "*", "·": "*"}


class Step(NamedTuple):
    """``left operator right = result`` as claimed; the claim may be wrong."""

    left: int
    operator: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right} = {self.result}"


def apply(left: int, operator: str, right: int) -> int | None:
    """The true result of a step, or None where it leaves 0..99."""
    result = compute(left, operator, right)
    return result if 0 <= result <= LARGEST else None


def compute(left: int, operator: str, right: int) -> int:
    """Plain integer arithmetic for + - *."""
    if operator == "+":
        return left + right
    return left - right if operator == "-" else left * right


def read_strict(text: str, count: int) -> list[Step] | None:
    """Exactly ``count`` steps joined by ``' ; '`` and nothing else, or None."""
    parts = text.strip().split(" ; ")
    if len(parts) != count:
        return None
    steps = [_STRICT_STEP.fullmatch(part) for part in parts]
    return [_step(match) for match in steps if match] if all(steps) else None


def read_flexible(text: str, count: int) -> list[Step] | None:
    """The last ``count`` steps anywhere in the text, or else the last expression with ``count`` operators."""
    text = text[-MAX_RESPONSE_CHARS:]
    steps = [_step(match) for match in _STEP.finditer(text)]
    if len(steps) >= count:
        return steps[-count:]
    for match in reversed(list(_EXPRESSION.finditer(text))):
        found = read_expression(match[0])
        if found is not None and len(found) == count:
            return found
    return None


def check_steps(steps: Sequence[Step], numbers: Sequence[int], target: int) -> str:
    """Why the chain is wrong, or '' where it is right."""
    available = list(numbers)
    for step in steps:
        if apply(step.left, step.operator, step.right) != step.result:
            return f"{step} is wrong"
        for operand in (step.left, step.right):
            if operand not in available:
                return f"{operand} is not available in {step}"
            available.remove(operand)
        available.append(step.result)
    if available != [target]:
        left = ", ".join(str(number) for number in sorted(available))
        return f"ends with {left}, not with {target} alone"
    return ""


def canonical_steps(steps: Sequence[Step]) -> str:
    """The multiset of steps as text: operands of + and * sorted, steps sorted."""
    shown = []
    for step in steps:
        left, right = (step.left, step.right) if step.operator == "-" else sorted((step.left, step.right))
        shown.append(f"{left}{step.operator}{right}={step.result}")
    return "|".join(sorted(shown))


def read_expression(text: str) -> list[Step] | None:
    """The steps of an arithmetic expression such as ``(10 + 8) * 2 - 6`` (recursive descent), or None."""
    if len(text) > MAX_EXPRESSION_CHARS:
        return None
    tokens = re.findall(r"\d+|\S", text)
    parser = _Parser([_OPERATORS.get(token, token) for token in tokens])
    try:
        parser.sum()
    except (ValueError, IndexError, RecursionError):
        return None
    return parser.steps if parser.position == len(parser.tokens) and parser.steps else None


class _Parser:
    """Sums of products of numbers and parentheses; collects one step per operator."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.position = tokens, 0
        self.steps: list[Step] = []

    def _next_is(self, options: str) -> bool:
        return self.position < len(self.tokens) and self.tokens[self.position] in options

    def _take(self) -> str:
        self.position += 1
        return self.tokens[self.position - 1]

    def _join(self, left: int, operator: str, right: int) -> int:
        result = compute(left, operator, right)
        self.steps.append(Step(left, operator, right, result))
        return result

    def sum(self) -> int:
        value = self.product()
        while self._next_is("+-"):
            value = self._join(value, self._take(), self.product())
        return value

    def product(self) -> int:
        value = self.atom()
        while self._next_is("*"):
            value = self._join(value, self._take(), self.atom())
        return value

    def atom(self) -> int:
        token = self._take()
        if token == "(":  # noqa: S105 (a parenthesis, not a password)
            value = self.sum()
            if self._take() != ")":
                raise ValueError("unbalanced parentheses")
            return value
        if not token.isdigit() or len(token) > 4:
            raise ValueError(f"not a number: {token}")
        return int(token)


def _step(match: re.Match[str]) -> Step:
    return Step(int(match[1]), _OPERATORS.get(match[2], match[2]), int(match[3]), int(match[4]))
