"""Every number of every policy, problem by problem: what the tables of a study of exploration are estimated from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ops.errors import StorageError
from ops.exploration_bench import TaskBench
from ops.exploration_findings import Both, seed_interval
from ops.stages.arm_estimates import NOTHING, OverSeeds, combine, weighted_sums
from ops.stages.arm_values import Key, Values
from ops.stages.evaluation import policy_values

BySeed = Mapping[int, Values]


def of_policy(task: TaskBench, arm: str, step: int) -> BySeed:
    """Values [P] of an arm's policy after ``step`` steps, on every seed's evaluation problems."""
    return {seed: values_of(task, name, step) for seed, name in task.seeds_of(arm).items()}


def of_base(task: TaskBench) -> BySeed:
    """Of the base model, which all arms of a seed share."""
    return {seed: values_of(task, name, 0) for seed, name in task.first_of_seeds.items()}


def values_of(task: TaskBench, name: str, step: int) -> Values:
    """All metrics of one experiment after ``step`` steps, NaN where a problem has none; read once per model and seed.

    Raises:
        StorageError: when responses are missing, or arms of one seed were asked different problems.
    """
    found: dict[tuple[str, int], Values] = task.cache.setdefault("values", {})
    lab, seed = task.lab(name), task.bench.members[name].seed
    place = (lab.plan.policy_pools[step], seed)
    if place not in found:
        measured = policy_values(lab, step)
        ids = tuple(measured.responses.problem_ids)
        if task.cache.setdefault("problems", {}).setdefault(seed, ids) != ids:
            raise StorageError(
                f"experiment {name}",
                f"its evaluation problems are not those of the other experiments of task {task.task}, seed {seed}",
                remedy=f"run `mindgap run {name}` again",
            )
        values: dict[Key, np.ndarray] = {
            (metric, k, None): value_P for (metric, k), value_P in measured.value_P.items()
        }
        found[place] = values
    return found[place]


def minus(first: BySeed, second: BySeed) -> dict[int, Values]:
    """The difference by seed and problem, of every seed that both have."""
    return weighted_sums([(1.0, first), (-1.0, second)])


def difference(task: TaskBench, arm: str, reference: str | None, key: Key) -> OverSeeds:
    """One metric of an arm's trained policy minus that of another arm, or of the base model; paired."""
    policy = of_policy(task, arm, task.steps_of(arm)[-1])
    other = of_base(task) if reference is None else of_policy(task, reference, task.steps_of(reference)[-1])
    by_seed = weighted_sums([(1.0, policy), (-1.0, other)], {key})
    return combine(task, by_seed).get(key, NOTHING)


def both_intervals(task: TaskBench, found: OverSeeds) -> Both:
    """Over problems, and over the seeds' values."""
    values = [item.value for item in found.by_seed.values()]
    return Both(found.interval, seed_interval(values, task.statistics.confidence))


def shared_ks(task: TaskBench, *arms: str) -> list[int]:
    """Every k, rising, at which pass@k is measured of the base model and of the trained policies of all these arms."""
    shared: set[int] | None = None
    for by_seed in (of_base(task), *(of_policy(task, arm, task.steps_of(arm)[-1]) for arm in arms)):
        for values in by_seed.values():
            ks = {k for metric, k, _ in values if metric == "pass_at_k" and k is not None}
            shared = ks if shared is None else shared & ks
    return sorted(shared or ())
