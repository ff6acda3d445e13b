"""Instances of the outcome-based bandit (2509.06941, section 5), and the world in which learners pull arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

GOOD = 0
"""The class that is worth more, in the instances of ``one_good_outcome``."""
BASE_MEAN = 0.5


@dataclass(frozen=True)
class Instance:
    """K arms in m classes; the reward of an arm is Bernoulli with a mean that depends on its class (outcome) only.

    Attributes:
        sizes: arms of each class [M], each at least 1.
        means: of each class [M], in [0, 1].
    """

    sizes: tuple[int, ...]
    means: tuple[float, ...]

    @property
    def n_arms(self) -> int:
        """K."""
        return sum(self.sizes)

    @property
    def n_outcomes(self) -> int:
        """M."""
        return len(self.sizes)

    @property
    def deltas_m(self) -> np.ndarray:
        """How much worse than the best each class is: float [M]."""
        return max(self.means) - np.array(self.means)


def class_sizes(n_arms: int, n_outcomes: int, kind: Literal["needle", "uniform", "zipf"]) -> tuple[int, ...]:
    """Arms of each class, the good one first: integers of at least 1 that add up to ``n_arms``.

    ``needle``: 1, the others evenly; ``uniform``: evenly; ``zipf``: in proportion to 1/rank, the good class being the
    last in rank. What does not divide evenly goes to the largest remainders, in the order of the classes.
    """
    if kind == "needle":
        return (1, *_apportioned(n_arms - 1, np.ones(n_outcomes - 1)))
    if kind == "uniform":
        return _apportioned(n_arms, np.ones(n_outcomes))
    return _apportioned(n_arms, 1.0 / np.array([n_outcomes, *range(1, n_outcomes)]))


def _apportioned(n_arms: int, weight_m: np.ndarray) -> tuple[int, ...]:
    """One arm for every class, the rest by weight (largest remainders)."""
    rest = n_arms - len(weight_m)
    share_m = rest * weight_m / weight_m.sum()
    floor_m = np.floor(share_m).astype(int)
    extra = np.argsort(floor_m - share_m, kind="stable")[: rest - floor_m.sum()]
    floor_m[extra] += 1
    return tuple(int(size) + 1 for size in floor_m)


def one_good_outcome(sizes: Sequence[int], gap: float) -> Instance:
    """Class 0 has the mean .5 + ``gap``, every other .5."""
    return Instance(tuple(sizes), (BASE_MEAN + gap, *[BASE_MEAN] * (len(sizes) - 1)))


class World:
    """Runs of instances with the same classes, side by side: arrays of rows, a row per (instance, run).

    Every run has random numbers of its own, made from (seed, run) alone: first the labels of its outcomes and the
    places of its arms, then two for each pull. So a run is the same whatever it is simulated beside, and the same run
    of two instances, or of two algorithms, sees the same numbers. Labels and places are in random order because
    learners break ties by taking the first.
    """

    def __init__(self, instances: Sequence[Instance], runs: Sequence[int], seed: int) -> None:
        """
        Raises:
            ValueError: the instances have different classes.
        """
        first = instances[0]
        if any(instance.sizes != first.sizes for instance in instances):
            raise ValueError("instances of one world have the same classes")
        self.n_arms, self.n_outcomes, self.n_rows = first.n_arms, first.n_outcomes, len(instances) * len(runs)
        self._generators = [np.random.default_rng([seed, run]) for run in runs]
        self._repeats = len(instances)
        labels = np.stack([generator.permutation(first.n_outcomes) for generator in self._generators])
        place_of_arm = np.repeat(np.arange(first.n_outcomes), first.sizes)
        classes = np.stack([generator.permutation(place_of_arm) for generator in self._generators])
        outcomes = np.take_along_axis(labels, classes, axis=1)
        self._outcome_of_arm = np.tile(outcomes, (self._repeats, 1))
        order = np.argsort(outcomes, axis=1, kind="stable")
        self._arms_by_outcome = np.tile(order, (self._repeats, 1))
        sizes = np.empty_like(labels)
        np.put_along_axis(sizes, labels, np.array(first.sizes)[None, :].repeat(len(labels), 0), axis=1)
        self._sizes = np.tile(sizes, (self._repeats, 1))
        self._starts = np.cumsum(self._sizes, axis=1) - self._sizes
        means = np.empty((self._repeats, *labels.shape))
        for g, instance in enumerate(instances):
            np.put_along_axis(means[g], labels, np.array(instance.means)[None, :].repeat(len(labels), 0), axis=1)
        self._means = means.reshape(self.n_rows, -1)
        self._deltas = self._means.max(axis=1, keepdims=True) - self._means
        self._rows = np.arange(self.n_rows)

    def uniforms(self, rounds: int) -> np.ndarray:
        """The next random numbers of every row: [rounds, 2, rows]; how many are taken at once changes none of them."""
        drawn = np.stack([generator.random((rounds, 2)) for generator in self._generators], axis=2)
        return np.tile(drawn, (1, 1, self._repeats))

    def arm_of(self, outcome: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """An arm of the named outcome, each equally likely: nature's draw under assumption G."""
        size = self._sizes[self._rows, outcome]
        return self._arms_by_outcome[self._rows, self._starts[self._rows, outcome] + (uniform * size).astype(np.int64)]

    def pull(self, arm: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(outcome, reward 0 or 1, loss of expected reward against the best arm) of one pull in every row."""
        outcome = self._outcome_of_arm[self._rows, arm]
        reward = (uniform < self._means[self._rows, outcome]).astype(np.float64)
        return outcome, reward, self._deltas[self._rows, outcome]
