"""A model that reads both responses and names the better one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from ops.engines.base import Engine, SamplingSettings
from ops.evaluation.judges.base import Estimand, ModelJudge
from ops.identity import seed_of
from ops.prompts.base import PromptFormat, PromptKind
from ops.types import Problem
from ops.verifiers.tournament import question_in_order, said_in_order
from ops.verifiers.writing import answers

ORDERS = (0, 1)
"""The model's response shown first, shown second."""

_VALUES = {"self": 1.0, "opponent": 0.0, "unparseable": None}


@dataclass(frozen=True)
class PairQuestion:
    """One question about one pair.

    Attributes:
        order: 0: the model's response is shown first; 1: second.
        identity: of this question: pair, order and repeat; it seeds the answer.
    """

    problem: Problem
    response: str
    reference_response: str
    order: int
    identity: str


@dataclass(frozen=True)
class PairAnswer:
    """What the judge said to one question.

    Attributes:
        value: 1: the model's response is the better one, 0: the reference's; None: it could not be read.
    """

    value: float | None
    transcript: str
    n_tokens: int


class Pairwise(ModelJudge):
    """The prompt of the tournament verifier, asked in both orders: judges prefer a position.

    A judgement is 1 where the model's response is named in both orders, 0 where the reference's is, and 1/2 (a tie)
    where the orders disagree; what cannot be read in one of them has no judgement. Equal responses are a tie and are
    not asked about. ``repeats``: answers in each order. An order's score is the mean of those that could be read, a
    judgement the mean of the two orders, so no order counts for more.
    """

    name: Literal["pairwise"] = "pairwise"
    temperature: float = Field(0.0, ge=0.0, le=10.0)
    max_tokens: int = Field(48, ge=1, le=32768)
    repeats: int = Field(1, ge=1, le=64)
    version: ClassVar[str] = "1"
    estimands: ClassVar[tuple[Estimand, ...]] = ("win_rate",)
    prompt_kind: ClassVar[PromptKind] = "tournament"

    def single_identity(self) -> dict[str, Any]:
        return self.model_dump(exclude={"label", "model", "repeats"})

    def question_ids(self, pair_id: str) -> list[tuple[int, int, str]]:
        """(order, repeat, identity) of every question about a pair."""
        return [(order, i, f"{pair_id}/{order}#{i}") for i in range(self.repeats) for order in ORDERS]

    def ask(
        self, engine: Engine, prompts: PromptFormat, questions: Sequence[PairQuestion]
    ) -> Iterator[list[tuple[int, PairAnswer]]]:
        """Yield finished answers in groups of (index of the question, answer), each question exactly once."""
        texts = [
            question_in_order(prompts, item.problem, item.response, item.reference_response, item.order)
            for item in questions
        ]
        seeds = [seed_of(item.identity, self.name) for item in questions]
        settings = SamplingSettings(self.temperature, 1.0, self.max_tokens, prompts.check_stop)
        for group in answers(engine, settings, texts, seeds):
            done = []
            for index, said in group:
                value = _VALUES[said_in_order(prompts, said, questions[index].order)]
                done.append((index, PairAnswer(value, said.text, said.n_tokens)))
            yield done
