"""Settings of filtered supervised fine-tuning (rejection-sampling fine-tuning, 2412.02674 §2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ops.variants import Seed, Strict


class FilteredSft(Strict):
    """Fine-tune on the kept responses, loss on the response only.

    ``start_from``: each iteration continues from the previous model, or starts again from the base.
    ``replay_fraction``: share of every batch that replays gold-labelled pretraining documents, so that
    a built-in model does not forget how to verify (0 for any other model).
    ``max_per_problem``: at most so many kept responses of one problem (None: all).
    ``max_examples``: at most so many kept responses in all, drawn at random, so that arms that keep more do not
    train longer (None: all).
    """

    name: Literal["sft"] = "sft"
    start_from: Literal["previous", "base"] = "previous"
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0)
    epochs: int = Field(3, ge=1, le=100)
    batch_size: int = Field(64, ge=1)
    warmup_steps: int = Field(10, ge=0)
    weight_decay: float = Field(0.0, ge=0.0)
    clip_norm: float = Field(1.0, gt=0.0)
    replay_fraction: float = Field(0.0, ge=0.0, lt=1.0)
    max_per_problem: int | None = Field(None, ge=1)
    max_examples: int | None = Field(None, ge=1)
    seed: Seed = 0
    version: ClassVar[str] = "1"
