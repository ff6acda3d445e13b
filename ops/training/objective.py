"""What the loop is given and what it gives back: an objective, documents to replay, and what training came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.training.loss import TokenDocument

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
