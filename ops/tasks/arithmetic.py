"""Multi-step arithmetic: evaluate a chain such as ``7 + 5 - 3 * 2`` strictly from left to right.

A right response is ``7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 18``. Chains have any length; problems are made
freshly from a seed, so no model has met them before, and every result stays within 0..99.

The truth u(x, y) is that the *final answer* is right (2412.02674 §2). The steps before it are not graded: a
chain whose slips cancel out is correct. Strict grading only adds that the response is exactly such a chain
with as many steps as the problem has.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ops.errors import DatasetError
from ops.graders.numeric import canonical_number, last_number_span, read_last_number
from ops.graders.traced import Span
from ops.tasks.base import Task
from ops.tasks.expressions import all_expressions, chain_text, count_expressions, draw_expression, steps_of
from ops.tasks.steps import LARGEST, MAX_RESPONSE_CHARS, read_strict
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Grade, Problem, Split

EVAL_MODULUS = 5
"""An expression belongs to the evaluation split when its stable hash is 0 modulo this."""

COUNTED_EXPRESSIONS = 100_000
"""Up to so many expressions are listed and counted exactly; above, the splits are practically unbounded."""

_EXPRESSION = re.compile(r"[0-9]{1,2}(?: [-+*] [0-9]{1,2})+")
_ROW_REMEDY = 'write rows such as {"expression": "7 + 5 - 3 * 2"}'
_WORDS = {"+": "add {}", "-": "subtract {}", "*": "multiply by {}"}

_EXAMPLES = (
    ("7 + 5 - 3 * 2", "7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 19"),
    ("9 * 4 - 8 + 6 + 11", "9 * 4 = 36 ; 36 - 8 = 26 ; 26 + 6 = 32 ; 32 + 11 = 43"),
    ("12 - 3 * 5 + 10", "12 - 3 = 9 ; 9 * 5 = 40 ; 40 + 10 = 50"),
    ("6 * 8 - 11 + 7 - 9", "6 * 8 = 48 ; 48 - 11 = 38 ; 38 + 7 = 45 ; 45 - 9 = 36"),
)
"""Problems of the few-shot prompts, never generated; each with a chain that one slip made wrong."""


class Arithmetic(Task):
    """Chains of ``min_steps`` to ``max_steps`` operations + - * with numbers 1..``max_number``."""

    name: Literal["arithmetic"] = "arithmetic"
    min_steps: int = Field(2, ge=1, le=200)
    max_steps: int = Field(4, ge=1, le=200)
    max_number: int = Field(30, ge=2, le=LARGEST)
    version: ClassVar[str] = "1"
    grader_version: ClassVar[str] = "1"

    @model_validator(mode="after")
    def _ordered(self) -> Arithmetic:
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps: at most max_steps ({self.max_steps}), got {self.min_steps}")
        return self

    def generate(self, split: Split, count: int, seed: int, skip: int = 0) -> list[Problem]:
        capacity = self.capacity(split)
        if capacity is not None and skip + count > capacity:
            raise DatasetError(
                "task arithmetic",
                f"{split} split has {capacity} distinct problems, {skip + count} asked for",
                field="problems",
                remedy="ask for fewer problems, or raise task.max_steps or task.max_number",
            )
        found = itertools.islice(self._in_order(split, seed), skip, skip + count)
        return [_problem(expression, split) for expression in found]

    def capacity(self, split: Split) -> int | None:
        if count_expressions(self.min_steps, self.max_steps, self.max_number) > COUNTED_EXPRESSIONS:
            return None
        return sum(_usable(expression, split) for expression in self._all())

    def content_key(self, problem: Problem) -> str:
        return problem_id(str(problem.data["expression"]))

    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        unknown = sorted(set(row) - {"expression"})
        if unknown:
            raise DatasetError(where, "unknown key", field=unknown[0], remedy=_ROW_REMEDY)
        text = row.get("expression")
        if not isinstance(text, str) or not _EXPRESSION.fullmatch(text):
            expected = "expected numbers of one or two digits with ' + ', ' - ' or ' * ' between them"
            raise DatasetError(where, f"{expected}, got {_shorten(text)}", field="expression", remedy=_ROW_REMEDY)
        expression = " ".join(word if word in _WORDS else str(int(word)) for word in text.split(" "))
        numbers = [int(word) for word in expression.split(" ")[::2]]
        steps = len(numbers) - 1
        if not self.min_steps <= steps <= self.max_steps:
            expected = f"expected {self.min_steps} to {self.max_steps} operations"
            raise DatasetError(
                where,
                f"{expected}, got {steps}",
                field="expression",
                remedy="adapt task.min_steps and task.max_steps, or drop the row",
            )
        if not all(1 <= number <= self.max_number for number in numbers):
            raise DatasetError(
                where,
                f"expected numbers from 1 to {self.max_number}, got {text}",
                field="expression",
                remedy=_ROW_REMEDY,
            )
        if steps_of(expression) is None:
            problem = f"{text}: a result leaves 0..{LARGEST}"
            raise DatasetError(where, problem, field="expression", remedy="drop the row")
        return _problem(expression, split)

    def grade(self, problem: Problem, response: str, finished: bool = True) -> Grade:
        """The final answer is the last result of the chain, else the number the response ends with (cut or not)."""
        expected = str(problem.answer)
        chain = read_strict(response, str(problem.data["expression"]).count(" ") // 2) if finished else None
        number = chain[-1].result if chain is not None else read_last_number(response[-MAX_RESPONSE_CHARS:])
        if number is None:
            return Grade(UNPARSEABLE, UNPARSEABLE, None, "no number found")
        answer = canonical_number(Fraction(number))
        verdict = CORRECT if answer == expected else INCORRECT
        reason = "" if verdict == CORRECT else f"ends with {_shorten(answer)}, not with {expected}"
        return Grade(verdict, verdict if chain is not None else UNPARSEABLE, answer, reason)

    @property
    def answer_is_part(self) -> bool:
        return True

    def answer_span(self, problem: Problem, response: str) -> Span | None:
        """The number that the response ends with, which is also the last result of a chain."""
        skipped = max(0, len(response) - MAX_RESPONSE_CHARS)
        span = last_number_span(response[skipped:])
        return (span[0] + skipped, span[1] + skipped) if span else None

    def question(self, problem: Problem) -> str:
        first, *rest = str(problem.data["expression"]).split()
        told = ", ".join(_WORDS[rest[i]].format(rest[i + 1]) for i in range(0, len(rest), 2))
        return (
            f"Start with {first}, then, one after the other: {told}. What is the final result? Write the steps on one "
            "line, separated by ' ; ', each as 'a + b = c' and beginning with the result of the step before it, and "
            "nothing else."
        )

    def examples(self) -> list[tuple[Problem, str]]:
        problems = [_problem(expression, "train") for expression, _ in _EXAMPLES]
        return [(problem, chain_text(steps_of(problem.data["expression"]) or ())) for problem in problems]

    def wrong_examples(self) -> list[tuple[Problem, str]]:
        return [(_problem(expression, "train"), wrong) for expression, wrong in _EXAMPLES]

    def _in_order(self, split: Split, seed: int) -> Iterator[str]:
        """The usable expressions of a split, each once, in the order of ``seed``."""
        rng = random.Random(f"arithmetic:{split}:{seed}")
        if self.capacity(split) is not None:
            listed = [expression for expression in self._all() if _usable(expression, split)]
            rng.shuffle(listed)
            yield from listed
            return
        seen: set[str] = set()
        while True:
            expression = draw_expression(rng, rng.randint(self.min_steps, self.max_steps), self.max_number)
            if expression not in seen and _usable(expression, split):
                seen.add(expression)
                yield expression

    def _all(self) -> tuple[str, ...]:
        return all_expressions(self.min_steps, self.max_steps, self.max_number)


def problem_id(expression: str) -> str:
    """``arithmetic-7+5-3*2``."""
    return f"arithmetic-{expression.replace(' ', '')}"


def split_of(expression: str) -> Split:
    """The split of an expression, by a hash that never changes."""
    digest = hashlib.sha256(problem_id(expression).encode()).digest()
    return "eval" if int.from_bytes(digest[:8], "big") % EVAL_MODULUS == 0 else "train"


def _usable(expression: str, split: Split) -> bool:
    return split_of(expression) == split and expression not in _SHOWN


_SHOWN = frozenset(expression for expression, _ in _EXAMPLES)


def _problem(expression: str, split: Split) -> Problem:
    steps = steps_of(expression)
    if steps is None:
        raise ValueError(f"{expression}: a result leaves 0..{LARGEST}")
    return Problem(problem_id(expression), "arithmetic", split, {"expression": expression}, str(steps[-1].result))


def _shorten(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
