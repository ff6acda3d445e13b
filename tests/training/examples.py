"""Examples and helpers that several tests of training need."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from ops.progress import silent
from ops.training.dpo import PreferencePair
from ops.training.loop import train
from ops.training.objective import FinetuneResult
from ops.training.sft import pad_token
from ops.types import TrainingExample


def solution(j: int) -> str:
    """A completion in the notation of the built-in models."""
    rng = random.Random(j)
    steps = [f"{rng.randint(1, 12)} + {rng.randint(1, 12)} = {rng.randint(2, 24)}" for _ in range(1 + j % 2)]
    return " " + " ; ".join(steps) + " . </s>"


def prompt(j: int) -> str:
    return f"<s> {1 + j % 12} {1 + (j * 5) % 12} {1 + (j * 7) % 12} -> {2 + j % 20} :"


EXAMPLES = [TrainingExample(f"p{j % 10}", j, prompt(j % 10), solution(j)) for j in range(40)]
PAIRS = [PreferencePair(f"p{j % 10}", prompt(j % 10), solution(j), solution(j + 100)) for j in range(40)]


def row_of(example: TrainingExample) -> dict:
    """The row of ``finetune_data``."""
    return {name: getattr(example, name) for name in ("problem_id", "sample_index", "prompt", "completion", "weight")}


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def finetune(model, tokenizer, examples, settings, *, replay=None, work: Path, progress=silent) -> FinetuneResult:
    """What the stage does with its rows."""
    objective = settings.objective(model, tokenizer, map(row_of, examples), work, progress)
    return train(
        model,
        objective,
        settings,
        replay=replay,
        pad_id=pad_token(tokenizer),
        work=work,
        progress=progress,
        label="test",
    )
