"""The notation of the built-in models as a prompt format (Countdown only)."""

from __future__ import annotations

from ops.builtin.notation import BOS, END, EOS, NO, YES, problem_words
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Problem, Verdict


class CompactFormat:
    """``<s> 10 8 6 -> 12 :`` and its verification questions ``?`` and ``#``."""

    name = "compact"
    version = "1"
    solve_stop: tuple[str, ...] = (END,)
    binary_cot_stop: tuple[str, ...] = (":",)
    choices: tuple[str, str] = (YES, NO)

    @classmethod
    def identity(cls) -> str:
        """What of the format decides responses and verdicts, for fingerprints: all of it stands behind the version."""
        return f"{cls.name}/{cls.version}"

    def solve(self, problem: Problem) -> str:
        return f"{self._posed(problem)} :"

    def completion(self, response: str, finished: bool) -> str:
        return f" {response} {END} {EOS}" if finished else f" {response}"

    def logit(self, problem: Problem, response: str) -> str:
        return f"{self._posed(problem)} : {response} {END} ?"

    def binary_cot(self, problem: Problem, response: str) -> str:
        return f"{self._posed(problem)} : {response} {END} #"

    def parse_binary_cot(self, transcript: str, finished: bool) -> Verdict:
        """The word right after the last ``=>``."""
        words = transcript.split()
        marks = [i for i, word in enumerate(words) if word == "=>"]
        said = words[marks[-1] + 1] if marks and marks[-1] + 1 < len(words) else ""
        return {YES: CORRECT, NO: INCORRECT}.get(said, UNPARSEABLE)

    def _posed(self, problem: Problem) -> str:
        return " ".join([BOS, *problem_words(problem.data["numbers"], problem.data["target"])])
