"""What every training method has: its settings, its identity, and the table of its examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from ops.variants import Seed, Strict


class TrainingMethod(Strict):
    """Base of training methods. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    ``start_from``: each iteration continues from the previous model, or starts again from the base.
    ``replay_fraction``: share of every batch that replays gold-labelled pretraining documents, so that
    a built-in model does not forget how to verify (0 for any other model).
    ``max_per_problem``: at most so many kept responses of one problem (None: all), so that easy problems do not
    dominate.
    ``max_examples``: at most so many kept responses in all, drawn at random, so that arms that keep more do not
    train longer (None: all).
    """

    name: str
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
    version: ClassVar[str]
    examples_table: ClassVar[str] = "finetune_data"
    """The table that the asset ``finetune_data`` writes for this method."""
    later_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that the first version did not have: at their defaults they do what it did."""

    def identity(self) -> Mapping[str, Any]:
        """What decides the trained weights: every field, but for later ones at their defaults.

        So a field that is added does not make results invalid that were computed before it.
        """
        fields = type(self).model_fields
        dumped = self.model_dump(mode="python")
        return {
            name: value
            for name, value in dumped.items()
            if name not in self.later_fields
            or getattr(self, name) != fields[name].get_default(call_default_factory=True)
        }

    def data_identity(self) -> Mapping[str, Any]:
        """What of the settings decides which examples are trained on."""
        return {"max_per_problem": self.max_per_problem, "max_examples": self.max_examples, "seed": self.seed}
