"""Logit verification ("MC" in 2412.02674): p(yes) - p(no) of the next token after the question."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from ops.prompts.base import PromptFormat, PromptKind
from ops.verifiers.base import VerificationItem
from ops.verifiers.choices import ChoiceVerifier


class Logit(ChoiceVerifier):
    """Score p(yes) - p(no) in [-1, 1]; the verdict is 'correct' from 0 on."""

    name: Literal["logit"] = "logit"
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "logit"
    default_threshold: ClassVar[float] = 0.0
    score_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def question(self, prompts: PromptFormat, item: VerificationItem) -> str:
        return prompts.logit(item.problem, item.response)

    def words(self, prompts: PromptFormat) -> tuple[str, str]:
        return prompts.choices

    def scores_of(self, logprob_N2: np.ndarray) -> np.ndarray:
        yes_N, no_N = np.exp(logprob_N2).T
        return np.where(yes_N + no_N > 0, yes_N - no_N, np.nan)
