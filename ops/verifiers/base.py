"""What a verifier is: a judgement of responses without the ground truth, as a score and a verdict.

There are two kinds. A *model verifier* asks a model, the generator itself or another one (cross-verification). A
*derived verifier* computes its score from what is there already: the responses, or other verifiers' scores.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import polars as pl
from pydantic import AfterValidator, Field

from ops.engines.base import Engine
from ops.models import Askable
from ops.prompts.base import PromptFormat, PromptKind
from ops.selection import FILTERS
from ops.selection.base import Filter
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Problem, Verdict, Verification
from ops.variants import FromList, Strict

LABEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.@/+-]{0,62}$"
DEFAULT_QUANTILE = 0.8


_VERDICT_FIELDS = {"repeats", "threshold"}

T = TypeVar("T")


def _rising(value: Any) -> Any:
    if value is not None and value[0] >= value[1]:
        raise ValueError("[lowest, highest] with the lowest below the highest")
    return value


Rising = Annotated[FromList[T], AfterValidator(_rising)]
"""``Rising[tuple[int, int]]``: (lowest, highest) of a scale, the lowest below the highest."""


@dataclass(frozen=True)
class VerificationItem:
    """One response to verify.

    Attributes:
        identity: of this verification; it seeds the verifier's own sampling.
        group: items of one group are responses to one problem that a group verifier compares.
        sample_index: the response's place among the samples of its problem.
    """

    problem: Problem
    response: str
    identity: str
    group: str = ""
    sample_index: int = 0


def positions_by_text(texts: Iterable[str]) -> dict[str, list[int]]:
    """Where each different text stands, in the order of first appearance: equal prompts are computed once."""
    positions: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        positions.setdefault(text, []).append(index)
    return positions


class Verifier(Strict, abc.ABC):
    """Base of verifiers. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    ``label`` is what filters, tables and figures call it; by default its name, and ``name@model`` where another model
    than the generator verifies.
    """

    name: str
    label: str | None = Field(None, pattern=LABEL_PATTERN)
    version: ClassVar[str]

    @property
    def called(self) -> str:
        """The label, or its default."""
        return self.label or self.name

    @property
    @abc.abstractmethod
    def default_threshold(self) -> float:
        """Score from which on the verifier's own verdict is 'correct'; a class variable where no field decides it.

        Minus infinity where its scores have no such point (a log-probability, say) and the user has set none: the
        verdict is then 'correct' for every response that has a score, so it rejects nothing.
        """

    @property
    def score_range(self) -> tuple[float, float] | None:
        """Lowest and highest score, mapped to probabilities 0 and 1 for calibration; None where it is no such scale.

        A class variable where no field decides it.
        """
        return None

    def identity(self) -> dict[str, Any]:
        """The fields that define a single verification, for fingerprints.

        Not among them: what it is called, whom it asks (an input of its own), and what only turns verifications into
        scores and verdicts (``verdict_fields``): another threshold asks nobody anything anew.
        """
        return self.model_dump(exclude={"label", "model", *_VERDICT_FIELDS})

    def verdict_fields(self) -> dict[str, Any]:
        """The fields that turn single verifications into a score and a verdict."""
        return self.model_dump(include=_VERDICT_FIELDS)

    def default_filter(self) -> Filter:
        """The filter by which its gap is measured when the experiment names none.

        The threshold of its own verdict; the best fifth of each problem's responses where it has no threshold.
        """
        if self.default_threshold == -np.inf:
            return FILTERS["quantile"](verifier=self.called, q=DEFAULT_QUANTILE)
        return FILTERS["threshold"](verifier=self.called, threshold=self.default_threshold)

    def verdict_of(self, score: float | None) -> Verdict:
        """The verdict at the default threshold; ``unparseable`` without a score."""
        if score is None:
            return UNPARSEABLE
        return CORRECT if score >= self.default_threshold else INCORRECT


class ModelVerifier(Verifier):
    """A verifier that asks a model: the generator of the iteration, or ``model``."""

    model: Askable | None = None
    prompt_kind: ClassVar[PromptKind]
    whole_groups: ClassVar[bool] = False
    """Whether the score of a response depends on the other responses to the problem."""

    @property
    def called(self) -> str:
        return self.label or (self.name if self.model is None else f"{self.name}@{self.model.shown}")

    @property
    def n_repeats(self) -> int:
        """Verifications per response, averaged."""
        return 1

    @abc.abstractmethod
    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        """Yield finished verifications in groups of (item index, verification), each item exactly once."""


class DerivedVerifier(Verifier):
    """A verifier that is computed from responses and other verifiers' scores, without asking a model."""

    is_free: ClassVar[bool] = True
    """Whether nothing was spent on it but on its members; False where the cost is not known."""

    @property
    def members(self) -> tuple[str, ...]:
        """Labels of the verifiers whose scores it reads; they are listed before it."""
        return ()

    def check_members(self, verifiers: Mapping[str, Verifier]) -> None:
        """Refuse members that cannot be combined. ``verifiers``: the members by label.

        Raises:
            ValueError: ``field: what was expected``, relative to this verifier.
        """

    @abc.abstractmethod
    def derive(
        self, responses: pl.DataFrame, scores: Mapping[str, np.ndarray], verifiers: Mapping[str, Verifier]
    ) -> np.ndarray:
        """Scores float [N] of all responses, NaN where unparseable.

        Args:
            responses: rows of ``generations``, one or both splits, in any order.
            scores: of every member, float [N] in the responses' order, NaN where unparseable.
            verifiers: the members themselves by label, for their thresholds and ranges.

        Raises:
            ExperimentError: when ``responses`` lacks what the score is made of.
        """


def combined(verifier: Verifier, parts: Sequence[Verification]) -> Verification:
    """The mean of k verifications of one response: unparseable ones are left out, and it is one if all are.

    The verdict is that of the mean. With k > 1 the transcript is the JSON list of all k.
    """
    scores = [part.score for part in parts if part.score is not None]
    score = float(np.mean(scores)) if scores else None
    texts = [part.transcript for part in parts]
    transcript = texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)
    return Verification(score, verifier.verdict_of(score), transcript, sum(part.n_tokens for part in parts))
