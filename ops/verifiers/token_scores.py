"""Baselines that read a response token by token under a model, without asking it anything."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from ops.engines.base import Engine, TokenStatistics
from ops.prompts.base import PromptFormat, PromptKind
from ops.types import Verification
from ops.verifiers.base import ModelVerifier, VerificationItem, positions_by_text

BLOCK = 4096


class TokenScore(ModelVerifier, abc.ABC):
    """Base: a number per response, from the verifier model's distributions at each of its tokens.

    The response stands where that model would have written it, after its own prompt for solving the problem. The token
    that would end it is not counted. Equal responses are scored once; an empty one has no score. The score has no
    natural threshold: ``threshold`` sets one, without it the verdict rejects nothing and the gap is by default that of
    the best fifth of each problem's responses.
    """

    threshold: float | None = None
    prompt_kind: ClassVar[PromptKind] = "solve"

    @property
    def default_threshold(self) -> float:
        return -np.inf if self.threshold is None else self.threshold

    @abc.abstractmethod
    def score_of(self, statistics: TokenStatistics) -> float:
        """The score of a response of at least one token."""

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        keys = positions_by_text(
            f"{prompts.solve(item.problem)}\0{prompts.completion(item.response, False)}" for item in items
        )
        places = list(keys.values())
        for start in range(0, len(places), BLOCK):
            part = places[start : start + BLOCK]
            first = [items[group[0]] for group in part]
            found = engine.token_statistics(
                [prompts.solve(item.problem) for item in first],
                [prompts.completion(item.response, False) for item in first],
            )
            done = []
            for item, group, statistics in zip(first, part, found, strict=True):
                empty = statistics.n_tokens == 0 or not item.response.strip()
                value = math.nan if empty else self.score_of(statistics)
                score = value if math.isfinite(value) else None
                done += [(index, Verification(score, self.verdict_of(score))) for index in group]
            yield done
