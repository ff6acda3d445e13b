"""The training loop of every method: batches by seed, validation, early stop, checkpoints that resume to the bit.

The examples of an optimiser step are a function of (seed, step), so a run that was killed resumes from its
last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import math
from functools import partial
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
from ops.training.loss import check_precision, weighted_backward
from ops.training.objective import FinetuneResult, Objective, Replay
from ops.training.pretrained import recomputed_activations, without_dropout
from ops.training.progress_rows import MAX_ROWS, TrainingState, with_kept
from ops.training.saves import Saves
from ops.training.schedule import learning_rate_at

REPLAY_MICRO_BATCHES = 2


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
    section: str = "training",
) -> FinetuneResult:
    """Train ``model`` in place; checkpoints go to ``work`` and are resumed from there.

    Dropout of the model's own is switched off: what a token's loss is must not hang on how a batch is cut.

    Args:
        section: of the experiment file, where the settings stand.

    Raises:
        ModelError: when the loss or the gradient is no longer finite, or the device or the model does not fit the
            settings.
    """
    check_precision(model.device.type, settings.precision, section)
    with without_dropout(model):
        adapted = None
        if settings.lora is not None:
            from ops.training.lora import add_adapters

            adapted = add_adapters(model, settings.lora, label)
        with recomputed_activations(model, settings.activation_checkpointing):
            result = _Run(model, objective, settings, replay, pad_id, work, progress, label, section).to_the_end()
        if adapted is not None:
            from ops.training.lora import merge_adapters

            merge_adapters(adapted)
        return result


def check_finite(what: str, value: float, step: int, where: str, section: str = "training") -> None:
    """Before the weights are touched: one such step would ruin them all.

    Args:
        section: of the experiment file, where the settings stand.

    Raises:
        ModelError: names the number and the step.
    """
    if not math.isfinite(value):
        raise ModelError(
            where,
            f"the {what} is {value} at step {step}",
            field=f"{section}.learning_rate",
            remedy=f"lower {section}.learning_rate, or take precision: float32",
        )


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
        section: str,
    ) -> None:
        import torch

        self.model, self.objective, self.settings, self.replay = model, objective, settings, replay
        self.pad_id, self.work, self.progress, self.label, self.section = pad_id, work, progress, label, section
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
        saves = Saves(step)
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
            if step < self.steps and saves.due(step):
                saves.save(step, partial(self._save, step))
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
        check_finite("loss", loss, step, self.label, self.section)
        if self.replay is not None and self.replayed:
            tokens += self._replay(self.replay, step)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm))
        check_finite("norm of the gradient", norm, step, self.label, self.section)
        self.optimizer.step()
        self.state.add_step(loss, tokens, max(1, self.steps // settings.epochs))
        return loss, rate

    def _replay(self, replay: Replay, step: int) -> int:
        """Add the gradient of the replayed documents; their tokens."""
        again = replay(step, self.replayed)
        loss = weighted_backward(
            self.model,
            again,
            pad_id=self.pad_id,
            micro_batches=REPLAY_MICRO_BATCHES,
            scale=self.share,
            max_tokens=self.settings.tokens_per_micro_batch,
            precision=self.settings.precision,
        )
        check_finite("loss of the replayed documents", loss, step, self.label, self.section)
        return sum(len(document.ids) for document in again)

    def _validate(self, step: int) -> tuple[float, int]:
        """The validation loss and its number of problems; the best weights are kept where the run may stop early."""
        loss, tokens = self.objective.validate()
        check_finite("validation loss", loss, step, self.label, self.section)
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
