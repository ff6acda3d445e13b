"""Binary chain-of-thought verification (2412.02674 §3): the verifier reasons, then says correct or incorrect."""

from __future__ import annotations

from typing import ClassVar, Literal

from ops.prompts.base import PromptFormat, PromptKind
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Verdict
from ops.verifiers.base import VerificationItem
from ops.verifiers.writing import SampledVerifier

SCORES: dict[Verdict, float | None] = {CORRECT: 1.0, INCORRECT: 0.0, UNPARSEABLE: None}


class BinaryCot(SampledVerifier):
    """One reasoned verdict per response: correct 1, incorrect 0, anything else unparseable (no score)."""

    name: Literal["binary_cot"] = "binary_cot"
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "binary_cot"
    default_threshold: ClassVar[float] = 0.5
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def question(self, prompts: PromptFormat, item: VerificationItem) -> str:
        return prompts.binary_cot(item.problem, item.response)

    def score_in(self, prompts: PromptFormat, transcript: str, finished: bool) -> float | None:
        return SCORES[prompts.parse_binary_cot(transcript, finished)]
