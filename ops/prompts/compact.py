"""The notation of the built-in models as a prompt format, for the tasks that a built-in recipe teaches."""

from __future__ import annotations

from itertools import chain
from typing import Literal

from ops.builtin.exercises import Exercises
from ops.builtin.notation import (
    BINARY,
    BOS,
    END,
    EOS,
    HIGHEST_SCORE,
    LOGIT,
    NO,
    SCORE,
    THEREFORE,
    TOURNAMENT,
    YES,
)
from ops.builtin.sizes import RECIPES, recipe_of_problem
from ops.errors import EngineError
from ops.prompts.base import Scale
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Problem, Verdict

P_TRUE_SHOTS = 2
"""Worked attempts before the question of P(True); a built-in model has 256 positions."""


class CompactFormat:
    """``<s> 10 8 6 -> 12 :`` and its verification questions ``?``, ``#``, ``%`` and ``!``.

    Raises:
        EngineError: for a task that no built-in recipe teaches.
    """

    name = "compact"
    version = "1"
    solve_stop: tuple[str, ...] = (END,)
    check_stop: tuple[str, ...] = (":",)
    choices: tuple[str, str] = (YES, NO)
    p_true_choices: tuple[str, str] = (YES, NO)

    @classmethod
    def identity(cls) -> str:
        """What of the format decides responses and verdicts, for fingerprints: all of it stands behind the version."""
        return f"{cls.name}/{cls.version}"

    def solve(self, problem: Problem) -> str:
        return f"{self._posed(problem)} :"

    def completion(self, response: str, finished: bool) -> str:
        return f" {response} {END} {EOS}" if finished else f" {response}"

    def logit(self, problem: Problem, response: str) -> str:
        return self._asked(problem, response, LOGIT)

    def p_true(self, problem: Problem, response: str) -> str:
        """Worked attempts with their verdicts, then the question of ``logit`` (2207.05221 in this notation).

        The models were not trained on Countdown documents with several problems: there it is out of
        distribution, and measured as it is.
        """
        task = _exercises(problem).task
        pairs = zip(task.examples(), task.wrong_examples(), strict=True)
        shots = chain(*(((right, YES), (wrong, NO)) for right, wrong in pairs))
        return " ".join(
            [
                *(f"{self.logit(shown, text)} {verdict}" for (shown, text), verdict in list(shots)[:P_TRUE_SHOTS]),
                self.logit(problem, response),
            ]
        )

    def binary_cot(self, problem: Problem, response: str) -> str:
        return self._asked(problem, response, BINARY)

    def score_cot(self, problem: Problem, response: str, scale: Scale) -> str:
        """
        Raises:
            EngineError: for a scale that the models were not taught.
        """
        if tuple(scale) != (0, HIGHEST_SCORE):
            raise EngineError(
                "built-in models",
                f"their scores are 0..{HIGHEST_SCORE}, asked for {scale[0]}..{scale[1]}",
                field="verifiers.scale",
                remedy=f"leave scale out, or write scale: [0, {HIGHEST_SCORE}]",
            )
        return self._asked(problem, response, SCORE)

    def tournament(self, problem: Problem, first: str, second: str) -> str:
        return f"{self._posed(problem)} : A {first} {END} B {second} {END} {TOURNAMENT}"

    def parse_binary_cot(self, transcript: str, finished: bool) -> Verdict:
        """The word right after the last ``=>``."""
        return {YES: CORRECT, NO: INCORRECT}.get(_concluded(transcript), UNPARSEABLE)

    def parse_score_cot(self, transcript: str, finished: bool, scale: Scale) -> float | None:
        """The number right after the last ``=>``, where it is within the scale."""
        said = _concluded(transcript)
        if not (said.isascii() and said.isdigit() and len(said) <= 2):
            return None
        return float(said) if scale[0] <= int(said) <= scale[1] else None

    def parse_tournament(self, transcript: str, finished: bool) -> Literal["first", "second"] | None:
        """The letter right after the last ``=>``."""
        answers: dict[str, Literal["first", "second"]] = {"A": "first", "B": "second"}
        return answers.get(_concluded(transcript))

    def _asked(self, problem: Problem, response: str, question: str) -> str:
        return f"{self._posed(problem)} : {response} {END} {question}"

    def _posed(self, problem: Problem) -> str:
        return " ".join([BOS, *_exercises(problem).posed(problem)])


def _exercises(problem: Problem) -> Exercises:
    recipe = recipe_of_problem(problem)
    if recipe is None:
        raise EngineError(
            f"task {problem.task}",
            "the built-in models have no notation for it",
            field="task.name",
            remedy=f"choose one of {', '.join(recipe.task for recipe in RECIPES.values())}, or name a checkpoint",
        )
    return recipe.exercises


def _concluded(transcript: str) -> str:
    """The word right after the last ``=>``, or ''."""
    words = transcript.split()
    marks = [i for i, word in enumerate(words) if word == THEREFORE]
    return words[marks[-1] + 1] if marks and marks[-1] + 1 < len(words) else ""
