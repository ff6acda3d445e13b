"""Gap metrics: what each verifier's filter would gain at this iteration, with intervals over problems."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ops.estimation.auroc import auroc_interval
from ops.estimation.bootstrap import mean_interval, resample_counts
from ops.estimation.gap import estimate_gap, per_problem
from ops.lab import Lab
from ops.selection.base import Filter
from ops.stages.measured import Responses, responses_of, scores_of, share
from ops.storage.schemas import polars_schema
from ops.types import StageResult


def measure_gap(lab: Lab, iteration: int) -> StageResult:
    """Measure the gap of every measured filter on both splits and commit the table ``gap_metrics``."""
    statistics = lab.experiment.statistics

    def compute() -> pl.DataFrame:
        rows: list[dict[str, Any]] = []
        for split in ("eval", "train"):
            responses = responses_of(lab, iteration, split)
            counts_RP = resample_counts(len(responses.problem_ids), statistics.resamples, statistics.seed)
            rows += [
                {"split": split, **_row(lab, iteration, item, responses, counts_RP)}
                for item in lab.experiment.measured_filters()
            ]
        return pl.DataFrame(rows, schema=polars_schema("gap_metrics"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for row in frame.filter(pl.col("split") == "eval").iter_rows(named=True):
            prefix = f"{row['verifier']}_{row['filter']}" if row["filter"] != "threshold" else row["verifier"]
            numbers["accuracy"] = row["accuracy"]
            for name in ("gap", "gap_low", "gap_high", "relative_gap", "kept_fraction", "auroc"):
                numbers[f"{prefix}_{name}"] = row[name]
        return numbers

    return lab.materialise("gap_metrics", "gap_metrics", iteration, compute, metadata)


def _row(lab: Lab, iteration: int, item: Filter, responses: Responses, counts_RP: np.ndarray) -> dict[str, Any]:
    confidence = lab.experiment.statistics.confidence
    if item.verifier_name is None:
        score, unparseable = np.full(len(responses.is_correct), np.nan), np.zeros(len(responses.is_correct), bool)
    else:
        score, unparseable = scores_of(lab, iteration, item.verifier_name, responses)
    weights = item.weights(responses.problem_index, score, responses.is_correct)
    estimate = estimate_gap(responses.problem_index, responses.is_correct, weights, counts_RP, confidence)
    size_P = per_problem(responses.problem_index, np.ones(len(score)), len(responses.problem_ids))
    strict_P = per_problem(responses.problem_index, responses.is_strict.astype(float), len(size_P)) / size_P
    row: dict[str, Any] = {
        "verifier": item.verifier_name or item.name,
        "filter": item.name,
        "threshold": item.threshold_value,
        "n_problems": estimate.n_problems,
        "n_responses": estimate.n_responses,
        "strict_accuracy": mean_interval(strict_P, counts_RP, confidence).value,
        "kept_fraction": estimate.kept_fraction,
        "unparseable_fraction": float(unparseable.mean()),
        "unparseable_response_fraction": share(responses.frame["verdict"] == "unparseable"),
        "n_problems_kept_empty": estimate.n_problems_kept_empty,
        "n_problems_solved": estimate.n_problems_solved,
    }
    intervals = {
        "accuracy": estimate.accuracy,
        "filtered_accuracy": estimate.filtered_accuracy,
        "gap": estimate.gap,
        "relative_gap": estimate.relative_gap,
        "auroc": auroc_interval(responses.problem_index, score, responses.is_correct, counts_RP, confidence),
    }
    for name, interval in intervals.items():
        row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
