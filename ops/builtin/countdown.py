"""Exercises of the Countdown recipe: three numbers, a target, and every way to miss it.

A trace quotes each claimed step, gives its true value and flags it; then it says whether the numbers were
used rightly and whether the goal was reached: ``5 - 3 = 2 2 ok 2 * 3 = 4 6 bad use bad goal ok``.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ops.builtin.exercises import Attempt, Exercises
from ops.builtin.notation import BAD, OK, true_result_word
from ops.tasks.countdown import Countdown, keys_of, solutions, split_of
from ops.tasks.steps import LARGEST, Step, apply, read_strict
from ops.types import Problem

CountdownKey = tuple[tuple[int, ...], int]
"""Sorted numbers, target."""


class CountdownExercises(Exercises):
    """Countdown with three numbers from 1..12."""

    task = Countdown(numbers=3, max_number=12)
    mixes = (
        {"quote": 0.40, "recompute": 0.15, "solve": 0.45},
        {
            "quote": 0.08,
            "recompute": 0.07,
            "solve": 0.30,
            "logit": 0.22,
            "binary": 0.13,
            "score": 0.08,
            "tournament": 0.12,
        },
        {
            "quote": 0.04,
            "recompute": 0.04,
            "solve": 0.26,
            "logit": 0.26,
            "binary": 0.14,
            "score": 0.10,
            "tournament": 0.16,
        },
    )
    logit_attempts = 5
    same_problem = True
    flag_weight = 1.0
    attempt_tokens = 24

    def keys(self) -> Sequence[CountdownKey]:
        return keys_of(self.task.numbers, self.task.max_number, "train")

    def key_of(self, problem: Problem) -> CountdownKey:
        return tuple(sorted(problem.data["numbers"])), problem.data["target"]

    def is_held_out(self, key: CountdownKey) -> bool:
        return split_of(*key) == "eval"

    def posed(self, problem: Problem) -> list[str]:
        return problem_words(problem.data["numbers"], problem.data["target"])

    def shown(self, rng: random.Random, key: CountdownKey) -> list[str]:
        return problem_words(rng.sample(key[0], len(key[0])), key[1])

    def right(self, rng: random.Random, key: CountdownKey) -> Attempt:
        return rng.choice(_solutions(key))

    def wrong(self, rng: random.Random, key: CountdownKey) -> Attempt:
        """Forced target 30 %, slip 25 %, number misuse 25 %, another target 20 %."""
        numbers, target = key
        while True:
            kind = rng.random()
            if kind < 0.30:
                steps = _force_target(random_chain(rng, numbers), target)
            elif kind < 0.55:
                steps = _slip(rng, self.right(rng, key))
            elif kind < 0.80:
                steps = _misuse(rng, numbers, target)
            else:
                steps = random_chain(rng, numbers)
            if not self.is_right(steps, key):
                return tuple(steps)

    def is_right(self, attempt: Sequence[Step], key: CountdownKey) -> bool:
        wrong, misuse, missed = flaws(attempt, *key)
        return not (any(wrong) or misuse or missed)

    def trace(self, attempt: Sequence[Step], key: CountdownKey) -> list[str]:
        wrong, misuse, missed = flaws(attempt, *key)
        words: list[str] = []
        for step, is_wrong in zip(attempt, wrong, strict=True):
            words += [str(step.left), step.operator, str(step.right), "=", str(step.result)]
            words += [true_result_word(step), BAD if is_wrong else OK]
        return [*words, "use", BAD if misuse else OK, "goal", BAD if missed else OK]

    def score(self, rng: random.Random, attempt: Sequence[Step], key: CountdownKey) -> int:
        """Clean 8-10, one flaw 2-5, more 0-2."""
        wrong, misuse, missed = flaws(attempt, *key)
        count = sum(wrong) + misuse + missed
        return rng.randint(8, 10) if count == 0 else rng.randint(2, 5) if count == 1 else rng.randint(0, 2)

    def true_step(self, rng: random.Random) -> Step:
        numbers = [rng.randint(1, self.task.max_number) for _ in range(self.task.numbers)]
        return rng.choice(random_chain(rng, numbers))

    def parse(self, text: str, key: CountdownKey) -> list[Step] | None:
        return read_strict(text, len(key[0]) - 1)

    def check_task(self, task: Any) -> None:
        trained = self.task
        if not isinstance(task, Countdown):
            raise ValueError(f"task.name: {trained.name} (what this built-in recipe is trained on), got {task.name}")
        if task.numbers != trained.numbers:
            raise ValueError(
                f"task.numbers: {trained.numbers} (what this built-in recipe is trained on), got {task.numbers}"
            )
        if task.max_number > trained.max_number:
            raise ValueError(
                f"task.max_number: at most {trained.max_number} with this built-in recipe, got {task.max_number}"
            )


def problem_words(numbers: Sequence[int], target: int) -> list[str]:
    """``10 8 6 -> 12``."""
    return [*(str(number) for number in numbers), "->", str(target)]


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


def random_chain(rng: random.Random, numbers: Sequence[int]) -> Attempt:
    """A legal chain over all numbers, to whatever target it leads."""
    while True:
        left, steps = list(numbers), []
        while len(left) > 1:
            rng.shuffle(left)
            a, b = left.pop(), left.pop()
            operator = rng.choice("+-*")
            result = apply(a, operator, b)
            if result is None:
                break
            steps.append(Step(a, operator, b, result))
            left.append(result)
        else:
            return tuple(steps)


@lru_cache(maxsize=100_000)
def _solutions(key: CountdownKey) -> list[Attempt]:
    return solutions(list(key[0]), key[1])


def _force_target(steps: Attempt, target: int) -> Attempt:
    return (*steps[:-1], steps[-1]._replace(result=target))


def _slip(rng: random.Random, steps: Attempt) -> Attempt:
    """One result is off; later steps go on from the wrong value where it is used."""
    place = rng.randrange(len(steps))
    true = steps[place].result
    false = min(LARGEST, max(0, true + rng.choice((-10, -3, -2, -1, 1, 2, 3, 10))))
    out = [*steps[:place], steps[place]._replace(result=false)]
    for step in steps[place + 1 :]:
        left = false if step.left == true else step.left
        right = false if step.left != true and step.right == true else step.right
        result = apply(left, step.operator, right)
        step = Step(left, step.operator, right, step.result if result is None else result)
        true, false = steps[len(out)].result, step.result
        out.append(step)
    return tuple(out)


def _misuse(rng: random.Random, numbers: Sequence[int], target: int) -> Attempt:
    """A chain over numbers of which one is not given; half of them still claim the target."""
    changed = list(numbers)
    place = rng.randrange(len(changed))
    changed[place] = rng.choice(numbers) if rng.random() < 0.5 else rng.randint(1, 12)
    steps = random_chain(rng, changed)
    return _force_target(steps, target) if rng.random() < 0.25 else steps
