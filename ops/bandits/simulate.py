"""The simulation: many runs of one algorithm side by side, and its cumulative pseudo-regret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.bandits.base import Learner
from ops.bandits.instance import Instance, World
from ops.bandits.settings import Bandits

CELLS = 65_536
"""Of an array that is gone through in every round: such arrays stay in the processor's cache."""
MAX_WORLD_CELLS = 4_000_000
ROUNDS_AT_ONCE = 512
"""Random numbers are drawn for so many rounds at a time."""
POINTS = 40


@dataclass(frozen=True)
class Curves:
    """What was measured after ``round_q`` pulls.

    Attributes:
        round_q: int [Q].
        regret: cumulative pseudo-regret, the sum of (best mean - mean of the arm pulled): float [G, R, Q] of G
            instances and R runs.
        distinct: different outcomes seen so far: int [G, R, Q].
    """

    round_q: np.ndarray
    regret: np.ndarray
    distinct: np.ndarray


def log_spaced(rounds: int, points: int = POINTS) -> np.ndarray:
    """At most ``points`` different rounds from 10 to ``rounds``, evenly spaced on a logarithmic axis: int [Q]."""
    return np.unique(np.round(np.geomspace(10, rounds, points)).astype(np.int64))


def simulate(
    kind: type[Learner],
    instances: Sequence[Instance],
    settings: Bandits,
    *,
    round_q: np.ndarray | None = None,
    runs_at_once: int | None = None,
) -> Curves:
    """Simulate ``settings.runs`` runs of every instance, up to the last of the rounds at which to look.

    Args:
        instances: [G], of the same class sizes.
        round_q: when to look, rising, at most ``settings.rounds``; by default ``log_spaced``.
        runs_at_once: how many runs are simulated side by side; the result does not depend on it.
    """
    first = instances[0]
    round_q = log_spaced(settings.rounds) if round_q is None else round_q
    size = runs_at_once or _runs_at_once(kind, first, len(instances))
    parts = [
        _together(kind, instances, range(start, min(start + size, settings.runs)), round_q, settings)
        for start in range(0, settings.runs, size)
    ]
    regret, distinct = (np.concatenate(found, axis=1) for found in zip(*parts, strict=True))
    return Curves(round_q, regret, distinct)


def _runs_at_once(kind: type[Learner], instance: Instance, n_instances: int) -> int:
    width = instance.n_arms if kind.searches_arms else instance.n_outcomes
    rows = min(CELLS // width, MAX_WORLD_CELLS // instance.n_arms)
    return max(rows // n_instances, 1)


def _together(
    kind: type[Learner], instances: Sequence[Instance], runs: range, round_q: np.ndarray, settings: Bandits
) -> tuple[np.ndarray, np.ndarray]:
    """Regret and distinct outcomes of some runs: [G, R, Q] each."""
    world = World(instances, runs, settings.seed)
    learner = kind(world.n_rows, world.n_arms, world.n_outcomes, settings)
    rows = np.arange(world.n_rows)
    lost, seen = np.zeros(world.n_rows), np.zeros((world.n_rows, world.n_outcomes), dtype=bool)
    wanted, regret, distinct = set(round_q.tolist()), [], []
    for pulled in range(int(round_q[-1])):
        place = pulled % ROUNDS_AT_ONCE
        if place == 0:
            uniforms = world.uniforms(ROUNDS_AT_ONCE)
        choice = learner.choose(pulled)
        arm = world.arm_of(choice, uniforms[place, 0]) if kind.names_outcomes else choice
        outcome, reward, loss = world.pull(arm, uniforms[place, 1])
        learner.learn(arm, outcome, reward)
        lost += loss
        seen[rows, outcome] = True
        if pulled + 1 in wanted:
            regret.append(lost.copy())
            distinct.append(seen.sum(axis=1))
    shape = (len(instances), len(runs), len(round_q))
    return np.stack(regret, axis=1).reshape(shape), np.stack(distinct, axis=1).reshape(shape)
