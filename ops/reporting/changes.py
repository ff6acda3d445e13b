"""From the first to the last iteration: differences paired by problem, with bootstrap intervals over problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ops.config import Experiment
from ops.estimation.bootstrap import mean_interval, resample_counts
from ops.estimation.diversity import hit_probability, powers_of_two
from ops.plan import Plan, asset_name
from ops.reporting.numbers import interval_of
from ops.storage.store import Store
from ops.types import Interval


@dataclass(frozen=True)
class Change:
    """Last minus first iteration on the evaluation split.

    Attributes:
        accuracy: mean over problems of the difference in accuracy.
        pass_at_k: the same of pass@k at ``k``, the number of responses per problem.
    """

    first: int
    last: int
    accuracy: Interval
    k: int
    pass_at_k: Interval


def measure_changes(experiment: Experiment, plan: Plan, store: Store, iterations: Sequence[int]) -> Change | None:
    """The change from the first to the last of ``iterations``, from ``iteration_changes`` where that is measured.

    Otherwise (a run that is going on, results of an earlier version) from the two tables of generations, pass@k at the
    smallest number of responses of any problem. None with fewer than two iterations, or without both.
    """
    if len(iterations) < 2:
        return None
    first, last = iterations[0], iterations[-1]
    return _measured(plan, store, first, last) or _from_generations(experiment, plan, store, first, last)


def _measured(plan: Plan, store: Store, first: int, last: int) -> Change | None:
    """The rows against ``first`` at ``last``; pass@k at the largest k that both have."""
    fingerprint = plan.fingerprints.get(asset_name("iteration_changes", last))
    if fingerprint is None or not store.has("iteration_changes", fingerprint):
        return None
    frame = store.read("iteration_changes", fingerprint)
    # iteration 1 may state its difference to iteration 0 once, as that to the one before
    frame = frame.filter((pl.col("split") == "eval") & (pl.col("from_iteration") == first)).unique(
        ["metric", "k", "rule"], keep="first", maintain_order=True
    )
    accuracy = frame.filter(pl.col("metric") == "accuracy").rows(named=True)
    passed = frame.filter((pl.col("metric") == "pass_at_k") & pl.col("value").is_not_null()).sort("k").rows(named=True)
    if not accuracy or not passed:
        return None
    return Change(first, last, interval_of(accuracy[0]), passed[-1]["k"], interval_of(passed[-1]))


def _from_generations(experiment: Experiment, plan: Plan, store: Store, first: int, last: int) -> Change | None:
    before, after = (_counts(plan, store, k) for k in (first, last))
    if before is None or after is None:
        return None
    both = before.join(after, on="problem_id", how="inner", suffix="_after").sort("problem_id")
    n = min(*both["n"], *both["n_after"])
    k = powers_of_two(n)[-1]
    statistics = experiment.statistics
    counts_RP = resample_counts(both.height, statistics.resamples, statistics.seed)
    accuracy_P = (both["right_after"] / both["n_after"] - both["right"] / both["n"]).to_numpy()
    passed_P = _pass_at_k(both["n_after"], both["right_after"], k) - _pass_at_k(both["n"], both["right"], k)
    return Change(
        first=first,
        last=last,
        accuracy=mean_interval(accuracy_P, counts_RP, statistics.confidence),
        k=k,
        pass_at_k=mean_interval(passed_P, counts_RP, statistics.confidence),
    )


def _counts(plan: Plan, store: Store, iteration: int) -> pl.DataFrame | None:
    """Per evaluation problem: n responses, how many are right."""
    fingerprint = plan.fingerprints[asset_name("generations", iteration)]
    if not store.has("generations", fingerprint):
        return None
    frame = store.read("generations", fingerprint, ["split", "problem_id", "verdict"])
    return (
        frame.filter(pl.col("split") == "eval")
        .group_by("problem_id")
        .agg(n=pl.len(), right=(pl.col("verdict") == "correct").sum())
        .with_columns(pl.col("n", "right").cast(pl.Int64))
    )


def _pass_at_k(n_P: pl.Series, right_P: pl.Series, k: int) -> np.ndarray:
    """1 - C(n - c, k) / C(n, k) of every problem (2509.06941)."""
    return np.array([hit_probability(n, k)[right] for n, right in zip(n_P, right_P, strict=True)])
