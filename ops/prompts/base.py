"""What a prompt format does. One format per kind of model: the built-in notation, or plain text from templates."""

from __future__ import annotations

from typing import Literal, Protocol

from ops.types import Problem, Verdict

PromptKind = Literal["solve", "logit", "p_true", "binary_cot", "score_cot", "tournament"]
PROMPT_KINDS: tuple[PromptKind, ...] = ("solve", "logit", "p_true", "binary_cot", "score_cot", "tournament")

Scale = tuple[int, int]
"""Lowest and highest score that a score-CoT verifier may give."""


class PromptFormat(Protocol):
    """Prompts are complete texts: special tokens are written out, engines add none."""

    name: str
    version: str
    solve_stop: tuple[str, ...]
    check_stop: tuple[str, ...]
    """Strings that end a response, and a verifier's transcript."""
    choices: tuple[str, str]
    """The words for (correct, incorrect) in logit verification, each one token of the model."""
    p_true_choices: tuple[str, str]
    """The words for (true, false) in P(True), each one token of the model."""

    def solve(self, problem: Problem) -> str:
        """The prompt that asks for a solution."""
        ...

    def completion(self, response: str, finished: bool) -> str:
        """What fine-tuning teaches after ``solve(problem)``: the response with its ending."""
        ...

    def logit(self, problem: Problem, response: str) -> str:
        """The prompt whose next token is one of ``choices``."""
        ...

    def p_true(self, problem: Problem, response: str) -> str:
        """The few-shot prompt whose next token is one of ``p_true_choices`` (2207.05221)."""
        ...

    def binary_cot(self, problem: Problem, response: str) -> str:
        """The prompt after which the verifier reasons and gives its verdict."""
        ...

    def score_cot(self, problem: Problem, response: str, scale: Scale) -> str:
        """The prompt after which the verifier reasons and gives a score of the scale."""
        ...

    def tournament(self, problem: Problem, first: str, second: str) -> str:
        """The prompt after which the verifier reasons and names the better of two responses."""
        ...

    def parse_binary_cot(self, transcript: str, finished: bool) -> Verdict:
        """The verdict in a transcript, ``unparseable`` where there is none."""
        ...

    def parse_score_cot(self, transcript: str, finished: bool, scale: Scale) -> float | None:
        """The score in a transcript; None where there is none, or one outside of the scale."""
        ...

    def parse_tournament(self, transcript: str, finished: bool) -> Literal["first", "second"] | None:
        """Which response the transcript prefers; None where it does not say."""
        ...
