"""The training loop of every method: batches by seed, validation, early stop, checkpoints that resume to the bit.

The examples of an optimiser step are a function of (seed, step), so a run that was killed resumes from its
last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.errors import ModelError
from ops.progress import Progress
from ops.training.base import TrainingMethod
from ops.training.batches import count_steps, examples_of_step, validation_steps
from ops.training.checkpoint import (
    BEST,
    RNG,
    load_checkpoint,
    load_part,
    random_states,
    restore_random_states,
    save_checkpoint,
    trained,
)
from ops.training.loss import TokenDocument, check_precision, weighted_backward
from ops.training.progress_rows import MAX_ROWS, TrainingState, with_kept
from ops.training.schedule import learning_rate_at

CHECKPOINT_STEPS = 50
REPLAY_MICRO_BATCHES = 2
Replay = Callable[[int, int], Sequence[TokenDocument]]
"""(step, count) -> documents to replay."""


@dataclass(frozen=True)
class Objective:
    """What a method minimises.

    Attributes:
        n_examples: that are trained on.
        backward: adds ``scale`` times the gradient of the mean loss of the examples with these indices;
            (loss without the scale, tokens).
        validate: (mean loss of the held-out examples, tokens).
        validation_problems: held out; 0: ``validate`` is not called.
        forward_tokens: read without a gradient before the first step.
    """

    n_examples: int
    backward: Callable[[Sequence[int], float], tuple[float, int]]
    validate: Callable[[], tuple[float, int]]
    validation_problems: int
    forward_tokens: int = 0


@dataclass(frozen=True)
class FinetuneResult:
    """What training came to.

    Attributes:
        tokens: seen, replayed ones included.
        steps: optimiser steps done.
        final_loss: mean loss of the last epoch's steps (nats per response token; of DPO nats per pair).
        forward_tokens: read without a gradient: for validation, and by the reference of DPO.
        kept_step: optimiser steps after which the weights were what they are now.
        rows: of the table ``training_steps``.
    """

    tokens: int
    steps: int
    final_loss: float
    forward_tokens: int = 0
    kept_step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


def train(
    model: Any,
    objective: Objective,
    settings: TrainingMethod,
    *,
    replay: Replay | None,
    pad_id: int,
    work: Path,
    progress: Progress,
    label: str,
) -> FinetuneResult:
    """Train ``model`` in place; checkpoints go to ``work`` and are resumed from there.

    Raises:
        ModelError: when the loss is no longer finite, or the device or the model does not fit the settings.
    """
    check_precision(model.device.type, settings.precision)
    adapted = None
    if settings.lora is not None:
        from ops.training.lora import add_adapters

        adapted = add_adapters(model, settings.lora, label)
    if settings.activation_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    run = _Run(model, objective, settings, replay, pad_id, work, progress, label)
    result = run.to_the_end()
    if settings.activation_checkpointing:
        model.gradient_checkpointing_disable()
    if adapted is not None:
        from ops.training.lora import merge_adapters

        merge_adapters(adapted)
    return result


class _Run:
    """One training run from its last checkpoint on."""

    def __init__(
        self,
        model: Any,
        objective: Objective,
        settings: TrainingMethod,
        replay: Replay | None,
        pad_id: int,
        work: Path,
        progress: Progress,
        label: str,
    ) -> None:
        import torch

        self.model, self.objective, self.settings, self.replay = model, objective, settings, replay
        self.pad_id, self.work, self.progress, self.label = pad_id, work, progress, label
        self.steps, self.own, self.replayed = count_steps(objective.n_examples, settings)
        self.share = self.replayed / (self.own + self.replayed)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.measured = frozenset[int]()
        if objective.validation_problems:
            self.measured = validation_steps(self.steps, self.own, objective.n_examples, settings)
        self.first, self.state, self.best = self._restored()

    def _restored(self) -> tuple[int, TrainingState, dict[str, Any]]:
        """Step, state and best weights of the last checkpoint, or of the beginning."""
        restored = load_checkpoint(self.work, self.model, {"adamw": self.optimizer})
        if restored is None:
            return 0, TrainingState(), {}
        restore_random_states(load_part(self.work, RNG))
        return restored[0], TrainingState(**restored[1]), load_part(self.work, BEST)

    def to_the_end(self) -> FinetuneResult:
        """Every step that is left, or as many as the validation loss allows."""
        self.model.train()
        step, patience = self.first, self.settings.patience
        while step < self.steps:
            loss, rate = self._step(step)
            step += 1
            validation = self._validate(step) if step in self.measured else None
            stopped = patience is not None and self.state.waited >= patience
            if validation or stopped or step == self.steps or step % max(1, self.steps // MAX_ROWS) == 0:
                self.state.add_row(step, step * self.own / self.objective.n_examples, rate, validation)
            numbers = {"loss": loss} | ({"validation_loss": validation[0]} if validation else {})
            self.progress(self.label, step, self.steps, numbers)
            if stopped:
                break
            if step % CHECKPOINT_STEPS == 0 and step < self.steps:
                self._save(step)
        return self._result(step)

    def _step(self, step: int) -> tuple[float, float]:
        """One optimiser step; its loss and learning rate."""
        import torch

        settings = self.settings
        rate = learning_rate_at(step, self.steps, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        chosen = examples_of_step(step, self.own, self.objective.n_examples, settings.seed)
        loss, tokens = self.objective.backward(chosen, 1.0 - self.share)
        if self.replay is not None and self.replayed:
            again = self.replay(step, self.replayed)
            weighted_backward(
                self.model,
                again,
                pad_id=self.pad_id,
                micro_batches=REPLAY_MICRO_BATCHES,
                scale=self.share,
                max_tokens=settings.tokens_per_micro_batch,
                precision=settings.precision,
            )
            tokens += sum(len(document.ids) for document in again)
        if not math.isfinite(loss):
            raise ModelError(self.label, f"the loss is {loss} at step {step}", remedy="lower training.learning_rate")
        torch.nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm)
        self.optimizer.step()
        self.state.add_step(loss, tokens, max(1, self.steps // settings.epochs))
        return loss, rate

    def _validate(self, step: int) -> tuple[float, int]:
        """The validation loss and its number of problems; the best weights are kept where the run may stop early."""
        loss, tokens = self.objective.validate()
        if not math.isfinite(loss):
            problem = f"the validation loss is {loss} after step {step}"
            raise ModelError(self.label, problem, remedy="lower training.learning_rate")
        self.state.forward_tokens += tokens
        if self.state.add_validation(step, loss) and self.settings.patience is not None:
            self.best = {name: value.clone() for name, value in trained(self.model).items()}
        return loss, self.objective.validation_problems

    def _save(self, step: int) -> None:
        save_checkpoint(
            self.work,
            step,
            self.model,
            {"adamw": self.optimizer},
            self.state.as_json(),
            best=self.best,
            generators=random_states(self.model.device.type),
        )

    def _result(self, step: int) -> FinetuneResult:
        """The best weights put into the model where they are wanted, and what training came to."""
        import torch

        state, kept = self.state, step
        if self.best and state.best_step is not None:
            kept = state.best_step
            with torch.no_grad():
                for name, value in trained(self.model).items():
                    value.copy_(self.best[name])
        final_loss = sum(state.losses) / len(state.losses)
        forward_tokens = state.forward_tokens + self.objective.forward_tokens
        return FinetuneResult(state.tokens, step, final_loss, forward_tokens, kept, with_kept(state.rows, kept))
