"""Verifiers that write before they judge: many questions at once, every answer with a seed of its own."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence

from pydantic import Field

from ops.engines.base import Engine, SampleRequest, SamplingSettings
from ops.identity import seed_of
from ops.prompts.base import PromptFormat
from ops.types import Completion, Verification
from ops.variants import Seed
from ops.verifiers.base import ModelVerifier, VerificationItem, positions_by_text


def answers(
    engine: Engine, settings: SamplingSettings, questions: Sequence[str], seeds: Sequence[int]
) -> Iterator[list[tuple[int, Completion]]]:
    """Yield groups of (index of the question, what the model wrote), each question exactly once, in any order.

    Args:
        questions: complete prompts; equal ones share their prefill and get answers of their own.
        seeds: one for each question.
    """
    by_prompt = positions_by_text(questions)
    indices = list(by_prompt.values())
    requests = [SampleRequest(prompt, tuple(seeds[index] for index in group)) for prompt, group in by_prompt.items()]
    for done in engine.sample(requests, settings):
        yield [(indices[request][place], completion) for request, place, completion in done]


class WritingVerifier(ModelVerifier):
    """Base: a verifier that samples a text and reads its judgement from it. Its fields say how the text is sampled."""

    temperature: float = Field(1.0, ge=0.0, le=10.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(48, ge=1, le=32768)
    seed: Seed = 0

    @property
    def purpose(self) -> str:
        """Holds the random streams of different verifiers and seeds apart."""
        return f"{self.name}:{self.seed}"

    def ask(
        self, engine: Engine, prompts: PromptFormat, questions: Sequence[str], identities: Sequence[str]
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yield groups of (index of the question, what the model wrote), each question exactly once, in any order.

        Args:
            questions: complete prompts; equal ones share their prefill and get answers of their own.
            identities: one for each question, different where the prompts are equal; it seeds the answer.
        """
        settings = SamplingSettings(self.temperature, self.top_p, self.max_tokens, prompts.check_stop)
        yield from answers(engine, settings, questions, [seed_of(identity, self.purpose) for identity in identities])


class SampledVerifier(WritingVerifier):
    """Base: one question about each response; k = ``repeats`` verifications of it are averaged.

    Equal responses to a problem share the prefill of their prompt; each is still judged by its own sample.
    """

    repeats: int = Field(1, ge=1, le=1000)

    @property
    def n_repeats(self) -> int:
        return self.repeats

    @abc.abstractmethod
    def question(self, prompts: PromptFormat, item: VerificationItem) -> str:
        """The prompt after which the model reasons about one response."""

    @abc.abstractmethod
    def score_in(self, prompts: PromptFormat, transcript: str, finished: bool) -> float | None:
        """The score that a transcript gives; None where it is unparseable."""

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        questions = [self.question(prompts, item) for item in items]
        for group in self.ask(engine, prompts, questions, [item.identity for item in items]):
            done = []
            for index, said in group:
                score = self.score_in(prompts, said.text, said.finish_reason == "stop")
                done.append((index, Verification(score, self.verdict_of(score), said.text, said.n_tokens)))
            yield done
