"""The tables of a study of arms: every metric of every arm, and the difference between every pair of arms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from ops.arms_plan import ArmsBench
from ops.reporting.numbers import interval_of
from ops.stages.arm_estimates import (
    OverSeeds,
    combine,
    of_arm,
    paired,
    pooled,
    pooled_difference,
    standard_error,
)
from ops.stages.arm_values import TRAINING_FILTER, Key
from ops.stages.measured import without_nan
from ops.storage.schemas import polars_schema
from ops.types import Interval, StageResult

TAKEN_OVER = ("policy_shift", "selection_metrics")
"""Tables of experiments whose rows are taken over with their intervals: they are not about evaluation problems, or
about few responses of each, so they are paired by seed only."""

SHOWN = ("accuracy", "gap", "pass_at_k")

Cells = dict[str, Any]


def measure_arms(bench: ArmsBench) -> list[StageResult]:
    """Commit ``arm_metrics`` and ``arm_differences`` (CPU).

    Over all seeds there is a row as far as every measured seed of the arm has come; an arm that stopped early, or is
    incomplete, has no rows from there on.

    Raises:
        StorageError: when a table of an experiment is damaged.
    """

    def metrics() -> pl.DataFrame:
        rows = [row for arm in bench.arms for k in range(bench.last + 1) for row in _metric_rows(bench, arm, k)]
        return pl.DataFrame(rows, schema=polars_schema("arm_metrics"))

    def differences() -> pl.DataFrame:
        pairs = itertools.combinations(bench.arms, 2)
        rows = [row for a, b in pairs for k in range(bench.last_of(a, b) + 1) for row in _differences(bench, a, b, k)]
        return pl.DataFrame(rows, schema=polars_schema("arm_differences"))

    return [
        bench.materialise("arm_metrics", "arm_metrics", metrics, _shown),
        bench.materialise("arm_differences", "arm_differences", differences, lambda frame: {"rows": frame.height}),
    ]


def _shown(frame: pl.DataFrame) -> dict[str, Any]:
    """Of every arm at its last iteration: accuracy, gap of the training filter, pass@k at the largest k."""
    numbers: dict[str, Any] = {"rows": frame.height}
    of_interest = pl.col("seed").is_null() & pl.col("metric").is_in(SHOWN)
    own = pl.col("rule").is_null() | (pl.col("rule") == TRAINING_FILTER)
    for (arm,), part in frame.filter(of_interest & own).group_by("arm", maintain_order=True):
        last = part.filter(pl.col("arm_iteration") == pl.col("arm_iteration").max())
        largest_k = last["k"].max()
        for row in last.iter_rows(named=True):
            if row["k"] in (None, largest_k):
                name = f"{arm}_{row['metric'].removesuffix('_k')}" + ("" if row["k"] is None else f"_{row['k']}")
                numbers |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return numbers


def _metric_rows(bench: ArmsBench, arm: str, iteration: int) -> Iterator[Cells]:
    """One row per seed and metric, then one over all seeds where all have come so far."""
    by_seed = of_arm(bench, arm, iteration)
    if not by_seed:
        return
    place = {"arm": arm, "arm_iteration": iteration}
    is_whole = iteration <= bench.last_of(arm)
    every = combine(bench, by_seed) | pooled(bench, arm, iteration) | _taken_over(bench, arm, iteration)
    for key, found in every.items():
        yield from rows_of_seeds({**place, **dict(zip(("metric", "k", "rule"), key, strict=True))}, found, is_whole)


def rows_of_seeds(about: Mapping[str, Any], found: OverSeeds, is_whole: bool = True) -> Iterator[Cells]:
    """A row for every seed, then one over all of them, unless the arm is not as far with all its seeds."""
    for seed, item in found.by_seed.items():
        value = {"value": item.value, "low": item.low, "high": item.high}
        yield without_nan({**about, "seed": seed, "n_seeds": 1, **value, "standard_error": None})
    if is_whole and found.by_seed:
        yield without_nan({**about, "seed": None, **over_cells(found)})


def over_cells(found: OverSeeds) -> Cells:
    """What stands in a row over all seeds."""
    item = found.interval
    return {
        "n_seeds": found.n_seeds,
        "value": item.value,
        "low": item.low,
        "high": item.high,
        "standard_error": found.standard_error,
    }


def _differences(bench: ArmsBench, a: str, b: str, iteration: int) -> Iterator[Cells]:
    """Every metric of a minus that of b, paired by seed and problem."""
    about = {"arm_a": a, "arm_b": b, "arm_iteration": iteration}
    by_seed = paired(bench, {(a, iteration): 1.0, (b, iteration): -1.0})
    by_problem = combine(bench, by_seed) | pooled_difference(bench, a, b, iteration)
    found: dict[Key, tuple[OverSeeds, int | None]] = {key: (item, item.n_problems) for key, item in by_problem.items()}
    first, second = (_taken_over(bench, arm, iteration) for arm in (a, b))
    for key in first:
        if key in second:
            found[key] = (_unpaired(first[key], second[key]), None)
    for (metric, k, rule), (item, n_problems) in found.items():
        if item.by_seed:
            cells = {**about, "metric": metric, "k": k, "rule": rule, **over_cells(item), "n_problems": n_problems}
            yield without_nan(cells)


def _taken_over(bench: ArmsBench, arm: str, iteration: int) -> dict[Key, OverSeeds]:
    """Rows of ``TAKEN_OVER`` by metric: of each seed with its interval; over seeds mean and standard error only."""
    found: dict[Key, dict[int, Interval]] = {}
    for seed, name in bench.seeds_of(arm).items():
        for table in TAKEN_OVER if iteration < bench.measured[name] else ():
            for row in _table(bench, name, table, iteration):
                if row["value"] is not None:
                    found.setdefault((row["metric"], None, None), {})[seed] = interval_of(row)
    return {key: mean_of_seeds(by_seed) for key, by_seed in found.items()}


def _table(bench: ArmsBench, name: str, table: str, iteration: int) -> list[Cells]:
    rows: dict[tuple[str, str, int], list[Cells]] = bench.cache.setdefault("rows", {})
    place = (name, table, iteration)
    if place not in rows:
        frame = bench.read(name, table, iteration)
        if frame is not None and "split" in frame.columns:
            frame = frame.filter(pl.col("split") == "eval")
        rows[place] = [] if frame is None else frame.rows(named=True)
    return rows[place]


def mean_of_seeds(by_seed: Mapping[int, Interval]) -> OverSeeds:
    """Without an interval over problems, except of a single seed: that one is its own."""
    values = [item.value for item in by_seed.values()]
    only = next(iter(by_seed.values())) if len(by_seed) == 1 else Interval(float(np.mean(values)), math.nan, math.nan)
    return OverSeeds(by_seed, only, standard_error(values), 0)


def _unpaired(first: OverSeeds, second: OverSeeds) -> OverSeeds:
    """First minus second by seed; nothing is known of problems."""
    shared = [seed for seed in first.by_seed if seed in second.by_seed]
    values = {seed: first.by_seed[seed].value - second.by_seed[seed].value for seed in shared}
    nan = math.nan
    mean = float(np.mean(list(values.values()))) if values else nan
    by_seed = {seed: Interval(value, nan, nan) for seed, value in values.items()}
    return OverSeeds(by_seed, Interval(mean, nan, nan), standard_error(list(values.values())), 0)
