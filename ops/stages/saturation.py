"""Saturation: an exponential decay to a limit, fitted to gap, relative gap and accuracy over the iterations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from ops.estimation.bootstrap import mean_draws
from ops.estimation.decay import MIN_ITERATIONS, DecayFit, fit_decay
from ops.estimation.gap import group_sizes, per_problem
from ops.lab import Lab
from ops.reporting.numbers import interval_of
from ops.reporting.words import NOTHING, impossible, interval, number
from ops.stages.chosen import filters_over_iterations
from ops.stages.measured import (
    Responses,
    ScoreTable,
    bootstrap_of,
    check_same_problems,
    gaps_of,
    splits_of,
    with_ends,
)
from ops.stopping import judged_last_iteration
from ops.storage.schemas import polars_schema
from ops.types import StageResult

SPLIT = "eval"


def fit_saturation(lab: Lab) -> StageResult:
    """Fit every curve over the iterations that belong to the experiment and commit the table ``saturation``.

    The evaluation problems are the same at every iteration, so each resample draws them with the same multiplicities at
    all of them: resample r is one replication of the whole curve.

    Raises:
        StorageError: when an iteration is not measured yet, or not on the same problems.
    """

    def compute() -> pl.DataFrame:
        last = judged_last_iteration(lab.experiment, lab.plan, lab.store)
        rows = [_row(name, rule, fit) for name, rule, fit in _fits(lab, range(last + 1))]
        return pl.DataFrame(rows, schema=polars_schema("saturation"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        n_iterations = frame["n_iterations"][0] if frame.height else 0
        numbers: dict[str, Any] = {"iterations": n_iterations}
        if n_iterations < MIN_ITERATIONS:
            numbers["undefined"] = f"a curve needs at least {MIN_ITERATIONS} iterations"
        for row in frame.iter_rows(named=True) if n_iterations >= MIN_ITERATIONS else ():
            name = row["quantity"] if row["rule"] is None else f"{row['quantity']} of {row['rule']}"
            numbers[name] = in_words(row)
        return numbers

    return lab.materialise("saturation", "saturation", None, compute, metadata)


def in_words(row: Mapping[str, Any]) -> str:
    """A row of ``saturation``: where the curve leads, how fast, and what comes next."""
    if row["n_iterations"] < MIN_ITERATIONS or row["next_value"] is None:
        return f"undefined: a curve needs at least {MIN_ITERATIONS} iterations with a value"
    ends = number(row["limit_low"], sign=True), number(row["limit_high"], sign=True)
    follows = f"one more iteration: {interval(interval_of(row, 'next_value'), sign=True)}"
    if row["limit"] is None:
        bounds = [f"{word} {end}" for word, end in zip(("at least", "at most"), ends, strict=True) if end != NOTHING]
        return f"no limit in sight{f' (it is {bounds[0]})' if bounds else ''}; {follows}"
    low, high = (end if end != NOTHING else f"{sign}∞" for end, sign in zip(ends, ("−", "+"), strict=True))
    half = row["half_life_iterations"]
    speed = "" if half is None else f", half of the way to it in {half:.1f} iterations"
    limit = f"{number(row['limit'], sign=True)} [{low}, {high}]{impossible(row['quantity'], row['limit'])}"
    return f"limit {limit}{speed}; {follows}"


def _fits(lab: Lab, iterations: range) -> Iterator[tuple[str, str | None, DecayFit]]:
    """(quantity, filter in words, fit) of every curve; nothing where there are no evaluation problems."""
    values: list[Mapping[tuple[str, str | None], np.ndarray]] = []
    first: Responses | None = None
    for k in iterations:  # one iteration in memory at a time
        responses = splits_of(lab, k).get(SPLIT)
        if responses is None:
            return
        first = first or responses
        check_same_problems(responses.problem_ids, first.problem_ids)
        values.append(_per_problem(lab, k, responses))
    if first is None:
        return
    counts_RP, once_P = bootstrap_of(lab, first), np.ones((1, len(first.problem_ids)))
    for quantity, rule in values[0]:
        value_PT = np.stack([found[quantity, rule] for found in values], axis=1)
        point_T = mean_draws(value_PT, once_P)[0]
        yield quantity, rule, fit_decay(point_T, mean_draws(value_PT, counts_RP), lab.experiment.statistics.confidence)


def _per_problem(lab: Lab, iteration: int, responses: Responses) -> dict[tuple[str, str | None], np.ndarray]:
    """Values [P] of every (quantity, filter in words) at one iteration."""
    table, n_problems = ScoreTable(lab, iteration), len(responses.problem_ids)
    correct_P = per_problem(responses.problem_index, responses.is_correct.astype(float), n_problems)
    values: dict[tuple[str, str | None], np.ndarray] = {
        ("accuracy", None): correct_P / group_sizes(responses.problem_index, n_problems)
    }
    for rule, item in filters_over_iterations(lab, iteration).items():
        gaps = gaps_of(item, responses, {name: table.of(name, responses).score for name in item.verifier_names})
        values["gap", rule] = gaps.gap_P
        values["relative_gap", rule] = gaps.relative_gap_P
    return values


def _row(quantity: str, rule: str | None, fit: DecayFit) -> dict[str, Any]:
    cells = with_ends(
        limit=fit.limit,
        rate=fit.rate,
        half_life_iterations=fit.half_life_iterations,
        next_value=fit.next_value,
    )
    cells["residual"] = fit.residual
    known = {name: value if math.isfinite(value) else None for name, value in cells.items()}  # infinite: no bound
    return {"quantity": quantity, "rule": rule, "n_iterations": fit.n_iterations, **known}
