"""Binary chain-of-thought verification (2412.02674 §3): the verifier reasons, then says correct or incorrect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ops.engines.base import Engine, SampleRequest, SamplingSettings
from ops.identity import seed_of
from ops.prompts.base import PromptFormat
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Verdict, Verification
from ops.variants import Seed
from ops.verifiers.base import VerificationItem, Verifier, positions_by_text

SCORES: dict[Verdict, float | None] = {CORRECT: 1.0, INCORRECT: 0.0, UNPARSEABLE: None}


class BinaryCot(Verifier):
    """One reasoned verdict per response: correct 1, incorrect 0, anything else unparseable (no score).

    Equal responses to a problem share the prefill of their prompt; each is still judged by its own sample.
    """

    name: Literal["binary_cot"] = "binary_cot"
    temperature: float = Field(1.0, ge=0.0, le=10.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(48, ge=1, le=32768)
    seed: Seed = 0
    version: ClassVar[str] = "1"
    default_threshold: ClassVar[float] = 0.5

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        settings = SamplingSettings(self.temperature, self.top_p, self.max_tokens, prompts.binary_cot_stop)
        by_prompt = positions_by_text(prompts.binary_cot(item.problem, item.response) for item in items)
        indices = list(by_prompt.values())
        purpose = f"{self.name}:{self.seed}"
        requests = [
            SampleRequest(prompt, tuple(seed_of(items[index].identity, purpose) for index in group))
            for prompt, group in by_prompt.items()
        ]
        for group in engine.sample(requests, settings):
            done = []
            for request, place, completion in group:
                verdict = prompts.parse_binary_cot(completion.text, completion.finish_reason == "stop")
                index = indices[request][place]
                done.append((index, Verification(SCORES[verdict], verdict, completion.text, completion.n_tokens)))
            yield done
