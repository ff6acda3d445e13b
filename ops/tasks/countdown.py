"""Countdown: combine all given numbers with + - * to reach a target, one step at a time.

A right response for ``10 8 6 -> 12`` is ``10 + 8 = 18 ; 18 - 6 = 12``. Every given number is used
exactly once, every result stays within 0..99, and the last result is the target.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

from pydantic import Field

from ops.errors import DatasetError
from ops.tasks.base import Task
from ops.tasks.steps import LARGEST, Step, apply, canonical_steps, check_steps, read_flexible, read_strict
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Grade, Problem, Split

EVAL_MODULUS = 5
"""A key belongs to the evaluation split when its stable hash is 0 modulo this."""


class Countdown(Task):
    """Countdown with ``numbers`` numbers from 1..``max_number``; targets 1..99."""

    name: Literal["countdown"] = "countdown"
    numbers: int = Field(3, ge=2, le=4)
    max_number: int = Field(12, ge=2, le=25)
    version: ClassVar[str] = "1"
    grader_version: ClassVar[str] = "1"

    def generate(self, split: Split, count: int, seed: int, skip: int = 0) -> list[Problem]:
        keys, capacity = keys_of(self.numbers, self.max_number, split), self.capacity(split)
        if skip + count > capacity:
            raise DatasetError(
                "task countdown",
                f"{split} split has {capacity} distinct problems, {skip + count} asked for",
                field="problems",
                remedy="ask for fewer problems, or raise task.max_number",
            )
        order = list(keys)
        random.Random(f"countdown:{split}:{seed}").shuffle(order)
        shown = {self.content_key(problem) for problem, _ in self.examples()}
        order = [key for key in order if problem_id(*key) not in shown]
        return [_problem(numbers, target, split, seed) for numbers, target in order[skip : skip + count]]

    def capacity(self, split: Split) -> int:
        shown = {self.content_key(problem) for problem, _ in self.examples()}
        return sum(problem_id(*key) not in shown for key in keys_of(self.numbers, self.max_number, split))

    def content_key(self, problem: Problem) -> str:
        return problem_id(problem.data["numbers"], problem.data["target"])

    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        remedy = 'write rows such as {"numbers": [10, 8, 6], "target": 12}'
        unknown = sorted(set(row) - {"numbers", "target"})
        if unknown:
            raise DatasetError(where, "unknown key", field=unknown[0], remedy=remedy)
        numbers, target = row.get("numbers"), row.get("target")
        if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
            raise DatasetError(where, f"expected a list of integers, got {numbers!r}", field="numbers", remedy=remedy)
        if len(numbers) != self.numbers or not all(1 <= number <= self.max_number for number in numbers):
            expected = f"expected {self.numbers} integers from 1 to {self.max_number}"
            raise DatasetError(where, f"{expected}, got {numbers}", field="numbers", remedy=remedy)
        if type(target) is not int or not 1 <= target <= LARGEST:
            raise DatasetError(
                where, f"expected an integer from 1 to {LARGEST}, got {target!r}", field="target", remedy=remedy
            )
        if target not in targets_of(tuple(sorted(numbers))):
            raise DatasetError(
                where, f"{target} cannot be reached from {numbers}", field="target", remedy="drop the row"
            )
        return Problem(problem_id(numbers, target), self.name, split, {"numbers": list(numbers), "target": target})

    def grade(self, problem: Problem, response: str, finished: bool = True) -> Grade:
        numbers, target = list(problem.data["numbers"]), int(problem.data["target"])
        strict = read_strict(response, len(numbers) - 1) if finished else None
        steps = strict if strict is not None else read_flexible(response, len(numbers) - 1)
        if steps is None:
            return Grade(UNPARSEABLE, UNPARSEABLE, None, "no chain of steps and no expression found")
        reason = check_steps(steps, numbers, target)
        verdict = INCORRECT if reason else CORRECT
        return Grade(verdict, verdict if strict is not None else UNPARSEABLE, canonical_steps(steps), reason)

    def question(self, problem: Problem) -> str:
        numbers = ", ".join(str(number) for number in problem.data["numbers"])
        return (
            f"Combine the numbers {numbers} with +, - and * to reach {problem.data['target']}. Use every number "
            f"exactly once; every result must stay between 0 and {LARGEST}. Write the steps on one line, separated "
            "by ' ; ', each as 'a + b = c', and nothing else."
        )

    def examples(self) -> list[tuple[Problem, str]]:
        worked = {
            2: (((7, 5), 12, "7 + 5 = 12"), ((9, 4), 36, "9 * 4 = 36")),
            3: (((10, 8, 6), 12, "10 + 8 = 18 ; 18 - 6 = 12"), ((3, 9, 4), 31, "9 * 3 = 27 ; 27 + 4 = 31")),
            4: (
                ((2, 7, 5, 1), 23, "7 + 5 = 12 ; 12 * 2 = 24 ; 24 - 1 = 23"),
                ((8, 2, 3, 6), 36, "8 - 2 = 6 ; 6 + 6 = 12 ; 12 * 3 = 36"),
            ),
        }
        return [
            (
                Problem(problem_id(numbers, target), self.name, "train", {"numbers": list(numbers), "target": target}),
                text,
            )
            for numbers, target, text in worked[self.numbers]
        ]

    def wrong_examples(self) -> list[tuple[Problem, str]]:
        wrong = {  # false results, missed targets, numbers used twice
            2: ("7 + 5 = 13", "9 + 4 = 13"),
            3: ("10 + 6 = 16 ; 16 - 8 = 8", "9 * 4 = 36 ; 36 - 9 = 27"),
            4: ("7 + 5 = 12 ; 12 + 2 = 14 ; 14 + 1 = 15", "8 - 2 = 6 ; 6 + 6 = 13 ; 13 * 3 = 39"),
        }
        return [(problem, text) for (problem, _), text in zip(self.examples(), wrong[self.numbers], strict=True)]


def problem_id(numbers: Any, target: int) -> str:
    """``countdown-6.8.10-12``: the sorted numbers and the target."""
    return f"countdown-{'.'.join(str(number) for number in sorted(numbers))}-{target}"


def split_of(numbers: tuple[int, ...], target: int) -> Split:
    """The split of a key, by a hash that never changes."""
    digest = hashlib.sha256(problem_id(numbers, target).encode()).digest()
    return "eval" if int.from_bytes(digest[:8], "big") % EVAL_MODULUS == 0 else "train"


@lru_cache(maxsize=100_000)
def targets_of(numbers: tuple[int, ...]) -> frozenset[int]:
    """Every target 1..99 that a legal chain over all of ``numbers`` (sorted) reaches."""
    return frozenset(target for target in _reachable(numbers) if target >= 1)


@lru_cache(maxsize=100_000)
def _reachable(numbers: tuple[int, ...]) -> frozenset[int]:
    if len(numbers) == 1:
        return frozenset(numbers)
    found: set[int] = set()
    for i, j in itertools.permutations(range(len(numbers)), 2):
        rest = [number for position, number in enumerate(numbers) if position not in (i, j)]
        for operator in "+-*":
            result = apply(numbers[i], operator, numbers[j])
            if result is not None:
                found |= _reachable(tuple(sorted([*rest, result])))
    return frozenset(found)


@lru_cache(maxsize=64)
def keys_of(count: int, max_number: int, split: Split) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Every (sorted numbers, target) of a split, in a fixed order."""
    return tuple(
        (numbers, target)
        for numbers in itertools.combinations_with_replacement(range(1, max_number + 1), count)
        for target in sorted(targets_of(numbers))
        if split_of(numbers, target) == split
    )


def solutions(numbers: list[int], target: int) -> list[tuple[Step, ...]]:
    """Every legal chain that reaches ``target``, in a fixed order (operand order counts)."""
    if len(numbers) == 1:
        return [()] if numbers[0] == target else []
    found: dict[tuple[Step, ...], None] = {}
    for i, j in itertools.permutations(range(len(numbers)), 2):
        rest = [number for position, number in enumerate(numbers) if position not in (i, j)]
        for operator in "+-*":
            result = apply(numbers[i], operator, numbers[j])
            if result is not None:
                step = Step(numbers[i], operator, numbers[j], result)
                for tail in solutions([*rest, result], target):
                    found[(step, *tail)] = None
    return list(found)


def _problem(numbers: tuple[int, ...], target: int, split: Split, seed: int) -> Problem:
    shown = list(numbers)
    random.Random(f"{problem_id(numbers, target)}:{seed}").shuffle(shown)
    return Problem(problem_id(numbers, target), "countdown", split, {"numbers": shown, "target": target})
