"""What has changed since the iteration before, and since iteration 0: every metric, paired by problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ops.estimation.bootstrap import resample_counts
from ops.estimation.gap import ProblemGaps, group_sizes
from ops.estimation.paired import PairedDifference, paired_mean
from ops.lab import Lab
from ops.stages.chosen import filters_over_iterations, training_filter
from ops.stages.diversity import Metric, problem_values
from ops.stages.measured import ScoreTable, check_same_problems, gaps_of, without_nan
from ops.stages.verifier_metrics import drift_of
from ops.storage.schemas import polars_schema
from ops.types import StageResult

SPLIT = "eval"
SHOWN = ("accuracy", "gap", "update_error", "self_bleu", "score_drift")
"""Metrics that people see without asking; and pass@k at the largest k."""


class Reference(NamedTuple):
    """An iteration that is subtracted."""

    name: str
    iteration: int


class Row(NamedTuple):
    """One difference, with what it is of."""

    metric: str
    k: int | None
    rule: str | None
    change: PairedDifference


@dataclass(frozen=True)
class EvalValues:
    """One iteration's evaluation problems, problem by problem; undefined is NaN.

    Attributes:
        metrics: those of ``diversity_metrics``, [P] each.
        size_P: responses of each problem.
        gaps: of every measured filter, by its words; of the training filter as ``CHOSEN`` where a pilot chooses it.
        training: label and gaps of what the next model is trained on, measured or not: gold labels gain what is
            missing to 1 wherever anything is right, no filter gains nothing. None where nothing is trained at all.
        drift: score drift [P] of every verifier whose scores have a range, by its label.
    """

    problem_ids: list[str]
    size_P: np.ndarray
    metrics: Mapping[Metric, np.ndarray]
    gaps: Mapping[str, ProblemGaps]
    training: tuple[str, ProblemGaps] | None
    drift: Mapping[str, np.ndarray]


def references_of(iteration: int) -> tuple[Reference, Reference]:
    """The iteration before, and the first one; at iteration 1 they are the same."""
    return Reference("previous", iteration - 1), Reference("base", 0)


def eval_values(lab: Lab, iteration: int) -> EvalValues | None:
    """Read one iteration; None where there are no evaluation problems."""
    found = problem_values(lab, iteration, (SPLIT,)).get(SPLIT)
    if found is None:
        return None
    table, responses = ScoreTable(lab, iteration), found.responses
    scores = {item.called: table.of(item.called, responses) for item in lab.experiment.verifiers}
    score_N = {name: item.score for name, item in scores.items()}
    trains = training_filter(lab, iteration) if lab.experiment.iterations > 0 else None
    drift = {item.called: drift_of(item, responses, scores[item.called]) for item in lab.experiment.verifiers}
    return EvalValues(
        responses.problem_ids,
        group_sizes(responses.problem_index, len(responses.problem_ids)),
        found.value_P,
        {name: gaps_of(item, responses, score_N) for name, item in filters_over_iterations(lab, iteration).items()},
        None if trains is None else (trains.label, gaps_of(trains, responses, score_N)),
        {name: drift_P for name, drift_P in drift.items() if drift_P is not None},
    )


def measure_changes(lab: Lab, iteration: int) -> StageResult:
    """Measure what changed and commit the table ``iteration_changes``, from iteration 1 on."""

    def compute() -> pl.DataFrame:
        values = {k: eval_values(lab, k) for k in {iteration, iteration - 1, 0}}
        rows = [
            {"split": SPLIT, "reference": reference.name, "from_iteration": reference.iteration, **_cells(row)}
            for reference in references_of(iteration)
            for row in _changes(lab, values[iteration], values[reference.iteration], reference)
        ]
        return pl.DataFrame(rows, schema=polars_schema("iteration_changes"))

    return lab.materialise("iteration_changes", "iteration_changes", iteration, compute, _shown)


def _changes(lab: Lab, now: EvalValues | None, then: EvalValues | None, reference: Reference) -> Iterator[Row]:
    """Every difference, now minus then, with the same resamples for both sides."""
    if now is None or then is None:
        return
    check_same_problems(now.problem_ids, then.problem_ids)
    statistics = lab.experiment.statistics
    counts_RP = resample_counts(len(now.problem_ids), statistics.resamples, statistics.seed)

    def minus(now_P: np.ndarray, then_P: np.ndarray) -> PairedDifference:
        return paired_mean(now_P, then_P, counts_RP, statistics.confidence)

    for (metric, k), value_P in now.metrics.items():
        if (metric, k) in then.metrics:
            yield Row(metric, k, None, minus(value_P, then.metrics[metric, k]))
    yield from _gap_changes(now, then, reference, minus)
    for verifier, drift_P in now.drift.items():
        yield Row("score_drift", None, verifier, minus(drift_P, then.drift[verifier]))


def _gap_changes(
    now: EvalValues,
    then: EvalValues,
    reference: Reference,
    minus: Callable[[np.ndarray, np.ndarray], PairedDifference],
) -> Iterator[Row]:
    """Of the gap, of the relative gap, and the update error of 2412.02674.

    The improvement identity J(f_{t+1}) - J(f_t) = gap(f_t) - e_update defines e_update = gap(f_t) - (J(f_{t+1}) -
    J(f_t)): what the filter promised and the training did not deliver; negative where it delivered more. It is of the
    filter that f_{t+1} was trained with, and of no other.
    """
    for rule, gaps in now.gaps.items():
        before = then.gaps[rule]
        yield Row("gap", None, rule, minus(gaps.gap_P, before.gap_P))
        yield Row("relative_gap", None, rule, minus(gaps.relative_gap_P, before.relative_gap_P))
    if reference.name == "previous" and then.training is not None:
        rule, promised = then.training
        gained_P = now.metrics["accuracy", None] - then.metrics["accuracy", None]
        yield Row("update_error", None, rule, minus(promised.gap_P, gained_P))


def _cells(row: Row) -> dict[str, Any]:
    difference = row.change.difference
    return without_nan(
        {
            "metric": row.metric,
            "k": row.k,
            "rule": row.rule,
            "value": difference.value,
            "low": difference.low,
            "high": difference.high,
            "n_problems": row.change.n,
            "n_problems_left_out": row.change.n_left_out,
        }
    )


def _shown(frame: pl.DataFrame) -> dict[str, Any]:
    """What people want to see first: ``accuracy_since_previous`` and so on, with intervals."""
    passes = frame.filter(pl.col("metric") == "pass_at_k")
    chosen = pl.concat([frame.filter(pl.col("metric").is_in(SHOWN)), passes.filter(pl.col("k") == passes["k"].max())])
    numbers: dict[str, Any] = {}
    for row in chosen.iter_rows(named=True):
        words = "pass_at_{k}".format(**row) if row["k"] is not None else row["metric"]
        name = f"{row['rule']}: {words}" if row["rule"] else words
        if row["metric"] != "update_error":
            name = f"{name}_since_{row['reference']}"
        numbers |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return numbers
