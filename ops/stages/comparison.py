"""Verifiers compared: the gap as a function of the threshold, correlations of scores, paired differences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl

from ops.estimation.correlation import correlate
from ops.estimation.gap import problem_gaps
from ops.estimation.paired import paired_auroc, paired_mean
from ops.estimation.sweep import (
    ScoredResponses,
    SweepPoint,
    best_on_train,
    default_thresholds,
    sweep_quantiles,
    sweep_thresholds,
)
from ops.lab import Lab
from ops.stages.measured import Responses, ScoreTable, bootstrap_of, splits_of, with_ends, without_nan
from ops.storage.schemas import polars_schema
from ops.types import StageResult
from ops.verifiers.base import ModelVerifier, Verifier

QUANTILES = np.arange(20) / 20.0
"""Per-problem quantiles that are tried: 0, 0.05 ... 0.95."""

THRESHOLDS = 41
"""Global thresholds that are tried, at most."""


def sweep_filters(lab: Lab, iteration: int) -> StageResult:
    """The gap at every threshold and quantile, the best on train marked: the table ``threshold_sweeps``.

    Both splits are swept at the same thresholds, those of the train split's scores where it has any.
    """
    confidence = lab.experiment.statistics.confidence

    def compute() -> pl.DataFrame:
        table, splits = ScoreTable(lab, iteration), splits_of(lab, iteration)
        counts = {split: bootstrap_of(lab, responses) for split, responses in splits.items()}
        rows: list[dict[str, Any]] = []
        for verifier in lab.experiment.verifiers:
            scored = {
                split: ScoredResponses(
                    responses.problem_index,
                    table.of(verifier.called, responses).score,
                    responses.is_correct,
                    counts[split],
                )
                for split, responses in splits.items()
            }
            grids = [
                default_thresholds(scored[split].score, THRESHOLDS) for split in ("train", "eval") if split in scored
            ]
            grid = next((grid for grid in grids if len(grid)), None)
            if grid is not None:
                rows += _sweeps(verifier, scored, grid, confidence)
        return pl.DataFrame(rows, schema=polars_schema("threshold_sweeps"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        chosen = frame.filter((pl.col("split") == "eval") & pl.col("best_on_train"))
        numbers: dict[str, Any] = {}
        for row in chosen.iter_rows(named=True):
            prefix = f"{row['verifier']}_{row['filter']}"
            numbers |= {f"{prefix}_best": row["value"]}
            numbers |= {f"{prefix}_gap{end}": row[f"gap{end}"] for end in ("", "_low", "_high")}
        return numbers

    return lab.materialise("threshold_sweeps", "threshold_sweeps", iteration, compute, metadata)


def _sweeps(
    verifier: Verifier, scored: dict[str, ScoredResponses], grid: np.ndarray, confidence: float
) -> list[dict[str, Any]]:
    best: dict[str, float | None] = {"threshold": None, "quantile": None}
    if "train" in scored and "eval" in scored:
        choices: dict[str, dict[str, Any]] = {"threshold": {"thresholds": grid}, "quantile": {"quantiles": QUANTILES}}
        for name, tried in choices.items():
            found = best_on_train(scored["train"], scored["eval"], confidence, **tried)
            best[name] = None if found is None else found.value
    rows = []
    for split, responses in scored.items():
        points = {
            "threshold": sweep_thresholds(responses, confidence, grid),
            "quantile": sweep_quantiles(responses, confidence, QUANTILES),
        }
        for name, swept in points.items():
            rows += [_point(split, verifier, name, point, best[name]) for point in swept]
    return rows


def _point(split: str, verifier: Verifier, name: str, point: SweepPoint, best: float | None) -> dict[str, Any]:
    return without_nan(
        {
            "split": split,
            "verifier": verifier.called,
            "filter": name,
            "value": point.value,
            **with_ends(gap=point.gap, relative_gap=point.relative_gap),
            "kept_fraction": point.kept_fraction.value,
            "best_on_train": None if best is None else bool(point.value == best),
        }
    )


def compare_verifiers(lab: Lab, iteration: int) -> StageResult:
    """Score correlations and paired differences on the evaluation split: the table ``verifier_pairs``.

    Pairs that ask the same model, or the same question of different models.
    """

    def compute() -> pl.DataFrame:
        table, splits = ScoreTable(lab, iteration), splits_of(lab, iteration)
        rows = []
        if "eval" in splits:
            responses = splits["eval"]
            counts_RP = bootstrap_of(lab, responses)
            rows = [
                {"split": "eval", **_pair(lab, pair, responses, table, counts_RP)}
                for pair in itertools.combinations(lab.experiment.verifiers, 2)
                if comparable(*pair)
            ]
        return pl.DataFrame(rows, schema=polars_schema("verifier_pairs"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {"pairs": frame.height}
        for row in frame.head(12).iter_rows(named=True):
            prefix = f"{row['verifier_a']}_{row['verifier_b']}_pearson"
            numbers |= {f"{prefix}{end}": row[f"pearson{end}"] for end in ("", "_low", "_high")}
        return numbers

    return lab.materialise("verifier_pairs", "verifier_pairs", iteration, compute, metadata)


def comparable(a: Verifier, b: Verifier) -> bool:
    """Whether a pair differs in one thing only: the mechanism, or the model that is asked."""
    models = [verifier.model if isinstance(verifier, ModelVerifier) else None for verifier in (a, b)]
    return models[0] == models[1] or a.name == b.name


def _pair(
    lab: Lab, pair: tuple[Verifier, Verifier], responses: Responses, table: ScoreTable, counts_RP: np.ndarray
) -> dict[str, Any]:
    confidence, index, truth = lab.experiment.statistics.confidence, responses.problem_index, responses.is_correct
    first, second = (table.of(verifier.called, responses).score for verifier in pair)
    rules = [verifier.default_filter() for verifier in pair]
    gaps = [
        problem_gaps(index, truth, rule.weights(index, score, truth), len(responses.problem_ids))
        for rule, score in zip(rules, (first, second), strict=True)
    ]
    found = correlate(index, first, second, counts_RP, confidence)
    auroc = paired_auroc(index, first, second, truth, counts_RP, confidence)
    row = {
        "verifier_a": pair[0].called,
        "verifier_b": pair[1].called,
        "n_responses": found.n_responses,
        "rule_a": rules[0].label,
        "rule_b": rules[1].label,
        **with_ends(
            pearson=found.pearson,
            spearman=found.spearman,
            within_problem_pearson=found.within_problem,
            gap_difference=paired_mean(gaps[0].gap_P, gaps[1].gap_P, counts_RP, confidence).difference,
            relative_gap_difference=paired_mean(
                gaps[0].relative_gap_P, gaps[1].relative_gap_P, counts_RP, confidence
            ).difference,
            auroc_difference=auroc.difference,
        ),
    }
    return without_nan(row)
