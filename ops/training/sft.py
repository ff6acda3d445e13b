"""Filtered supervised fine-tuning: the kept responses, loss on the response only, resumable to the bit.

The examples of an optimiser step are a function of (seed, step), so a run that was killed resumes from its
last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.errors import DatasetError, ModelError
from ops.progress import Progress
from ops.training.loss import TokenDocument, weighted_backward
from ops.training.sft_settings import FilteredSft
from ops.types import TrainingExample

CHECKPOINT_STEPS = 50
Replay = Callable[[int, int], Sequence[TokenDocument]]
"""(step, count) -> documents to replay."""


@dataclass(frozen=True)
class FinetuneResult:
    """Tokens seen, optimiser steps, mean loss of the last epoch's steps (nats per response token)."""

    tokens: int
    steps: int
    final_loss: float


def to_document(tokenizer: Any, example: TrainingExample) -> TokenDocument:
    """Prompt and completion as tokens; only the completion is learnt.

    Raises:
        DatasetError: when the completion has no tokens.
    """
    prompt = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
    completion = tokenizer(example.completion, add_special_tokens=False)["input_ids"]
    if not completion:
        raise DatasetError(f"finetune_data {example.problem_id}", "the completion has no tokens", field="completion")
    return TokenDocument([*prompt, *completion], [*[0.0] * len(prompt), *[example.weight] * len(completion)])


def count_steps(n_examples: int, settings: FilteredSft) -> tuple[int, int, int]:
    """(optimiser steps, examples per step, replayed documents per step)."""
    replayed = round(settings.batch_size * settings.replay_fraction)
    own = max(1, settings.batch_size - replayed)
    return math.ceil(settings.epochs * n_examples / own), own, replayed


def examples_of_step(step: int, own: int, n_examples: int, seed: int) -> list[int]:
    """Indices of the examples of one step: epochs are seeded permutations laid end to end."""
    chosen = []
    for position in range(step * own, (step + 1) * own):
        epoch, place = divmod(position, n_examples)
        chosen.append(_permutation(epoch, n_examples, seed)[place])
    return chosen


_PERMUTATIONS: dict[tuple[int, int, int], list[int]] = {}


def _permutation(epoch: int, n: int, seed: int) -> list[int]:
    key = (epoch, n, seed)
    if key not in _PERMUTATIONS:
        if len(_PERMUTATIONS) > 8:
            _PERMUTATIONS.clear()
        order = list(range(n))
        random.Random(f"sft:{seed}:{epoch}").shuffle(order)
        _PERMUTATIONS[key] = order
    return _PERMUTATIONS[key]


def finetune(
    model: Any,
    tokenizer: Any,
    examples: Sequence[TrainingExample],
    settings: FilteredSft,
    *,
    replay: Replay | None,
    work: Path,
    progress: Progress,
    label: str,
) -> FinetuneResult:
    """Train ``model`` in place on ``examples``; checkpoints go to ``work`` and are resumed from there.

    Raises:
        DatasetError: when there is nothing to train on.
        ModelError: when the loss is no longer finite.
    """
    import torch

    from ops.training.checkpoint import load_checkpoint, save_checkpoint

    if not examples:
        raise DatasetError("finetune_data", "the filter kept no response", remedy="lower the filter's threshold")
    documents = [to_document(tokenizer, example) for example in examples]
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    steps, own, replayed = count_steps(len(documents), settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    restored = load_checkpoint(work, model, {"adamw": optimizer})
    fresh: dict[str, Any] = {"tokens": 0, "losses": []}
    first, extra = restored if restored else (0, fresh)
    tokens, losses = extra["tokens"], extra["losses"]
    share = replayed / (own + replayed)
    last_epoch = max(1, steps // settings.epochs)
    model.train()
    for step in range(first, steps):
        warmup = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warmup * (steps - step) / steps
        optimizer.zero_grad(set_to_none=True)
        batch = [documents[i] for i in examples_of_step(step, own, len(documents), settings.seed)]
        loss = weighted_backward(model, batch, pad_id=pad_id, micro_batches=1, scale=1.0 - share)
        if replay is not None and replayed:
            again = replay(step, replayed)
            weighted_backward(model, again, pad_id=pad_id, micro_batches=2, scale=share)
            tokens += sum(len(document.ids) for document in again)
        if not math.isfinite(loss):
            raise ModelError(label, f"the loss is {loss} at step {step}", remedy="lower training.learning_rate")
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        tokens += sum(len(document.ids) for document in batch)
        losses = [*losses, loss][-last_epoch:]
        progress(label, step + 1, steps, {"loss": loss})
        if (step + 1) % CHECKPOINT_STEPS == 0 and step + 1 < steps:
            save_checkpoint(work, step + 1, model, {"adamw": optimizer}, {"tokens": tokens, "losses": losses})
    return FinetuneResult(tokens, steps, sum(losses) / len(losses))
