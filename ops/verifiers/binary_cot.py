"""Binary chain-of-thought verification (2412.02674 §3): the verifier reasons, then says correct or incorrect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ops.engines.base import Engine, SamplingSettings
from ops.prompts.base import PromptFormat, PromptKind
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Verdict, Verification
from ops.variants import Seed
from ops.verifiers.asking import ask
from ops.verifiers.base import SampledVerifier, VerificationItem

SCORES: dict[Verdict, float | None] = {CORRECT: 1.0, INCORRECT: 0.0, UNPARSEABLE: None}


class BinaryCot(SampledVerifier):
    """One reasoned verdict per response: correct 1, incorrect 0, anything else unparseable (no score).

    Equal responses to a problem share the prefill of their prompt; each is still judged by its own sample.
    """

    name: Literal["binary_cot"] = "binary_cot"
    temperature: float = Field(1.0, ge=0.0, le=10.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(48, ge=1, le=32768)
    seed: Seed = 0
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "binary_cot"

    @property
    def default_threshold(self) -> float:
        return 0.5

    @property
    def score_range(self) -> tuple[float, float]:
        return 0.0, 1.0

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        settings = SamplingSettings(self.temperature, self.top_p, self.max_tokens, prompts.check_stop)
        questions = [prompts.binary_cot(item.problem, item.response) for item in items]
        for group in ask(engine, questions, [item.identity for item in items], f"{self.name}:{self.seed}", settings):
            done = []
            for index, said in group:
                verdict = prompts.parse_binary_cot(said.text, said.finish_reason == "stop")
                done.append((index, Verification(SCORES[verdict], verdict, said.text, said.n_tokens)))
            yield done
