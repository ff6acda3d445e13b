"""Logit verification ("MC" in 2412.02674): p(yes) - p(no) of the next token after the question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np

from ops.engines.base import Engine
from ops.prompts.base import PromptFormat, PromptKind
from ops.types import Verification
from ops.verifiers.base import ModelVerifier, VerificationItem, positions_by_text

BLOCK = 4096


class Logit(ModelVerifier):
    """Score p(yes) - p(no) in [-1, 1]; the verdict is 'correct' from 0 on.

    The score is a function of problem and response, so equal responses are scored once. A prompt after which neither
    choice has any probability in double precision has no score.
    """

    name: Literal["logit"] = "logit"
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "logit"

    @property
    def default_threshold(self) -> float:
        return 0.0

    @property
    def score_range(self) -> tuple[float, float]:
        return -1.0, 1.0

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        by_prompt = positions_by_text(prompts.logit(item.problem, item.response) for item in items)
        texts = list(by_prompt)
        for start in range(0, len(texts), BLOCK):
            part = texts[start : start + BLOCK]
            probability_N2 = np.exp(engine.choice_logprobs(part, prompts.choices))
            done = []
            for text, (yes, no) in zip(part, probability_N2, strict=True):
                score = float(yes - no) if yes + no > 0 else None
                done += [(index, Verification(score, self.verdict_of(score))) for index in by_prompt[text]]
            yield done
