"""P(True) (2207.05221 §3): worked examples, then the probability that the proposed answer is called true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np

from ops.engines.base import Engine
from ops.prompts.base import PromptFormat, PromptKind
from ops.types import Verification
from ops.verifiers.base import ModelVerifier, VerificationItem, positions_by_text

BLOCK = 4096


class PTrue(ModelVerifier):
    """Score P(True) / (P(True) + P(False)) in [0, 1], from the next token after the few-shot prompt.

    Both choices are renormalised to sum to one (ours: what other tokens take is not a judgement). The verdict is
    'correct' from 0.5 on. Equal responses are scored once. A prompt after which neither choice has any probability in
    double precision has no score.
    """

    name: Literal["p_true"] = "p_true"
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "p_true"

    @property
    def default_threshold(self) -> float:
        return 0.5

    @property
    def score_range(self) -> tuple[float, float]:
        return 0.0, 1.0

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        by_prompt = positions_by_text(prompts.p_true(item.problem, item.response) for item in items)
        texts = list(by_prompt)
        for start in range(0, len(texts), BLOCK):
            part = texts[start : start + BLOCK]
            done = []
            for text, score in zip(part, _share(engine.choice_logprobs(part, prompts.p_true_choices)), strict=True):
                known = None if np.isnan(score) else float(score)
                done += [(index, Verification(known, self.verdict_of(known))) for index in by_prompt[text]]
            yield done


def _share(logprob_N2: np.ndarray) -> np.ndarray:
    """p_0 / (p_0 + p_1) from log-probabilities, float [N]; NaN where both are minus infinity."""
    total_N = np.logaddexp(logprob_N2[:, 0], logprob_N2[:, 1])
    known = total_N > -np.inf
    return np.exp(np.subtract(logprob_N2[:, 0], total_N, out=np.full(len(total_N), np.nan), where=known))
