"""What the objective reads of a response, and how much each of its tokens counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PolicySample:
    """One response as the objective reads it.

    Attributes:
        prompt_ids: at least one token.
        response_ids: T >= 1 tokens as drawn, the stop token included.
        weight_T: float64 [T], advantage plus bonus of each token (A_i + c b_i m_t).
        old_logprob_T: natural-log probabilities [T] under the policy that drew it; None: those of the model as it is
            now, without a gradient (ratio 1).
        base_logprob_T: natural-log probabilities [T] under the base model; needed where ``kl_coefficient`` > 0.
    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    weight_T: np.ndarray
    old_logprob_T: np.ndarray | None = None
    base_logprob_T: np.ndarray | None = None

    @property
    def n_tokens(self) -> int:
        """Prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)


def check_samples(samples: Sequence[PolicySample], temperature: float, *, needs_base: bool) -> None:
    """Refuse what the objective is not defined for.

    Raises:
        ValueError: names the sample and the field.
    """
    if not samples:
        raise ValueError("samples: at least one, got none")
    if not temperature > 0:
        raise ValueError(f"temperature: above 0, got {temperature}")
    for i, sample in enumerate(samples):
        length = len(sample.response_ids)
        if not (length and len(sample.prompt_ids)):
            raise ValueError(f"samples[{i}]: at least one token of prompt and response each")
        for name in ("weight_T", "old_logprob_T", "base_logprob_T"):
            array = getattr(sample, name)
            if array is None:
                continue
            if np.shape(array) != (length,):
                raise ValueError(f"samples[{i}].{name}: shape ({length},), got {np.shape(array)}")
            if not np.isfinite(array).all():
                raise ValueError(f"samples[{i}].{name}: finite numbers, got {array}")
        if needs_base and sample.base_logprob_T is None:
            raise ValueError(f"samples[{i}].base_logprob_T: needed where kl_coefficient is above 0, got None")


def token_coefficients(lengths: Sequence[int], loss: str, max_tokens: int) -> np.ndarray:
    """What the loss of each token of each response is multiplied with, float64 [B] (``Exploration.loss``).

    Args:
        lengths: tokens of the responses of the whole mini-batch.
        max_tokens: of a response; the divisor of ``dr_grpo`` (2503.20783).
    """
    length_B = np.asarray(lengths, dtype=np.float64)
    if loss == "grpo":
        return 1 / (length_B * len(length_B))
    if loss == "dapo":
        return np.full_like(length_B, 1 / length_B.sum())
    if loss == "dr_grpo":
        return np.full_like(length_B, 1 / (len(length_B) * max_tokens))
    raise ValueError(f"loss: grpo, dapo or dr_grpo, got {loss}")
