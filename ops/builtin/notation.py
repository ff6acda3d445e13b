"""The written notation of the built-in models: one token per word, one word per integer 0..99.

``10 8 6 -> 12 : 10 + 8 = 18 ; 18 - 6 = 12 .`` poses and solves a problem. ``?`` asks for a verdict in
one word; ``#`` asks for a trace that quotes each step, recomputes it and flags it, then a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ops.tasks.steps import LARGEST, Step, compute, read_strict

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SPECIAL = (PAD, BOS, EOS, UNKNOWN)
END = "."
OK, BAD, YES, NO = "ok", "bad", "yes", "no"
OUTSIDE = "out"
"""Stands for a true result that is not within 0..99."""

WORDS = (
    *SPECIAL,
    *(str(number) for number in range(LARGEST + 1)),
    *("+", "-", "*", "=", ";", "->", ":", END, "?", "#", "%", "!", "=>"),
    *(OK, BAD, "use", "goal", YES, NO, "A", "B", "quote", "recompute", OUTSIDE),
)
VOCABULARY = {word: index for index, word in enumerate(WORDS)}


def problem_words(numbers: Sequence[int], target: int) -> list[str]:
    """``10 8 6 -> 12``."""
    return [*(str(number) for number in numbers), "->", str(target)]


def attempt_words(steps: Sequence[Step]) -> list[str]:
    """``10 + 8 = 18 ; 18 - 6 = 12``, without the final mark."""
    words: list[str] = []
    for i, step in enumerate(steps):
        words += ([";"] if i else []) + [str(step.left), step.operator, str(step.right), "=", str(step.result)]
    return words


def true_result_word(step: Step) -> str:
    """The true value of a step's left side as a word."""
    value = compute(step.left, step.operator, step.right)
    return str(value) if 0 <= value <= LARGEST else OUTSIDE


def flaws(steps: Sequence[Step], numbers: Sequence[int], target: int) -> tuple[list[bool], bool, bool]:
    """Which steps are computed wrongly, whether numbers are misused, whether the goal is missed."""
    wrong = [true_result_word(step) != str(step.result) for step in steps]
    available = Counter(numbers)
    misuse = False
    for step in steps:
        for operand in (step.left, step.right):
            misuse |= available[operand] == 0
            available[operand] -= 1
        available[step.result] += 1
    misuse |= sum((+available).values()) != 1
    return wrong, misuse, steps[-1].result != target


def trace_words(steps: Sequence[Step], numbers: Sequence[int], target: int) -> list[str]:
    """``5 - 3 = 2 2 ok 2 * 3 = 4 6 bad use bad goal ok``: every step quoted, recomputed and flagged."""
    wrong, misuse, missed = flaws(steps, numbers, target)
    words: list[str] = []
    for step, is_wrong in zip(steps, wrong, strict=True):
        words += [str(step.left), step.operator, str(step.right), "=", str(step.result)]
        words += [true_result_word(step), BAD if is_wrong else OK]
    return [*words, "use", BAD if misuse else OK, "goal", BAD if missed else OK]


def is_right(steps: Sequence[Step], numbers: Sequence[int], target: int) -> bool:
    """Whether an attempt has no flaw."""
    wrong, misuse, missed = flaws(steps, numbers, target)
    return not (any(wrong) or misuse or missed)


def parse_attempt(text: str, count: int) -> list[Step] | None:
    """The steps of a sampled attempt, or None where it is not in the notation."""
    return read_strict(text, count)
