"""Exercises of the arithmetic recipe: chains from left to right, and how they go wrong.

A trace does the sum again beside the attempt: each step *of the problem* from the true value so far, then
the result that the attempt claims, the true one, and whether they agree. For ``7 + 5 - 3`` and the attempt
``7 + 5 = 13 ; 13 - 3 = 10`` it is ``7 + 5 = 13 12 bad 12 - 3 = 10 9 bad``. The last flag is the verdict on the
final answer, which is the truth of this task: earlier slips that cancel out do not count.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

from ops.builtin.exercises import Attempt, Exercises
from ops.builtin.notation import BAD, OK
from ops.errors import DatasetError
from ops.graders.numeric import read_number
from ops.tasks.arithmetic import Arithmetic, split_of
from ops.tasks.expressions import draw_expression, steps_of
from ops.tasks.jsonl import Jsonl
from ops.tasks.steps import LARGEST, Step, apply, read_strict
from ops.types import Problem

TRAINING_PROBLEMS = 40_000
_SLIPS = (-10, -3, -2, -1, -1, 1, 1, 2, 3, 10)
"""How far a slip is off: mostly near misses."""


class ArithmeticExercises(Exercises):
    """Chains of 2 to 4 steps with numbers 1..30. A key is the expression."""

    task = Arithmetic(min_steps=2, max_steps=4, max_number=30)
    mixes = (
        {"quote": 0.40, "recompute": 0.15, "solve": 0.45},
        {
            "quote": 0.14,
            "recompute": 0.07,
            "solve": 0.07,
            "logit": 0.39,
            "binary": 0.13,
            "score": 0.08,
            "tournament": 0.12,
        },
        {
            "quote": 0.10,
            "recompute": 0.04,
            "solve": 0.06,
            "logit": 0.40,
            "binary": 0.14,
            "score": 0.10,
            "tournament": 0.16,
        },
    )
    logit_attempts = 4
    same_problem = False
    flag_weight = 3.0
    attempt_tokens = 6 * task.max_steps + 4
    also_reads = ("jsonl",)

    def keys(self) -> Sequence[str]:
        return _training_expressions(self.task)

    def key_of(self, problem: Problem) -> str:
        if problem.task == Arithmetic.model_fields["name"].default:
            return str(problem.data["expression"])
        return str(self._as_arithmetic(problem, problem.problem_id).data["expression"])

    def is_held_out(self, key: str) -> bool:
        return split_of(key) == "eval"

    def check_row(self, problem: Problem, where: str) -> None:
        """A row of task jsonl: a chain that the models were trained for, with the answer from left to right."""
        if problem.task not in self.also_reads:
            return
        read = self._as_arithmetic(problem, where)
        if read_number(str(problem.answer)) != read_number(str(read.answer)):
            raise DatasetError(
                where,
                f"expected {read.answer}, the value of {read.data['expression']} from left to right, "
                f"got {problem.answer}",
                field="answer",
                remedy="the built-in model knows no precedence of *: correct the answer, or name a checkpoint",
            )
        if problem.split == "eval" and self.may_pose(problem):
            raise DatasetError(
                where,
                "the built-in model was pretrained on this very problem",
                field="problem",
                remedy="change a number in it, so that it is new to the model",
            )

    def may_pose(self, problem: Problem) -> bool:
        """Of a user's own problem it is looked up; the training split of the task is left out as a whole."""
        if problem.task in self.also_reads:
            return self.key_of(problem) in _posed_expressions(self.task)
        return super().may_pose(problem)

    def _as_arithmetic(self, problem: Problem, where: str) -> Problem:
        """The problem of a JSONL row as one of the recipe's task.

        Raises:
            DatasetError: when it is none, naming ``where`` and the field ``problem``.
        """
        try:
            return self.task.read_row({"expression": str(problem.data["problem"])}, where, problem.split)
        except DatasetError as error:
            trained = self.task
            raise DatasetError(
                where,
                f"the built-in model cannot read it: {error.problem}",
                field="problem",
                remedy=f"write {trained.min_steps} to {trained.max_steps} operations on numbers up to "
                f'{trained.max_number}, such as {{"problem": "7 + 5 - 3 * 2", "answer": "18"}} (from left to right, '
                f"every result within 0..{LARGEST}), or name a checkpoint that reads plain text",
            ) from None

    def posed(self, problem: Problem) -> list[str]:
        return self.key_of(problem).split()

    def shown(self, rng: random.Random, key: str) -> list[str]:
        return key.split()

    def right(self, rng: random.Random, key: str) -> Attempt:
        return true_steps(key)

    def wrong(self, rng: random.Random, key: str) -> Attempt:
        """One slip 50 %, two slips 15 %, a misread number or operator 25 %, a lost intermediate result 10 %."""
        while True:
            kind = rng.random()
            if kind < 0.65:
                attempt = _slipped(rng, key, 1 if kind < 0.50 else 2)
            elif kind < 0.90:
                attempt = carried(_misread(rng, key, self.task.max_number))
            else:
                attempt = _lost(rng, key)
            if attempt is not None and not self.is_right(attempt, key):
                return attempt

    def is_right(self, attempt: Sequence[Step], key: str) -> bool:
        return attempt[-1].result == true_steps(key)[-1].result

    def trace(self, attempt: Sequence[Step], key: str) -> list[str]:
        words: list[str] = []
        for claimed, true in zip(attempt, true_steps(key), strict=True):
            words += [str(true.left), true.operator, str(true.right), "=", str(claimed.result), str(true.result)]
            words.append(OK if claimed.result == true.result else BAD)
        return words

    def score(self, rng: random.Random, attempt: Sequence[Step], key: str) -> int:
        """Right with a clean trace 8-10, right all the same 6-7; wrong in the last step only 2-5, earlier 0-2."""
        bad = self.trace(attempt, key).count(BAD)
        if self.is_right(attempt, key):
            return rng.randint(8, 10) if bad == 0 else rng.randint(6, 7)
        return rng.randint(2, 5) if bad == 1 else rng.randint(0, 2)

    def true_step(self, rng: random.Random) -> Step:
        return rng.choice(true_steps(draw_expression(rng, self.task.max_steps, self.task.max_number)))

    def parse(self, text: str, key: str) -> list[Step] | None:
        return read_strict(text, len(true_steps(key)))

    def check_task(self, task: Any) -> None:
        trained = self.task
        if isinstance(task, Jsonl):
            if task.grader != "numeric":
                raise ValueError(f"task.grader: numeric with this built-in recipe, got {task.grader}")
            return
        if not isinstance(task, Arithmetic):
            raise ValueError(
                f"task.name: {trained.name} (what this built-in recipe is trained on) or jsonl, got {task.name}"
            )
        if task.min_steps < trained.min_steps:
            raise ValueError(
                f"task.min_steps: at least {trained.min_steps} with this built-in recipe, got {task.min_steps}"
            )
        for name in ("max_steps", "max_number"):
            most, asked = getattr(trained, name), getattr(task, name)
            if asked > most:
                raise ValueError(f"task.{name}: at most {most} with this built-in recipe, got {asked}")


