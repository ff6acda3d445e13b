"""The written notation of the built-in models: one token per word, one word per integer 0..99.

``10 8 6 -> 12 : 10 + 8 = 18 ; 18 - 6 = 12 .`` poses and solves a problem of Countdown,
``7 + 5 - 3 : 7 + 5 = 12 ; 12 - 3 = 9 .`` one of arithmetic. ``?`` asks for a verdict in one word; ``#``
asks for a trace that quotes each step, recomputes it and flags it, then a verdict; ``%`` for a trace and
a score of 0..10; ``!`` for the traces of two attempts, A and B, and the better of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ops.tasks.steps import LARGEST, Step, compute

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SPECIAL = (PAD, BOS, EOS, UNKNOWN)
END = "."
OK, BAD, YES, NO = "ok", "bad", "yes", "no"
OUTSIDE = "out"
"""Stands for a true result that is not within 0..99."""

LOGIT, BINARY, SCORE, TOURNAMENT, THEREFORE = "?", "#", "%", "!", "=>"
QUESTIONS = (LOGIT, BINARY, SCORE, TOURNAMENT, "quote", "recompute")
HIGHEST_SCORE = 10

WORDS = (
    *SPECIAL,
    *(str(number) for number in range(LARGEST + 1)),
    *("+", "-", "*", "=", ";", "->", ":", END, "?", "#", "%", "!", "=>"),
    *(OK, BAD, "use", "goal", YES, NO, "A", "B", "quote", "recompute", OUTSIDE),
)
VOCABULARY = {word: index for index, word in enumerate(WORDS)}


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
