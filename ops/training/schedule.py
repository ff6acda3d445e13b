"""The learning rate of a step, and the problems that are held out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Literal, Protocol

from ops.errors import DatasetError


class Scheduled(Protocol):
    """Settings with a schedule of the learning rate."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def schedule(self) -> Literal["linear", "cosine", "constant"]: ...


def learning_rate_at(step: int, steps: int, settings: Scheduled) -> float:
    """Of optimiser step 0..steps-1: a linear warm-up, times the schedule's share of the largest learning rate."""
    warm = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
    match settings.schedule:
        case "linear":
            return warm * (steps - step) / steps
        case "cosine":
            return warm * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        case "constant":
            return warm


def held_out_problems(problem_ids: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """The ``fraction`` of the problems (at least one, and not all) whose examples are for validation.

    Those with the smallest hash of (seed, problem), so that a problem is held out in nearly all arms or in none.

    Raises:
        DatasetError: when there is one problem only.
    """
    if fraction == 0.0:
        return frozenset()
    ranked = sorted(set(problem_ids), key=lambda problem: _rank(problem, seed))
    if len(ranked) < 2:
        raise DatasetError(
            "finetune_data",
            f"{len(ranked)} problem has examples, and validation needs one of its own",
            field="training.validation_fraction",
            remedy="take more training problems, or validation_fraction: 0",
        )
    return frozenset(ranked[: min(max(1, round(fraction * len(ranked))), len(ranked) - 1)])


def _rank(problem: str, seed: int) -> bytes:
    return hashlib.blake2b(f"validation:{seed}:{problem}".encode(), digest_size=16).digest()