@cache
def _training_expressions(task: Arithmetic) -> tuple[str, ...]:
    return tuple(str(problem.data["expression"]) for problem in task.generate("train", TRAINING_PROBLEMS, seed=0))


@cache
def _posed_expressions(task: Arithmetic) -> frozenset[str]:
    """All that pretraining may pose: its pool, and nothing of the training split beside it."""
    return frozenset(_training_expressions(task))


def true_steps(expression: str) -> Attempt:
    """The right chain of an expression that is known to have one."""
    steps = steps_of(expression)
    if steps is None:
        raise ValueError(f"{expression}: a result leaves 0..{LARGEST}")
    return steps


def carried(expression: str, off: dict[int, int] | None = None) -> Attempt | None:
    """The chain of an expression where step i is ``off[i]`` too high and the rest goes on from there.

    None where a result, claimed or computed, leaves 0..99.
    """
    first, *rest = expression.split(" ")
    value, steps = int(first), []
    for i in range(len(rest) // 2):
        operator, number = rest[2 * i], int(rest[2 * i + 1])
        result = apply(value, operator, number)
        if result is None or not 0 <= result + (off or {}).get(i, 0) <= LARGEST:
            return None
        result += (off or {}).get(i, 0)
        steps.append(Step(value, operator, number, result))
        value = result
    return tuple(steps)


def _slipped(rng: random.Random, key: str, count: int) -> Attempt | None:
    places = rng.sample(range(len(true_steps(key))), count)
    return carried(key, {place: rng.choice(_SLIPS) for place in places})


def _misread(rng: random.Random, key: str, max_number: int) -> str:
    """The expression with one number or operator read wrongly."""
    words = key.split(" ")
    place = rng.randrange(1, len(words))
    if place % 2:
        words[place] = rng.choice("+-*")
    else:
        words[place] = rng.choice(words[::2]) if rng.random() < 0.5 else str(rng.randint(1, max_number))
    return " ".join(words)


def _lost(rng: random.Random, key: str) -> Attempt | None:
    """One step begins with another number than the result before it."""
    steps = true_steps(key)
    place = rng.randrange(1, len(steps))
    begun = steps[place].left + rng.choice(_SLIPS)
    rest = carried(" ".join([str(begun), *key.split(" ")[2 * place + 1 :]])) if 0 <= begun <= LARGEST else None
    return None if rest is None else (*steps[:place], *rest)
