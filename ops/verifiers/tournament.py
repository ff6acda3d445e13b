"""Tournament verification (2412.02674 §3): rounds of pairwise comparison with elimination."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ops.engines.base import Engine
from ops.prompts.base import PromptFormat, PromptKind
from ops.types import Completion, Problem, Verification
from ops.verifiers.base import VerificationItem
from ops.verifiers.bracket import Bracket, Match, Said
from ops.verifiers.writing import WritingVerifier

BLOCK = 2048
"""Responses whose tournaments run side by side, so that a round fills the engine. A kill repeats at most one block."""


class Tournament(WritingVerifier):
    """Every response is a contestant; in each round it meets one other, and who loses falls.

    Rounds, ties and order are open in the paper, so they are parameters, and what follows is ours:

    - ``both_orders``: each pair is asked in both orders, because judges prefer a position; a split decision is a tie.
    - A comparison without a readable answer (in either order) is 'unparseable': counted as such, a tie in the bracket.
    - Equal responses are a tie by definition and are not asked about.
    - ``ties``: ``both_survive``, or ``random``: one of the two falls, by the seed.
    - An odd contestant gets a bye.
    - ``rounds``: at most so many; None: until one is left, or until a round in which nobody falls. Where ties survive,
      a tournament also ends when all who are left are equal.

    Score: the share of the rounds played that the response survived, in [0, 1]; survivors of the last round have 1, a
    response alone has 1. A response none of whose comparisons could be read is unparseable. Verdict: 'correct' for the
    survivors. The transcript is a JSON list of the response's matches: round, opponent (sample index; null: bye),
    outcome (win, loss, tie, unparseable, equal, bye), what was said with it shown first and second (self, opponent,
    unparseable; null: not asked), survived, and, with the lower sample index of a pair, both raw transcripts, the one
    with that response shown first before the other. The tokens of a match are split between the two.
    """

    name: Literal["tournament"] = "tournament"
    rounds: int | None = Field(None, ge=1, le=64)
    both_orders: bool = True
    ties: Literal["both_survive", "random"] = "both_survive"
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "tournament"
    whole_groups: ClassVar[bool] = True
    default_threshold: ClassVar[float] = 1.0
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        for block in _blocks(items):
            running = []
            for indices in block:
                ordered = sorted(indices, key=lambda index: (items[index].sample_index, items[index].identity))
                group = [items[index] for index in ordered]
                running.append((ordered, Bracket(group, self.rounds, self.ties, self.purpose)))
            while running:
                for indices, bracket in running:
                    if bracket.is_over:
                        yield [(index, self._verification(bracket, i)) for i, index in enumerate(indices)]
                running = [pair for pair in running if not pair[1].is_over]
                self._play_round(engine, prompts, [bracket for _, bracket in running])

    def _play_round(self, engine: Engine, prompts: PromptFormat, brackets: Sequence[Bracket]) -> None:
        """One round of all brackets in one call of the engine."""
        rounds = [(bracket, bracket.pair()) for bracket in brackets]
        asked: list[tuple[Match, int]] = []  # (match, 0: its a is shown first, 1: its b is)
        questions, identities = [], []
        for bracket, matches in rounds:
            for match in matches:
                a, b = bracket.items[match.a], bracket.items[match.b]
                if a.response == b.response:
                    continue
                for order in (0, 1) if self.both_orders else (0,):
                    first, second = (a, b) if order == 0 else (b, a)
                    asked.append((match, order))
                    questions.append(question_in_order(prompts, a.problem, a.response, b.response, order))
                    identities.append(f"{first.identity}|{second.identity}|{bracket.round}")
        if questions:
            for group in self.ask(engine, prompts, questions, identities):
                for index, completion in group:
                    match, order = asked[index]
                    match.said[order] = said_in_order(prompts, completion, order)
                    match.texts[order] = completion.text
                    match.n_tokens += completion.n_tokens
        for bracket, matches in rounds:
            bracket.close_round(matches)

    def _verification(self, bracket: Bracket, i: int) -> Verification:
        score = bracket.score(i)
        transcript = json.dumps(bracket.records[i], ensure_ascii=False)
        return Verification(score, self.verdict_of(score), transcript, bracket.n_tokens[i])


def question_in_order(prompts: PromptFormat, problem: Problem, a: str, b: str, order: int) -> str:
    """The prompt that compares two responses: ``a`` is shown first in order 0, second in order 1."""
    return prompts.tournament(problem, *((a, b) if order == 0 else (b, a)))


def said_in_order(prompts: PromptFormat, completion: Completion, order: int) -> Said:
    """What the answer to ``question_in_order`` says, from the side of ``a``."""
    preferred = prompts.parse_tournament(completion.text, completion.finish_reason == "stop")
    if preferred is None:
        return "unparseable"
    return "self" if (preferred == "first") == (order == 0) else "opponent"


def _blocks(items: Sequence[VerificationItem]) -> Iterator[list[list[int]]]:
    """Whole groups (lists of item indices) in blocks of about ``BLOCK`` responses."""
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.group, []).append(index)
    block: list[list[int]] = []
    size = 0
    for group in groups.values():
        if block and size + len(group) > BLOCK:
            yield block
            block, size = [], 0
        block.append(group)
        size += len(group)
    if block:
        yield block
