"""A judge that says what a test tells it to, and prompts that a test can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ops.engines.base import Fit, TokenStatistics
from ops.prompts.verdicts import read_better, read_score, read_verdict
from ops.types import Completion, Problem
from ops.verifiers.base import VerificationItem


class ScriptedEngine:
    """Answers prompts by a function of (prompt, seed), in groups of at most ``group``, last request first."""

    name, version = "scripted", "1"

    def __init__(self, say: Callable[[str, int], Any] = lambda prompt, seed: "", group: int = 3) -> None:
        self.say, self.group = say, group
        self.calls: list[list[str]] = []
        self.seeds: list[int] = []
        self.n_tokens = 0
        self.context: int | None = None
        self.settings = None

    def sample(self, requests, settings):
        self.settings = settings
        self.calls.append([request.prompt for request in requests for _ in request.seeds])
        done = []
        for index in reversed(range(len(requests))):
            for place, seed in enumerate(requests[index].seeds):
                text = self.say(requests[index].prompt, seed)
                self.seeds.append(seed)
                self.n_tokens += len(text.split())
                done.append((index, place, Completion(text, len(text.split()), -1.0, "stop")))
        for start in range(0, len(done), self.group):
            yield done[start : start + self.group]

    def choice_logprobs(self, prompts, choices):
        self.calls.append(list(prompts))
        return np.array([self.say(prompt, 0) for prompt in prompts], dtype=float)

    def token_statistics(self, prompts, continuations):
        self.calls.append([a + b for a, b in zip(prompts, continuations, strict=True)])
        counts = [len(text.split()) for text in continuations]
        return [TokenStatistics(n, -0.5 * n, 2.0 if n else float("nan")) for n in counts]

    def fits(self, prompts, new_tokens=0, continuations=None):
        return [Fit(max(1, len(prompt.split())), new_tokens, self.context) for prompt in prompts]

    def close(self):
        pass


class PlainFormat:
    """``solve p1 ->``, ``check p1: response``, ``compare p1: A against B``."""

    name, version = "plain", "1"
    solve_stop: tuple[str, ...] = ()
    check_stop: tuple[str, ...] = ("\n\n",)
    choices, p_true_choices = ("Yes", "No"), ("A", "B")

    def solve(self, problem):
        return f"solve {problem.problem_id} ->"

    def completion(self, response, finished):
        return f" {response}"

    def logit(self, problem, response):
        return f"logit {problem.problem_id}: {response}"

    def p_true(self, problem, response):
        return f"true {problem.problem_id}: {response}"

    def binary_cot(self, problem, response):
        return f"check {problem.problem_id}: {response}"

    def score_cot(self, problem, response, scale):
        return f"score {scale[0]}-{scale[1]} {problem.problem_id}: {response}"

    def tournament(self, problem, first, second):
        return f"compare {problem.problem_id}: {first} against {second}"

    def parse_binary_cot(self, transcript, finished):
        return read_verdict(transcript)

    def parse_score_cot(self, transcript, finished, scale):
        return read_score(transcript, scale)

    def parse_tournament(self, transcript, finished):
        return read_better(transcript)


def items_of(*groups: list[str]) -> list[VerificationItem]:
    """Items of problems p0, p1 ...: one list of responses for each."""
    return [
        VerificationItem(
            Problem(f"p{number}", "any", "eval", {}), response, f"r{number}.{i}/g{number}#0", f"g{number}#0", i
        )
        for number, group in enumerate(groups)
        for i, response in enumerate(group)
    ]


def verified(verifier, engine, items):
    """Verifications in the items' order; every item exactly once."""
    found = {}
    for group in verifier.verify(engine, PlainFormat(), items):
        for index, verification in group:
            assert index not in found
            found[index] = verification
    assert sorted(found) == list(range(len(items)))
    return [found[index] for index in range(len(items))]
