"""Which examples an optimiser step takes, and after which steps the validation loss is measured."""

from __future__ import annotations

import math
import random

from ops.training.base import TrainingMethod


def count_steps(n_examples: int, settings: TrainingMethod) -> tuple[int, int, int]:
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


def validation_steps(steps: int, own: int, n_examples: int, settings: TrainingMethod) -> frozenset[int]:
    """After how many optimiser steps the validation loss is measured: the last one always."""
    if settings.validation_every_steps is not None:
        return frozenset({*range(settings.validation_every_steps, steps, settings.validation_every_steps), steps})
    return frozenset(math.ceil(epoch * n_examples / own) for epoch in range(1, settings.epochs + 1))
