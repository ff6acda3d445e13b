"""Gap metrics: what each verifier's filter would gain at this iteration, with intervals over problems."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ops.estimation.auroc import auroc_interval
from ops.estimation.bootstrap import mean_interval
from ops.estimation.gap import estimate_gap, per_problem
from ops.lab import Lab
from ops.selection.base import Filter
from ops.stages.chosen import measured_filters
from ops.stages.measured import Responses, ScoreTable, bootstrap_of, share, splits_of, with_ends, without_nan
from ops.storage.schemas import polars_schema
from ops.types import StageResult
from ops.verifiers.base import ModelVerifier


def measure_gap(lab: Lab, iteration: int) -> StageResult:
    """Measure the gap of every measured filter on both splits and commit the table ``gap_metrics``.

    Where a pilot chooses the training filter's threshold, that filter has a row, too.
    """

    def compute() -> pl.DataFrame:
        table = ScoreTable(lab, iteration)
        rows: list[dict[str, Any]] = []
        for split, responses in splits_of(lab, iteration).items():
            counts_RP = bootstrap_of(lab, responses)
            rows += [
                {"split": split, **_row(lab, table, item, responses, counts_RP)}
                for item in measured_filters(lab, iteration)
            ]
        return pl.DataFrame(rows, schema=polars_schema("gap_metrics"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for row in frame.filter(pl.col("split") == "eval").iter_rows(named=True):
            prefix = row["verifier"] if row["filter"] == "threshold" else f"{row['verifier']}_{row['filter']}"
            numbers["accuracy"] = row["accuracy"]
            for name in ("gap", "gap_low", "gap_high", "relative_gap", "kept_fraction", "auroc"):
                numbers[f"{prefix}_{name}"] = row[name]
        return numbers

    return lab.materialise("gap_metrics", "gap_metrics", iteration, compute, metadata)


def _row(lab: Lab, table: ScoreTable, item: Filter, responses: Responses, counts_RP: np.ndarray) -> dict[str, Any]:
    confidence = lab.experiment.statistics.confidence
    read = {name: table.of(name, responses) for name in item.verifier_names}
    scores = {name: found.score for name, found in read.items()}
    unparseable = np.zeros(len(responses.is_correct), bool)
    for found in read.values():
        unparseable = unparseable | found.unparseable
    # a filter that reads no score, or several, ranks nothing: its AUROC is undefined
    score = next(iter(scores.values())) if len(scores) == 1 else np.full(len(unparseable), np.nan)
    weights = item.weights_of(responses.problem_index, scores, responses.is_correct)
    estimate = estimate_gap(
        responses.problem_index, responses.is_correct, weights, counts_RP, confidence, accepts=item.accepts
    )
    size_P = per_problem(responses.problem_index, np.ones(len(score)), len(responses.problem_ids))
    strict_P = per_problem(responses.problem_index, responses.is_strict.astype(float), len(size_P)) / size_P
    row: dict[str, Any] = {
        "generator": lab.experiment.model.shown,
        "verifier": " AND ".join(item.verifier_names) or item.name,
        **verified_by(lab, item.verifier_names),
        "filter": item.name,
        "threshold": item.threshold_value,
        "rule": item.label,
        "n_problems": estimate.n_problems,
        "n_responses": estimate.n_responses,
        "strict_accuracy": mean_interval(strict_P, counts_RP, confidence).value,
        "kept_fraction": estimate.kept_fraction,
        "unparseable_fraction": float(unparseable.mean()),
        "unparseable_response_fraction": share(responses.frame["verdict"] == "unparseable"),
        "n_problems_kept_empty": estimate.n_problems_kept_empty,
        "n_problems_solved": estimate.n_problems_solved,
    }
    auroc = auroc_interval(responses.problem_index, score, responses.is_correct, counts_RP, confidence)
    row |= with_ends(
        accuracy=estimate.accuracy,
        filtered_accuracy=estimate.filtered_accuracy,
        gap=estimate.gap,
        relative_gap=estimate.relative_gap,
        auroc=auroc,
    )
    return without_nan(row)


def verified_by(lab: Lab, labels: tuple[str, ...]) -> dict[str, str | None]:
    """Mechanism and model of the one verifier that a filter reads; NULL where it reads none or several."""
    found = [verifier for verifier in lab.experiment.verifiers if (verifier.called,) == labels]
    if not found:
        return {"mechanism": None, "verifier_model": None}
    verifier = found[0]
    if not isinstance(verifier, ModelVerifier):
        return {"mechanism": verifier.name, "verifier_model": None}
    return {"mechanism": verifier.name, "verifier_model": (verifier.model or lab.experiment.model).shown}
