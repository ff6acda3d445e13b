"""What a prompt format does. One format per kind of model: the built-in notation, or plain text."""

from __future__ import annotations

from typing import Protocol

from ops.types import Problem, Verdict


class PromptFormat(Protocol):
    """Prompts are complete texts: special tokens are written out, engines add none."""

    name: str
    version: str
    solve_stop: tuple[str, ...]
    binary_cot_stop: tuple[str, ...]
    choices: tuple[str, str]
    """The words for (correct, incorrect) in logit verification, each one token of the model."""

    def solve(self, problem: Problem) -> str:
        """The prompt that asks for a solution."""
        ...

    def completion(self, response: str, finished: bool) -> str:
        """What fine-tuning teaches after ``solve(problem)``: the response with its ending."""
        ...

    def logit(self, problem: Problem, response: str) -> str:
        """The prompt whose next token is one of ``choices``."""
        ...

    def binary_cot(self, problem: Problem, response: str) -> str:
        """The prompt after which the verifier reasons and gives its verdict."""
        ...

    def parse_binary_cot(self, transcript: str, finished: bool) -> Verdict:
        """The verdict in a transcript, ``unparseable`` where there is none."""
        ...
