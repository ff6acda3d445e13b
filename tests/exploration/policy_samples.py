"""Fixed rollouts and tiny models for the tests of the objective."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ops.builtin.model import new_model
from ops.exploration.bonuses import BONUSES
from ops.exploration.objective import PolicySample, token_logprobs
from ops.exploration.settings import Exploration

PAD = 0
READING = dict(temperature=0.8, pad_id=PAD)


class Entropic(BONUSES["none"]):  # type: ignore[misc]
    """No bonus by outcome, and the policy's entropy with the weight 0.3."""

    @property
    def entropy_weight(self) -> float:
        return 0.3


def settings(*, entropy: bool = False, **fields) -> Exploration:
    made = Exploration(learning_rate=1e-3, **fields)
    return made.model_copy(update={"bonus": Entropic()}) if entropy else made


def perturbed(model, seed: int, size: float = 0.1):
    """``model`` with noise on every parameter, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_((size * noise).to(parameter.dtype))
    return model


def double_model(seed: int, size: float):
    """A built-in model of size a in float64; RMSNorm of transformers computes in float32 whatever its input is."""
    model = perturbed(new_model("a", 0).double(), seed, size)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "LlamaRMSNorm":
                norm = torch.nn.RMSNorm(child.weight.shape[0], eps=child.variance_epsilon, dtype=torch.float64)
                norm.weight = child.weight
                setattr(module, name, norm)
    return model


def rollouts(n: int = 6, seed: int = 0) -> list[PolicySample]:
    """Random tokens, other lengths in each, weights of both signs, some tokens masked."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(n):
        prompt, response = rng.integers(4, 30, 3 + i % 3), rng.integers(4, 30, 2 + (5 * i) % 7)
        weight_T = rng.normal(size=len(response))
        weight_T[-1] = 0.0
        samples.append(PolicySample(prompt.tolist(), response.tolist(), weight_T))
    return samples


def with_logprobs(samples, *, old=None, base=None) -> list[PolicySample]:
    """The samples with the log-probabilities under models."""
    for name, model in (("old_logprob_T", old), ("base_logprob_T", base)):
        if model is not None:
            found, _ = token_logprobs(model, samples, precision="float32", tokens_per_micro_batch=None, **READING)
            samples = [replace(sample, **{name: one}) for sample, one in zip(samples, found, strict=True)]
    return samples


def gradient(model) -> torch.Tensor:
    """Of all parameters, in one row; and none is left behind."""
    found = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    model.zero_grad()
    return found
