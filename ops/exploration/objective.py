"""The objective of reinforcement learning: clipped policy gradient with a bonus, and its gradient.

The paper (arXiv 2509.06941) maximises E[(1/n) Σ_i Â_i + c·b(x, a_i) − β KL(π ‖ π_base)] over groups of n responses and
published no code. What is done here instead, token by token:

    L_t = −min(ρ_t w_t, clip(ρ_t, 1 − ε_low, 1 + ε_high) w_t) + β (e^{d_t} − d_t − 1) − λ H_t,
    ρ_t = π(y_t | y_<t) / π_old(y_t | y_<t),   d_t = log π_base(y_t | y_<t) − log π(y_t | y_<t).

Departures:

- The formula is the value of a policy; we descend GRPO's surrogate of it (2402.03300 eq. 3) with clipped ratios of
  single tokens. Where the policy still is the one that drew the responses, ρ is 1, nothing is clipped, and the gradient
  is that of Σ_t w_t log π(y_t | y_<t), averaged as below. No token-level ratio is an unbiased importance weight of a
  response.
- w_t is Â_i + c·b_i·m_t, m_t = 0 where the answer's tokens carry no bonus (the caller's). Advantage and bonus are one
  weight and share one clip: the side that is clipped follows the sign of the sum. Â and b are constants without a
  gradient, although the answers that they compare come from the policy.
- The KL divergence is the k3 estimate at the drawn tokens (2402.03300 eq. 4). Its mean is KL(π ‖ π_base) of the
  next-token distributions where the responses were drawn from π. Its gradient is not the gradient of that: tokens are
  held fixed, and what comes out in expectation is the gradient of KL(π_base ‖ π) at the drawn prefixes. TRL 1.16
  multiplies it with ρ_t by default, which gives the gradient of KL(π ‖ π_base) there and, after the first update,
  corrects for π_old; as in GRPO we do not (its ``use_bias_correction_kl=False``).
- Averages are ``Exploration.loss``. ``grpo``: over the tokens of a response, then over responses, so a token of a
  short response weighs more. ``dapo``: over all tokens of the mini-batch, so a long response weighs more. ``dr_grpo``:
  sum over responses times ``max_tokens``; the formula's expectation over whole responses up to that factor, which
  makes KL and entropy a max_tokens-th of their sums over a response. Averages are of one mini-batch, not of the step.
- H_t is the exact entropy of the next-token distribution at the drawn prefixes; that the policy also decides which
  prefixes come up has no part in its gradient. It is averaged like everything else (TRL: always over tokens).
- All probabilities are those at the sampling temperature, softmax(logits / temperature), for the KL divergence and the
  entropy too; the paper does not say. ``top_p`` below 1 is not followed: the probabilities are of the whole vocabulary.
- The paper leaves open how Â is normalised: 1e-4 is added to a standard deviation with n − 1, see
  ``ops/exploration/advantages``.

Agreement with TRL's ``GRPOTrainer`` on fixed rollouts: ``tests/exploration/test_trl.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ops.exploration.policy_sample import PolicySample, check_samples, token_coefficients
from ops.exploration.response_logits import entropies, logprobs, response_logits
from ops.exploration.settings import Exploration
from ops.training.loss import cut, in_use


@dataclass(frozen=True)
class ObjectiveNumbers:
    """What a mini-batch came to, at the parameters before the update.

    Attributes:
        loss: minus the objective, in the units of the weights.
        kl_nats: k3 estimate of KL(π ‖ π_base), mean over response tokens; NaN where a sample has no ``base_logprob_T``.
        entropy_nats: of the next-token distributions, mean over response tokens.
        clip_fraction: of the response tokens, whose ratio is clipped: their weight has no gradient.
        tokens: of prompts and responses, without padding.
        entropy_B: mean token entropy of each sample, nats, float64 [B] in the order given.
    """

    loss: float
    kl_nats: float
    entropy_nats: float
    clip_fraction: float
    tokens: int
    entropy_B: np.ndarray


def policy_backward(
    model: Any,
    samples: Sequence[PolicySample],
    settings: Exploration,
    *,
    temperature: float,
    max_tokens: int,
    pad_id: int,
    tokens_per_micro_batch: int | None,
) -> ObjectiveNumbers:
    """Add the gradient of the loss (minus the objective, see above) of one mini-batch to the model's parameters.

    The model is used as it is: its dropout, where it has any, must be off.

    Args:
        samples: the mini-batch.
        temperature: that the responses were drawn at.
        max_tokens: of a response, ``sampling.max_tokens``; the divisor of ``dr_grpo``.
        tokens_per_micro_batch: bound of what goes through the model at once, padding included; None: everything. The
            gradient is that of the whole mini-batch either way, but for rounding.

    Raises:
        ValueError: when a sample is empty or its arrays do not fit it, or has no ``base_logprob_T`` that is needed.
    """
    check_samples(samples, temperature, needs_base=settings.kl_coefficient > 0)
    coefficient_B = token_coefficients([len(sample.response_ids) for sample in samples], settings.loss, max_tokens)
    sums = np.zeros(3)
    entropy_B = np.empty(len(samples))
    for part in cut([sample.n_tokens for sample in samples], 1, tokens_per_micro_batch):
        chosen = [samples[i] for i in part]
        found, entropy_B[part] = _backward(model, chosen, coefficient_B[part], settings, temperature, pad_id)
        sums += found
    counts_B = np.array([len(sample.response_ids) for sample in samples])
    return ObjectiveNumbers(
        loss=float(sums[0]),
        kl_nats=float(sums[1] / counts_B.sum()),
        entropy_nats=float(entropy_B @ counts_B / counts_B.sum()),
        clip_fraction=float(sums[2] / counts_B.sum()),
        tokens=sum(sample.n_tokens for sample in samples),
        entropy_B=entropy_B,
    )


def _backward(
    model: Any,
    samples: Sequence[PolicySample],
    coefficient_B: np.ndarray,
    settings: Exploration,
    temperature: float,
    pad_id: int,
) -> tuple[list[float], np.ndarray]:
    """One micro-batch: its sums of loss, k3 estimates and clipped tokens, and mean token entropies [B].

    A function of its own, so that nothing of it is in memory when the next one is computed.
    """
    import torch

    counts = [len(sample.response_ids) for sample in samples]
    pairs = [(sample.prompt_ids, sample.response_ids) for sample in samples]
    logits_LV, tokens_L = response_logits(
        model, pairs, temperature=temperature, pad_id=pad_id, precision=settings.precision
    )
    logprob_L = logprobs(logits_LV, tokens_L)
    entropy_L = entropies(logits_LV, with_gradient=settings.bonus.entropy_weight != 0)
    loss_L, kl_L, clipped_L = token_losses(logprob_L, entropy_L, samples, settings)
    loss = (loss_L * _tensor(np.repeat(coefficient_B, counts), logprob_L)).sum()
    loss.backward()
    sums = torch.stack([loss.detach(), kl_L.sum(), clipped_L.to(kl_L).sum()]).tolist()
    return sums, _means(entropy_L, counts)


def token_losses(
    logprob_L: Any, entropy_L: Any, samples: Sequence[PolicySample], settings: Exploration
) -> tuple[Any, Any, Any]:
    """L_t of the L response tokens of ``samples``, one after the other, with its gradient.

    Args:
        logprob_L: natural-log probabilities under the policy.
        entropy_L: entropies of its next-token distributions, nats.

    Returns:
        L_t; the k3 estimates without a gradient, NaN for samples without ``base_logprob_T``; whether the ratio is
        clipped on the side that its weight pulls to.
    """
    import torch

    now_L = logprob_L.detach()
    weight_L = _tensor(np.concatenate([sample.weight_T for sample in samples]), logprob_L)
    old_L = _given(samples, "old_logprob_T", now_L, otherwise=now_L)
    base_L = _given(samples, "base_logprob_T", now_L, otherwise=torch.full_like(now_L, float("nan")))
    ratio_L = (logprob_L - old_L).exp()
    low, high = 1 - settings.clip_low, 1 + settings.clip_high
    loss_L = -torch.minimum(ratio_L * weight_L, ratio_L.clamp(low, high) * weight_L)
    difference_L = base_L - logprob_L
    kl_L = difference_L.exp() - difference_L - 1
    if settings.kl_coefficient:
        loss_L = loss_L + settings.kl_coefficient * kl_L
    if settings.bonus.entropy_weight:
        loss_L = loss_L - settings.bonus.entropy_weight * entropy_L
    clipped_L = ((ratio_L > high) & (weight_L > 0)) | ((ratio_L < low) & (weight_L < 0))
    return loss_L, kl_L.detach(), clipped_L


def token_logprobs(
    model: Any,
    samples: Sequence[PolicySample],
    *,
    temperature: float,
    pad_id: int,
    precision: str,
    tokens_per_micro_batch: int | None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Natural-log probabilities of the response tokens at ``temperature``, without a gradient or dropout.

    Returns:
        float64 [T] of each sample, in the order given; mean token entropy of each, nats, float64 [B].

    Raises:
        ValueError: when a sample is empty or its arrays do not fit it.
    """
    import torch

    check_samples(samples, temperature, needs_base=False)
    found: list[np.ndarray] = [np.empty(0)] * len(samples)
    entropy_B = np.empty(len(samples))
    with torch.no_grad(), in_use(model):
        for part in cut([sample.n_tokens for sample in samples], 1, tokens_per_micro_batch):
            chosen = [samples[i] for i in part]
            counts = [len(sample.response_ids) for sample in chosen]
            pairs = [(sample.prompt_ids, sample.response_ids) for sample in chosen]
            logits_LV, tokens_L = response_logits(
                model, pairs, temperature=temperature, pad_id=pad_id, precision=precision
            )
            logprob_L = logprobs(logits_LV, tokens_L).cpu().double().numpy()
            for i, one in zip(part, np.split(logprob_L, np.cumsum(counts)[:-1]), strict=True):
                found[i] = one
            entropy_B[part] = _means(entropies(logits_LV, with_gradient=False), counts)
    return found, entropy_B


def _given(samples: Sequence[PolicySample], name: str, like: Any, otherwise: Any) -> Any:
    """An optional array of every sample, one after the other [L], and ``otherwise`` where a sample has none."""
    import torch

    arrays = [getattr(sample, name) for sample in samples]
    counts = [len(sample.response_ids) for sample in samples]
    values = np.concatenate([np.zeros(n) if one is None else one for one, n in zip(arrays, counts, strict=True)])
    known_L = torch.from_numpy(np.repeat([one is not None for one in arrays], counts)).to(like.device)
    return torch.where(known_L, _tensor(values, like), otherwise)


def _means(values_L: Any, counts: Sequence[int]) -> np.ndarray:
    """Mean of each sample's values, float64 [B]."""
    values = values_L.detach().cpu().double().numpy()
    starts = np.cumsum([0, *counts[:-1]])
    return np.add.reduceat(values, starts) / np.asarray(counts)


def _tensor(values: np.ndarray, like: Any) -> Any:
    """On the device and of the type of ``like``."""
    import torch

    return torch.as_tensor(np.asarray(values), dtype=like.dtype).to(like.device)
