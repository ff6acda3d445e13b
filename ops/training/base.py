"""What every training method has: its settings, its identity, the table of its examples, and its objective."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ops.progress import Progress, silent
from ops.selection.base import Filter
from ops.training.lora_settings import Lora
from ops.variants import Seed, Strict

if TYPE_CHECKING:
    from ops.training.objective import Objective

NEEDS_VALIDATION = ("validation_every_steps", "patience")

MICRO_BATCH_TOKENS = 4096
"""Of a model that is not built in, unless the settings say otherwise: with a vocabulary of 150,000 the logits, their
gradient and the softmax take about 8 GB. Built-in models train on whole batches."""


class TrainingMethod(Strict, abc.ABC):
    """Base of training methods. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    ``start_from``: each iteration continues from the previous model, or starts again from the base.
    ``replay_fraction``: share of every batch that replays gold-labelled pretraining documents, so that
    a built-in model does not forget how to verify (0 for any other model).
    ``max_per_problem``: at most so many kept responses of one problem (None: all), so that easy problems do not
    dominate.
    ``max_examples``: at most so many kept responses in all, drawn at random, so that arms that keep more do not
    train longer (None: all).
    ``schedule``: of the learning rate after the warm-up, towards 0 (linear, cosine) or as it is (constant).
    ``validation_fraction``: share of the problems that are held out; their loss is measured after every epoch, or
    every ``validation_every_steps``.
    ``patience``: stop after so many measurements without a smaller validation loss, and keep the weights of the
    smallest (None: train to the end and keep the last).
    ``lora``: train low-rank adapters and merge them at the end (None: all weights).
    ``precision``: of the forward pass; weights, gradients and optimiser are float32.
    ``tokens_per_micro_batch``, ``activation_checkpointing``: bound the memory of a step (None: the whole batch of a
    built-in model, ``MICRO_BATCH_TOKENS`` of any other).
    """

    name: str
    start_from: Literal["previous", "base"] = "previous"
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    epochs: int = Field(3, ge=1, le=100)
    batch_size: int = Field(64, ge=1)
    warmup_steps: int = Field(10, ge=0)
    weight_decay: float = Field(0.0, ge=0.0)
    clip_norm: float = Field(1.0, gt=0.0)
    replay_fraction: float = Field(0.0, ge=0.0, lt=1.0)
    max_per_problem: int | None = Field(None, ge=1)
    max_examples: int | None = Field(None, ge=1)
    validation_fraction: float = Field(0.0, ge=0.0, lt=1.0)
    validation_every_steps: int | None = Field(None, ge=1)
    patience: int | None = Field(None, ge=1)
    lora: Lora | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    tokens_per_micro_batch: int | None = Field(None, ge=1)
    activation_checkpointing: bool = False
    seed: Seed = 0
    version: ClassVar[str]
    examples_table: ClassVar[str] = "finetune_data"
    """The table that the asset ``finetune_data`` writes for this method."""
    examples_columns: ClassVar[tuple[str, ...]] = ("problem_id", "sample_index", "prompt", "completion", "weight")
    """Of that table, what ``objective`` reads."""
    later_fields: ClassVar[frozenset[str]] = frozenset(
        {"schedule", "validation_fraction", "validation_every_steps", "patience", "lora", "precision"}
    )
    """Fields that the first version did not have: at their defaults they do what it did."""
    run_fields: ClassVar[frozenset[str]] = frozenset({"tokens_per_micro_batch", "activation_checkpointing"})
    """Fields that say how it runs, as batch sizes of engines do: they change how sums are rounded, and nothing else
    (with dropout ``tokens_per_micro_batch`` changes what is drawn, and is then part of the identity)."""

    @model_validator(mode="after")
    def _validation_needs_problems(self) -> TrainingMethod:
        for name in NEEDS_VALIDATION:
            if getattr(self, name) is not None and self.validation_fraction == 0.0:
                raise ValueError(f"{name}: nothing where validation_fraction is 0, got {getattr(self, name)}")
        return self

    def identity(self) -> Mapping[str, Any]:
        """What decides the trained weights: every field but ``run_fields``, and but for later ones at their defaults.

        So a field that is added does not make results invalid that were computed before it.
        """
        fields = type(self).model_fields
        only_run = set(self.run_fields)
        if self.lora is not None and self.lora.dropout > 0.0 and self.tokens_per_micro_batch is not None:
            only_run.discard("tokens_per_micro_batch")
        dumped = self.model_dump(mode="python", exclude=only_run)
        return {
            name: value
            for name, value in dumped.items()
            if name not in self.later_fields
            or getattr(self, name) != fields[name].get_default(call_default_factory=True)
        }

    def data_identity(self) -> Mapping[str, Any]:
        """What of the settings decides which examples are trained on."""
        return {"max_per_problem": self.max_per_problem, "max_examples": self.max_examples, "seed": self.seed}

    def check(self, item: Filter) -> None:
        """Refuse what certainly leaves nothing to train on, before anything is sampled.

        Args:
            item: the training filter.

        Raises:
            ValueError: ``field: what was expected``, the field as in the experiment file.
        """

    def bounded(self, *, is_builtin: bool) -> Self:
        """The settings with the micro-batch that they mean for a model of that kind."""
        if is_builtin or self.tokens_per_micro_batch is not None:
            return self
        return self.model_copy(update={"tokens_per_micro_batch": MICRO_BATCH_TOKENS})

    @abc.abstractmethod
    def objective(
        self,
        model: Any,
        tokenizer: Any,
        rows: Iterable[Mapping[str, Any]],
        work: Path,
        progress: Progress = silent,
    ) -> Objective:
        """What is minimised over ``rows`` of ``examples_table``.

        Args:
            model: at its starting weights.
            rows: with ``examples_columns``; read once, one by one.
            work: folder of this training, where what must not be computed again after a kill is kept.
            progress: of what is computed before the first step.

        Raises:
            DatasetError: when there is nothing to train on.
        """
