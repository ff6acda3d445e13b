"""What an experiment says of reinforcement learning, under ``exploration``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ops.exploration.advantages import ADVANTAGES
from ops.exploration.bonuses import BONUSES
from ops.exploration.rewards import REWARDS
from ops.variants import Seed, Strict, union


class Exploration(Strict):
    """Policy gradient on verifiable answers (GRPO, 2402.03300) with a bonus (2509.06941).

    At every step ``responses_per_problem`` responses are drawn to each of ``problems_per_step`` training problems;
    ``reward`` and ``advantage`` say what each response is worth, ``bonus`` what is added for its answer.

    ``kl_coefficient``: beta of the KL divergence to the base model (k3 estimator, per token); 0 loads no base model.
    ``clip_low``, ``clip_high``: the ratio of probabilities is clipped to [1 - clip_low, 1 + clip_high].
    ``loss``: how token terms are averaged: over each response, then over responses (grpo); over all tokens of the
    mini-batch (dapo); summed and divided by responses times ``sampling.max_tokens`` (dr_grpo, 2503.20783).
    ``mini_batches``: optimiser steps on each step's responses, each on its own part of them; ``passes``: how often.
    ``schedule``: of the learning rate after the warm-up, towards 0 (linear, cosine) or as it is (constant).
    ``snapshots``: evenly spaced steps, the last one included, whose weights are kept and evaluated.
    ``precision``: of the forward pass; weights, gradients and optimiser are float32.
    ``tokens_per_micro_batch``, ``activation_checkpointing``: bound the memory of a step (None: the whole mini-batch of
    a built-in model, 4,096 tokens of any other).
    """

    steps: int = Field(100, ge=1)
    problems_per_step: int = Field(32, ge=1)
    responses_per_problem: int = Field(16, ge=2)
    reward: union(REWARDS) = REWARDS["verifiable"]()  # type: ignore[valid-type]
    advantage: union(ADVANTAGES) = ADVANTAGES["group_normalised"]()  # type: ignore[valid-type]
    bonus: union(BONUSES) = BONUSES["none"]()  # type: ignore[valid-type]
    kl_coefficient: float = Field(0.0, ge=0.0)
    clip_low: float = Field(0.2, gt=0.0, lt=1.0)
    clip_high: float = Field(0.2, gt=0.0)
    loss: Literal["grpo", "dapo", "dr_grpo"] = "grpo"
    mini_batches: int = Field(1, ge=1)
    passes: int = Field(1, ge=1)
    learning_rate: float = Field(gt=0.0, le=1.0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0.0)
    clip_norm: float = Field(1.0, gt=0.0)
    precision: Literal["float32", "bfloat16"] = "float32"
    tokens_per_micro_batch: int | None = Field(None, ge=1)
    activation_checkpointing: bool = False
    snapshots: int = Field(4, ge=1)
    seed: Seed = 0
    lora: ClassVar[None] = None
    """All weights are trained."""
    version: ClassVar[str] = "1"
    run_fields: ClassVar[frozenset[str]] = frozenset({"tokens_per_micro_batch", "activation_checkpointing"})
    """Fields that say how it runs: they change how sums are rounded, and nothing else."""

    @model_validator(mode="after")
    def _sizes(self) -> Exploration:
        if self.snapshots > self.steps:
            raise ValueError(f"snapshots: at most steps ({self.steps}), got {self.snapshots}")
        if self.mini_batches > self.problems_per_step * self.responses_per_problem:
            most = self.problems_per_step * self.responses_per_problem
            raise ValueError(f"mini_batches: at most the responses of a step ({most}), got {self.mini_batches}")
        if self.advantage.needs_binary and not self.reward.is_binary:
            raise ValueError(
                f"reward.name: one whose rewards are 0 and 1 (verifiable) with advantage {self.advantage.name}, "
                f"got {self.reward.name}"
            )
        try:
            self.advantage.check(self.responses_per_problem)
        except ValueError as error:
            raise ValueError(f"advantage.{error}") from None
        return self

    def identity(self) -> Mapping[str, Any]:
        """What decides the trained policy and everything that it draws on the way."""
        parts = {"reward": self.reward, "advantage": self.advantage, "bonus": self.bonus}
        versions = {name: type(part).version for name, part in parts.items()}
        return {**self.model_dump(mode="python", exclude=set(self.run_fields)), "versions": versions}

    @property
    def snapshot_steps(self) -> tuple[int, ...]:
        """Optimised steps after which weights are kept: rising, the last one is ``steps``."""
        return tuple(round(self.steps * i / self.snapshots) for i in range(1, self.snapshots + 1))

    @property
    def optimizer_steps(self) -> int:
        """Of the whole training."""
        return self.steps * self.mini_batches * self.passes
