"""Which problems a step asks, and with which seeds: functions of (seed, step) alone, so a resumed run repeats them.

Neither knows the reward, the advantage or the bonus: arms with the same seed are asked the same problems, with the same
random numbers, until their policies differ.
"""

from __future__ import annotations

import random

from ops.identity import seed_of


def problems_of_step(step: int, per_step: int, n_problems: int, seed: int) -> list[int]:
    """Indices of the ``per_step`` different problems of one step.

    Epochs are seeded permutations, each cut into as many whole steps as it has; what is left over of one is left out
    of it, so that no step asks a problem twice.

    Raises:
        ValueError: when there are fewer problems than a step asks.
    """
    per_epoch = n_problems // per_step
    if per_epoch == 0:
        raise ValueError(f"{n_problems} problems, and a step asks {per_step}")
    epoch, place = divmod(step, per_epoch)
    order = list(range(n_problems))
    random.Random(f"exploration:{seed}:{epoch}").shuffle(order)
    return order[place * per_step : (place + 1) * per_step]


def rollout_seeds(seed: int, step: int, problem_id: str, n: int) -> tuple[int, ...]:
    """A seed for each response of one problem's group."""
    return tuple(seed_of(f"{seed}\0{step}\0{problem_id}\0{i}", "rollout") for i in range(n))


def mini_batches_of(n: int, parts: int, seed: int, step: int, one_pass: int) -> list[list[int]]:
    """The responses 0..n-1 of a step in ``parts`` mini-batches of nearly the same size.

    One mini-batch holds them in their order; several hold them at random, anew in every pass.
    """
    order = list(range(n))
    if parts > 1:
        random.Random(f"mini-batches:{seed}:{step}:{one_pass}").shuffle(order)
    return [order[n * i // parts : n * (i + 1) // parts] for i in range(parts)]
