"""P(True) (2207.05221 §3): worked examples, then the probability that the proposed answer is called true."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.prompts.base import PromptFormat, PromptKind
from ops.verifiers.base import VerificationItem
from ops.verifiers.choices import ChoiceVerifier


class PTrue(ChoiceVerifier):
    """Score P(True) / (P(True) + P(False)) in [0, 1], from the next token after the few-shot prompt.

    Both choices are renormalised to sum to one (ours: what other tokens take is not a judgement). The verdict is
    'correct' from 0.5 on.
    """

    name: Literal["p_true"] = "p_true"
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "p_true"
    default_threshold: ClassVar[float] = 0.5
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def question(self, prompts: PromptFormat, item: VerificationItem) -> str:
        return prompts.p_true(item.problem, item.response)

    def words(self, prompts: PromptFormat) -> tuple[str, str]:
        return prompts.p_true_choices

    def scores_of(self, logprob_N2: np.ndarray) -> np.ndarray:
        total_N = np.logaddexp(logprob_N2[:, 0], logprob_N2[:, 1])
        known_N = total_N > -np.inf
        return np.exp(np.subtract(logprob_N2[:, 0], total_N, out=np.full(len(total_N), np.nan), where=known_N))
