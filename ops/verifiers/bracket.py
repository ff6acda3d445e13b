"""The bracket of a tournament: who meets whom, who falls. It asks nobody; outcomes are put into it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from ops.verifiers.base import VerificationItem

Said = Literal["self", "opponent", "unparseable"]
Outcome = Literal["win", "loss", "tie", "unparseable", "equal", "bye"]

_OTHER: dict[Said | None, Said | None] = {"self": "opponent", "opponent": "self", "unparseable": "unparseable"}
_MIRRORED: dict[Outcome, Outcome] = {"win": "loss", "loss": "win"}


@dataclass
class Match:
    """What two responses' comparison gave, told from the side of ``a``.

    Attributes:
        said: with ``a`` shown first, with ``a`` shown second; None where that order was not asked.
        texts: what the verifier wrote in these two orders.
        n_tokens: of both together.
    """

    a: int
    b: int
    said: list[Said | None] = field(default_factory=lambda: [None, None])
    texts: list[str | None] = field(default_factory=lambda: [None, None])
    n_tokens: int = 0

    @property
    def outcome(self) -> Outcome:
        """Of ``a``: a split decision is a tie, one that cannot be read in either order is 'unparseable'."""
        asked = [word for word in self.said if word is not None]
        if not asked:
            return "equal"
        if "unparseable" in asked:
            return "unparseable"
        if len(set(asked)) > 1:
            return "tie"
        return "win" if asked[0] == "self" else "loss"


class Bracket:
    """One problem's tournament. Contestants are 0..n-1, in the order of their sample index.

    Everything random in it (pairs, byes, sides, ties under ``random``) is a function of ``purpose``, the group's
    identity and the round.
    """

    def __init__(self, items: list[VerificationItem], rounds: int | None, ties: str, purpose: str) -> None:
        self.items, self._ties, self._purpose = items, ties, purpose
        self._limit = rounds
        self.alive = list(range(len(items)))
        self.round = 0
        self.survived = [0] * len(items)
        self.records: list[list[dict[str, Any]]] = [[] for _ in items]
        self.n_tokens = [0] * len(items)
        self.is_over = False
        self._look()

    def pair(self) -> list[Match]:
        """The matches of the next round; one of an odd number gets a bye.

        Pairs of equal responses are avoided as far as possible: the shuffled contestants are sorted by text, the most
        frequent first, and the first half meets the second. Which of a pair is ``a`` is left to chance, so that no
        text is shown first because it is frequent.
        """
        self.round += 1
        order = list(self.alive)
        self._random("pairs").shuffle(order)
        if len(order) % 2:
            self._record(order.pop(), None, "bye", [None, None], True)
        counts = Counter(self.items[i].response for i in order)
        first = {text: place for place, text in enumerate(dict.fromkeys(self.items[i].response for i in order))}
        order.sort(key=lambda i: (-counts[self.items[i].response], first[self.items[i].response]))
        half, sides = len(order) // 2, self._random("sides")
        pairs = [(order[i], order[i + half]) for i in range(half)]
        return [Match(a, b) if sides.randrange(2) == 0 else Match(b, a) for a, b in pairs]

    def close_round(self, matches: list[Match]) -> None:
        """Take the outcomes of a round: losers fall, and of a tie whom the rule for ties lets fall."""
        fallen = {i for match in matches for i in self._fallen(match)}
        for match in matches:
            low, high = sorted((match.a, match.b))
            self.n_tokens[low] += match.n_tokens - match.n_tokens // 2
            self.n_tokens[high] += match.n_tokens // 2
            outcome = match.outcome
            mirrored = [_OTHER.get(word) for word in reversed(match.said)]
            texts = match.texts if match.a == low else match.texts[::-1]
            for me, other, mine, said in (
                (match.a, match.b, outcome, match.said),
                (match.b, match.a, _MIRRORED.get(outcome, outcome), mirrored),
            ):
                self._record(me, other, mine, said, me not in fallen, texts if me == low else None)
        self.alive = [i for i in self.alive if i not in fallen]
        for i in self.alive:
            self.survived[i] += 1
        self._look(nobody_fell=not fallen)

    def score(self, i: int) -> float | None:
        """Share of the rounds played that a contestant survived; None where none of its comparisons could be read."""
        asked = [record["outcome"] for record in self.records[i] if record["outcome"] not in ("bye", "equal")]
        if asked and all(outcome == "unparseable" for outcome in asked):
            return None
        return self.survived[i] / self.round if self.round else 1.0

    def _look(self, nobody_fell: bool = False) -> None:
        same = len({self.items[i].response for i in self.alive}) <= 1 and self._ties == "both_survive"
        played_out = self._limit is not None and self.round >= self._limit
        stuck = nobody_fell and self._limit is None
        self.is_over = len(self.alive) <= 1 or same or stuck or played_out

    def _fallen(self, match: Match) -> list[int]:
        if match.outcome == "win":
            return [match.b]
        if match.outcome == "loss":
            return [match.a]
        if self._ties == "both_survive":
            return []
        pair = sorted((match.a, match.b))
        return [pair[self._random(f"tie {pair[0]} {pair[1]}").randrange(2)]]

    def _record(
        self,
        me: int,
        other: int | None,
        outcome: Outcome,
        said: list[Said | None],
        survived: bool,
        texts: list[str | None] | None = None,
    ) -> None:
        self.records[me].append(
            {
                "round": self.round,
                "opponent": None if other is None else self.items[other].sample_index,
                "outcome": outcome,
                "shown_first": said[0],
                "shown_second": said[1],
                "survived": survived,
                "transcripts": texts,
            }
        )

    def _random(self, what: str) -> random.Random:
        return random.Random(f"{self._purpose}:{self.items[0].group}:{self.round}:{what}")
