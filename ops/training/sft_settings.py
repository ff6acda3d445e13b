"""Settings of filtered supervised fine-tuning (rejection-sampling fine-tuning, 2412.02674 §2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from ops.training.base import TrainingMethod


class FilteredSft(TrainingMethod):
    """Fine-tune on the kept responses, loss on the response only."""

    name: Literal["sft"] = "sft"
    version: ClassVar[str] = "1"
