"""Chains of operations such as ``7 + 5 - 3 * 2``, evaluated from left to right with every result within 0..99."""

from __future__ import annotations

import random
from functools import lru_cache

from ops.tasks.steps import LARGEST, Step, apply


def steps_of(expression: str) -> tuple[Step, ...] | None:
    """The right chain of an expression, from left to right, or None where a result leaves 0..99."""
    first, *rest = expression.split(" ")
    value, steps = int(first), []
    for i in range(0, len(rest), 2):
        result = apply(value, rest[i], int(rest[i + 1]))
        if result is None:
            return None
        steps.append(Step(value, rest[i], int(rest[i + 1]), result))
        value = result
    return tuple(steps)


def chain_text(steps: tuple[Step, ...]) -> str:
    """``7 + 5 = 12 ; 12 - 3 = 9``."""
    return " ; ".join(str(step) for step in steps)


@lru_cache(maxsize=100_000)
def moves(value: int, max_number: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """What may follow ``value``: (operator, its numbers). Trivial products (by 1, of 0) are never posed."""
    found = []
    for operator in "+-*":
        legal = [number for number in range(1, max_number + 1) if apply(value, operator, number) is not None]
        legal = [number for number in legal if operator != "*" or (number > 1 and value > 0)]
        if legal:
            found.append((operator, tuple(legal)))
    return tuple(found)


def draw_expression(rng: random.Random, steps: int, max_number: int) -> str:
    """A random expression: every next operator that is possible is equally likely, then every number."""
    value = rng.randint(1, max_number)
    words = [str(value)]
    for _ in range(steps):
        operator, numbers = rng.choice(moves(value, max_number))
        number = rng.choice(numbers)
        words += [operator, str(number)]
        value = apply(value, operator, number) or 0
    return " ".join(words)


@lru_cache(maxsize=256)
def count_expressions(min_steps: int, max_steps: int, max_number: int) -> int:
    """How many expressions of ``min_steps`` to ``max_steps`` steps there are, by counting the ways to each value."""
    ways = [int(1 <= value <= max_number) for value in range(LARGEST + 1)]
    total = 0
    for length in range(1, max_steps + 1):
        after = [0] * (LARGEST + 1)
        for value, count in enumerate(ways):
            for operator, numbers in moves(value, max_number) if count else ():
                for number in numbers:
                    after[apply(value, operator, number) or 0] += count
        ways = after
        total += sum(ways) if length >= min_steps else 0
    return total


@lru_cache(maxsize=8)
def all_expressions(min_steps: int, max_steps: int, max_number: int) -> tuple[str, ...]:
    """All that ``draw_expression`` can give, in a fixed order."""
    level = [(str(value), value) for value in range(1, max_number + 1)]
    found: list[str] = []
    for length in range(1, max_steps + 1):
        level = [
            (f"{text} {operator} {number}", apply(value, operator, number) or 0)
            for text, value in level
            for operator, numbers in moves(value, max_number)
            for number in numbers
        ]
        found += [text for text, _ in level] if length >= min_steps else []
    return tuple(found)
