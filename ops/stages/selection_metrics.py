"""What was selected for training: enough right responses, of how many problems, how many wrong ones among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ops.estimation.balance import balance_scores, kept_counts
from ops.estimation.bootstrap import mean_intervals, ratio_intervals, resample_counts
from ops.estimation.gap import per_problem
from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.measured import without_nan
from ops.stages.training_rows import training_rows
from ops.stages.verification import response_blocks
from ops.storage.schemas import polars_schema
from ops.types import Interval, StageResult


def measure_selection(lab: Lab, iteration: int) -> StageResult:
    """Measure what the filter, its caps included, chose for training and commit ``selection_metrics``.

    Means are over all training problems of the iteration, those of which nothing was kept included; precision alone is
    a share of the selected responses, with an interval that resamples problems as well.
    """
    statistics = lab.experiment.statistics

    def compute() -> pl.DataFrame:
        problems = _training_problems(lab, iteration)
        if not problems:
            return pl.DataFrame(schema=polars_schema("selection_metrics"))
        counts_RP = resample_counts(len(problems), statistics.resamples, statistics.seed)
        target = lab.experiment.monitoring.balance_target
        values_P = per_training_problem(_selected(lab, iteration), problems, target)
        intervals = _intervals(values_P, counts_RP, statistics.confidence)
        n_kept = int((values_P["kept_per_problem"] > 0).sum())
        rows = [
            without_nan(
                {
                    "metric": name,
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "n_problems": n_kept if name == "precision" else len(problems),
                }
            )
            for name, interval in intervals.items()
        ]
        return pl.DataFrame(rows, schema=polars_schema("selection_metrics"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for row in frame.iter_rows(named=True):
            name = row["metric"]
            numbers |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
        return numbers

    return lab.materialise("selection_metrics", "selection_metrics", iteration, compute, metadata)


def per_training_problem(selected: pl.DataFrame, problems: list[str], target: int) -> dict[str, np.ndarray]:
    """By problem [P]: ``balance_score``, ``kept_per_problem``, ``correct_kept``, ``distinct_correct_kept``.

    Args:
        selected: one row per selected response: problem_id, verdict, response (its text).
        problems: ids of all training problems.
        target: n* of the balance score.
    """
    place = {name: index for index, name in enumerate(problems)}
    index = np.array([place[name] for name in selected["problem_id"]], dtype=np.int64)
    is_correct = (selected["verdict"] == "correct").to_numpy().astype(bool)
    code = selected["response"].rank("dense").to_numpy().astype(np.int64)
    distinct = kept_counts(index, code, np.ones(len(index), bool), is_correct, len(problems))
    return {
        "balance_score": balance_scores(distinct.kept_P, distinct.correct_P, target),
        "kept_per_problem": per_problem(index, np.ones(len(index)), len(problems)),
        "correct_kept": per_problem(index, is_correct.astype(float), len(problems)),
        "distinct_correct_kept": distinct.correct_P.astype(float),
    }


def _intervals(values_P: dict[str, np.ndarray], counts_RP: np.ndarray, confidence: float) -> dict[str, Interval]:
    """Estimates by the name of the metric."""
    kept_P = values_P["kept_per_problem"]
    means = {
        "balance_score": values_P["balance_score"],
        "kept_problem_fraction": (kept_P > 0).astype(float),
        "distinct_correct_kept": values_P["distinct_correct_kept"],
        "kept_per_problem": kept_P,
    }
    precision = ratio_intervals({"precision": (values_P["correct_kept"], kept_P)}, counts_RP, confidence)
    return mean_intervals(means, counts_RP, confidence) | precision


def _training_problems(lab: Lab, iteration: int) -> list[str]:
    """Ids of the iteration's training problems, those that were sampled."""
    fingerprint = lab.plan.fingerprints[asset_name("generations", iteration)]
    frame = lab.store.read("generations", fingerprint, ["split", "problem_id"])
    return frame.filter(pl.col("split") == "train")["problem_id"].unique().sort().to_list()


def _selected(lab: Lab, iteration: int) -> pl.DataFrame:
    """The selected responses with their texts, which are read block by block."""
    rows = training_rows(lab, iteration).select("problem_id", "verdict", "response_id")
    columns = ["split", "problem_id", "response_id", "response"]
    texts = [
        block.filter(pl.col("split") == "train").select("response_id", "response").join(rows, on="response_id")
        for block in response_blocks(lab, iteration, columns)
    ]
    schema = {"response": pl.String(), **rows.schema}
    return pl.concat(texts) if texts else pl.DataFrame(schema=schema)
