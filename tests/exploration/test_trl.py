"""GRPO without a bonus is TRL's: loss and gradient of its ``GRPOTrainer`` on fixed rollouts.

Its KL term is taken without the importance weight that it has by default; see ``ops/exploration/objective.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.exploration.advantages import ADVANTAGES
from ops.exploration.objective import PolicySample, policy_backward, token_logprobs
from tests.exploration.groups import group
from tests.exploration.policy_samples import PAD, gradient, perturbed, settings

pytest.importorskip("trl")
TOKENIZER = new_tokenizer()
N, TEMPERATURE, MAX_TOKENS = 4, 0.7, 9
READING = dict(temperature=TEMPERATURE, pad_id=PAD, precision="float32", tokens_per_micro_batch=None)
STEP = dict(temperature=TEMPERATURE, pad_id=PAD, max_tokens=MAX_TOKENS, tokens_per_micro_batch=40)


@dataclass(frozen=True)
class Rollouts:
    """Two groups of four responses: prompts of 5 and 3 tokens, responses of 1 to 9, and their rewards."""

    prompts: list[list[int]]
    responses: list[list[int]]
    rewards: list[float]


def fixed() -> Rollouts:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(4, 30, length).tolist() for length in (5, 3)]
    lengths = (2, 9, 5, 7, 1, 4, 9, 3)
    responses = [[*rng.integers(4, 30, length - 1).tolist(), TOKENIZER.eos_token_id] for length in lengths]
    return Rollouts([prompts[i // N] for i in range(2 * N)], responses, [1, 0, 0, 1, 0.25, 0, 1, 0.5])


@pytest.fixture
def trainer_of(tmp_path: Path, monkeypatch):
    """A real trainer whose rollouts and rewards are the fixed ones; nothing of its loss is replaced."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")  # says that rollout_func may change
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    base, given = tmp_path / "base", fixed()
    new_model("a", 0).save_pretrained(base)

    def make(loss: str, beta: float, iterations: int, scale: str, **more):
        config = GRPOConfig(
            output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
            per_device_train_batch_size=2 * N, num_generations=N, max_completion_length=MAX_TOKENS, beta=beta,
            temperature=TEMPERATURE, loss_type=loss, epsilon=0.1, epsilon_high=0.2, num_iterations=iterations,
            scale_rewards=scale, use_bias_correction_kl=False, **more,
        )  # fmt: skip
        model = perturbed(new_model("a", 0), 1)
        model.config._name_or_path = str(base)  # where it takes the model of the KL divergence from
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda completions, **_: given.rewards,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": "1"}] * 2 * N),
            processing_class=TOKENIZER,
            rollout_func=lambda prompts, trainer: {
                "prompt_ids": given.prompts,
                "completion_ids": given.responses,
                "logprobs": None,
            },
        )
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        return trainer

    return make


def advantages(given: Rollouts, scale: str) -> np.ndarray:
    """[B], by our variant; without scaling the rewards minus their group's mean."""
    reward_GN = np.array(given.rewards).reshape(-1, N)
    if scale == "none":
        return (reward_GN - reward_GN.mean(axis=1, keepdims=True)).ravel()
    variant = ADVANTAGES["group_normalised"]()
    return np.concatenate([variant.of_group(reward_N, group([None] * N)) for reward_N in reward_GN])


@pytest.mark.parametrize("scale", ["group", "none"])
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["grpo", "dapo", "dr_grpo"])
def test_loss_and_gradient_are_trls(trainer_of, loss, beta, iterations, scale):
    """``iterations`` 2: after an update, so that ratios are not 1 and some are clipped."""
    given, trainer = fixed(), trainer_of(loss, beta, iterations, scale)
    weight_B = advantages(given, scale)
    samples = [
        PolicySample(prompt, response, np.full(len(response), weight))
        for prompt, response, weight in zip(given.prompts, given.responses, weight_B, strict=True)
    ]
    inputs = trainer._generate_and_score_completions([{"prompt": "1"}] * 2 * N)
    assert inputs["advantages"].tolist() == pytest.approx(weight_B.tolist(), abs=1e-5)
    assert inputs["completion_mask"].sum(1).tolist() == [len(response) for response in given.responses]
    if iterations > 1:
        assert inputs["old_per_token_logps"] is not None
        old, _ = token_logprobs(trainer.model, samples, **READING)
        samples = [replace(sample, old_logprob_T=one) for sample, one in zip(samples, old, strict=True)]
        perturbed(trainer.model, 2, 0.05)
    if beta:
        of_base, _ = token_logprobs(new_model("a", 0), samples, **READING)
        samples = [replace(sample, base_logprob_T=one) for sample, one in zip(samples, of_base, strict=True)]
    theirs = trainer.compute_loss(trainer.model, inputs)
    theirs.backward()
    expected = gradient(trainer.model)

    chosen = settings(loss=loss, kl_coefficient=beta, clip_low=0.1, clip_high=0.2)
    numbers = policy_backward(trainer.model, samples, chosen, **STEP)
    found = gradient(trainer.model)
    assert abs(expected).max() > 0.05
    assert numbers.loss == pytest.approx(theirs.item(), abs=1e-5)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    metrics = trainer._metrics["train"]
    assert numbers.entropy_nats == pytest.approx(metrics["entropy"][-1], abs=1e-5)
    assert numbers.clip_fraction == pytest.approx(metrics["clip_ratio/region_mean"][-1], abs=1e-6)
    assert (numbers.clip_fraction > 0.1) == (iterations > 1)
    if beta:
        assert numbers.kl_nats == pytest.approx(metrics["kl"][-1], abs=1e-5) and numbers.kl_nats > 0.01


def test_weights_of_tokens_and_the_entropy_term_are_trls(trainer_of):
    """Another weight for each token, as bonus masks make them; TRL averages the entropy as ``dapo`` does."""
    given, trainer = fixed(), trainer_of("dapo", 0.0, 1, "group", entropy_coef=0.3)
    rng = np.random.default_rng(1)
    samples = [
        PolicySample(prompt, response, rng.normal(size=len(response)) * (np.arange(len(response)) != 1))
        for prompt, response in zip(given.prompts, given.responses, strict=True)
    ]
    inputs = trainer._generate_and_score_completions([{"prompt": "1"}] * 2 * N)
    inputs["advantages"] = torch.zeros(inputs["completion_ids"].shape)
    for row, sample in zip(inputs["advantages"], samples, strict=True):
        row[: len(sample.weight_T)] = torch.from_numpy(sample.weight_T)
    theirs = trainer.compute_loss(trainer.model, inputs)
    theirs.backward()
    expected = gradient(trainer.model)
    numbers = policy_backward(trainer.model, samples, settings(loss="dapo", entropy=True), **STEP)
    assert numbers.loss == pytest.approx(theirs.item(), abs=1e-5)
    assert torch.allclose(gradient(trainer.model), expected, rtol=0, atol=1e-5)
