"""The tables of a study of exploration: every metric of every arm on every task, and what arms differ by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from ops.exploration_bench import ExplorationBench, TaskBench
from ops.exploration_study import BASE
from ops.reporting.numbers import interval_of
from ops.stages.arm_comparison import Cells, mean_of_seeds, over_cells, rows_of_seeds
from ops.stages.arm_estimates import OverSeeds, combine
from ops.stages.exploration_values import BySeed, both_intervals, minus, of_base, of_policy
from ops.stages.measured import without_nan
from ops.storage.schemas import polars_schema
from ops.types import Interval, StageResult

SAMPLERS = {"policy": "", "base": "_of_base", "policy_minus_base": "_minus_base"}
"""What the name of a metric of ``training_dynamics`` ends with: ``distinct_answers_minus_base``."""

Dynamics = dict[tuple[str, str], OverSeeds]
"""By metric, its ending included, and questions."""


def measure_exploration(bench: ExplorationBench) -> list[StageResult]:
    """Commit ``exploration_metrics`` and ``exploration_differences`` (CPU).

    Raises:
        StorageError: when a table of an experiment is damaged, or responses of its policies are missing.
    """

    def metrics() -> pl.DataFrame:
        rows = [row for task in bench.tasks for row in _metric_rows(task)]
        return pl.DataFrame(rows, schema=polars_schema("exploration_metrics"))

    def differences() -> pl.DataFrame:
        rows = [row for task in bench.tasks for row in _difference_rows(task)]
        return pl.DataFrame(rows, schema=polars_schema("exploration_differences"))

    return [
        bench.materialise("exploration_metrics", "exploration_metrics", metrics, _shown),
        bench.materialise(
            "exploration_differences", "exploration_differences", differences, lambda frame: {"rows": frame.height}
        ),
    ]


def _shown(frame: pl.DataFrame) -> dict[str, Any]:
    """Of the base model and of every trained policy: pass@1 and pass@k at the largest k."""
    numbers: dict[str, Any] = {"rows": frame.height}
    passed = frame.filter((pl.col("metric") == "pass_at_k") & pl.col("seed").is_null())
    for (task, arm), part in passed.group_by("task", "arm", maintain_order=True):
        last = part.filter(pl.col("step") == pl.col("step").max())
        for row in last.filter(pl.col("k").is_in([1, last["k"].max()])).iter_rows(named=True):
            name = f"{task}_{arm}_pass_at_{row['k']}"
            numbers |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return numbers


def _metric_rows(task: TaskBench) -> Iterator[Cells]:
    """Of the base model at step 0, of every arm at its snapshots, and at the last one what its training was like."""
    yield from _evaluated(task, BASE, 0, of_base(task))
    for arm in task.arms:
        for step in task.steps_of(arm):
            yield from _evaluated(task, arm, step, of_policy(task, arm, step))
        for (metric, questions), found in dynamics_of(task, arm).items():
            about = {"task": task.task, "arm": arm, "step": task.steps_of(arm)[-1], "metric": metric, "k": None}
            yield from rows_of_seeds({**about, "questions": questions}, found)


def _evaluated(task: TaskBench, arm: str, step: int, by_seed: BySeed) -> Iterator[Cells]:
    for (metric, k, _), found in combine(task, by_seed).items():
        about = {"task": task.task, "arm": arm, "step": step, "metric": metric, "k": k, "questions": None}
        yield from rows_of_seeds(about, found)


def _difference_rows(task: TaskBench) -> Iterator[Cells]:
    """Of every trained policy minus the base model, and minus the reference arm's."""
    base, reference = of_base(task), task.reference
    for arm in task.arms:
        step = task.steps_of(arm)[-1]
        policy, others = of_policy(task, arm, step), {BASE: base}
        if reference is not None and reference != arm:
            others[reference] = of_policy(task, reference, task.steps_of(reference)[-1])
        for label, other in others.items():
            for (metric, k, _), found in combine(task, minus(policy, other)).items():
                about = {"task": task.task, "arm": arm, "reference": label, "step": step, "metric": metric, "k": k}
                if found.by_seed:
                    seeds = both_intervals(task, found).seeds
                    ends = {"seed_low": seeds.low, "seed_high": seeds.high, "n_problems": found.n_problems}
                    yield without_nan({**about, **over_cells(found), **ends})


def dynamics_of(task: TaskBench, arm: str) -> Dynamics:
    """The last step of ``training_dynamics`` of every seed of an arm; over seeds mean and standard error.

    Each seed has its interval. Over several seeds there is none: which questions count as solved and unsolved is
    another set with every seed, so their training problems cannot be resampled together.
    """
    found: dict[tuple[str, str], dict[int, Interval]] = {}
    for seed, place, row in _last_rows(task, arm):
        found.setdefault(place, {})[seed] = interval_of(row)
    return {place: mean_of_seeds(by_seed) for place, by_seed in found.items()}


def questions_of(task: TaskBench, arm: str, metric: str, questions: str) -> dict[int, int]:
    """How many training questions the last step's ``metric``, ending included, is of, by seed."""
    return {seed: row["n_problems"] for seed, place, row in _last_rows(task, arm) if place == (metric, questions)}


def _last_rows(task: TaskBench, arm: str) -> Iterator[tuple[int, tuple[str, str], Cells]]:
    """Seed, metric with its ending and questions, row: of the last step of ``training_dynamics``, where defined."""
    for seed, name in task.seeds_of(arm).items():
        frame = task.bench.dynamics(name)
        last = [] if frame is None else frame.filter(pl.col("step") == pl.col("step").max()).rows(named=True)
        for row in last:
            if row["value"] is not None:
                yield seed, (row["metric"] + SAMPLERS[row["sampler"]], row["questions"]), row
