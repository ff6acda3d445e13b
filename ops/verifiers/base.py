"""What a verifier is: a model's judgement of responses, without the ground truth."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ops.engines.base import Engine
from ops.prompts.base import PromptFormat
from ops.types import Problem, Verification
from ops.variants import Strict


@dataclass(frozen=True)
class VerificationItem:
    """One response to verify. ``identity`` seeds the verifier's own sampling."""

    problem: Problem
    response: str
    identity: str


def positions_by_text(texts: Iterable[str]) -> dict[str, list[int]]:
    """Where each different text stands, in the order of first appearance: equal prompts are computed once."""
    positions: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        positions.setdefault(text, []).append(index)
    return positions


class Verifier(Strict, abc.ABC):
    """Base of verifiers. Subclasses add ``name: Literal[...]`` and their parameters as fields."""

    name: str
    version: ClassVar[str]
    default_threshold: ClassVar[float]
    """Threshold at which the verifier's own verdict turns to 'correct'."""

    @abc.abstractmethod
    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        """Yield finished verifications in groups of (item index, verification), each item exactly once."""
