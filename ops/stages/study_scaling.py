"""Scaling law and cross-verification: what more pretraining compute does to the gap (2412.02674 §4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from ops.estimation.scaling import ScalingFit, ScalingPoint, fit_scaling
from ops.stages.measured import with_ends, without_nan
from ops.stages.study_values import Cohort, Measured, cohorts_of
from ops.storage.schemas import polars_schema
from ops.study import is_cross
from ops.study_plan import Compute, StudyBench
from ops.types import StageResult
from ops.verifiers.base import ModelVerifier, Verifier

METRICS = ("relative_gap", "gap")
ENDS = ("", "_low", "_high")


def measure_scaling(bench: StudyBench) -> list[StageResult]:
    """Commit ``scaling_points`` and ``scaling_laws``: every own filter's gap against log10 pretraining FLOPs.

    A line is fitted per task, family and filter to the models whose FLOPs are known. Its bootstrap resamples the
    evaluation problems once for all models; its t interval comes from the residuals.
    """

    def points() -> pl.DataFrame:
        return pl.DataFrame(_of_every_model(bench, _points), schema=polars_schema("scaling_points"))

    def laws() -> pl.DataFrame:
        rows = [row for cohort in cohorts_of(bench) for row in _laws(bench, cohort)]
        return pl.DataFrame(rows, schema=polars_schema("scaling_laws"))

    def shown(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {"fits": frame.height}
        chosen = frame.filter((pl.col("mechanism") == "score_cot") & (pl.col("metric") == "relative_gap"))
        for row in chosen.head(8).iter_rows(named=True):
            prefix = f"{row['task']}_{row['family']}_{row['verifier']}"
            numbers |= {f"{prefix}_{name}": value for name, value in _columns(row, "slope", "r_squared").items()}
        return numbers

    return [
        bench.materialise("scaling_points", "scaling_points", points, lambda frame: {"points": frame.height}),
        bench.materialise("scaling_laws", "scaling_law", laws, shown),
    ]


def _of_every_model(
    bench: StudyBench, rows_of: Callable[[StudyBench, Cohort, Measured], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    return [
        row for cohort in cohorts_of(bench) for measured in cohort.measured for row in rows_of(bench, cohort, measured)
    ]


def _columns(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those columns of a row, each with its interval."""
    return {f"{name}{end}": row[f"{name}{end}"] for name in names for end in ENDS}


def _measured_rows(bench: StudyBench, measured: Measured) -> dict[str, dict[str, Any]]:
    """Rows of ``gap_metrics`` on the evaluation split, by rule."""
    frame = bench.read(measured.name, "gap_metrics").filter(pl.col("split") == "eval")
    return {row["rule"]: row for row in frame.iter_rows(named=True)}


def _points(bench: StudyBench, cohort: Cohort, measured: Measured) -> list[dict[str, Any]]:
    rows, compute = _measured_rows(bench, measured), bench.compute_of(measured.name)
    return [
        {
            "task": cohort.task,
            "family": compute.family,
            "model": measured.member.model,
            "verifier": rows[item.label]["verifier"],
            "mechanism": rows[item.label]["mechanism"],
            "rule": item.label,
            "n_parameters": compute.n_parameters,
            "pretraining_flops": compute.flops,
            **_columns(rows[item.label], "accuracy", *METRICS),
        }
        for item in measured.own_filters()
    ]


def _laws(bench: StudyBench, cohort: Cohort) -> list[dict[str, Any]]:
    about = {
        item.label: _measured_rows(bench, measured)[item.label]
        for measured in cohort.measured
        for item in measured.own_filters()
    }
    return [
        _law(cohort.task, about[rule], metric, fit)
        for (rule, metric), found in points_by_rule(bench, cohort).items()
        for fit in fit_scaling(found, bench.study.statistics.confidence)
    ]


def points_by_rule(bench: StudyBench, cohort: Cohort) -> dict[tuple[str, str], list[ScalingPoint]]:
    """Models whose FLOPs are known, with their resamples, by (own filter's label, metric)."""
    key = f"points {cohort.task}"
    if key not in bench.cache:
        points: dict[tuple[str, str], list[ScalingPoint]] = {}
        for measured in cohort.measured:
            compute = bench.compute_of(measured.name)
            for item in measured.own_filters() if compute.flops is not None else ():
                for metric, point in _scaling_points(cohort, measured, item, compute).items():
                    points.setdefault((item.label, metric), []).append(point)
        bench.cache[key] = points
    found: dict[tuple[str, str], list[ScalingPoint]] = bench.cache[key]
    return found


def _scaling_points(cohort: Cohort, measured: Measured, item: Any, compute: Compute) -> dict[str, ScalingPoint]:
    gaps = measured.gaps(item)
    values = {"relative_gap": cohort.mean(gaps.relative_gap_P), "gap": cohort.mean(gaps.gap_P)}
    return {
        metric: ScalingPoint(measured.member.model, compute.family, float(compute.flops or 0), each.value, each.draws_R)
        for metric, each in values.items()
    }


def _law(task: str, about: dict[str, Any], metric: str, fit: ScalingFit) -> dict[str, Any]:
    return without_nan(
        {
            "task": task,
            "family": fit.family,
            "verifier": about["verifier"],
            "mechanism": about["mechanism"],
            "rule": about["rule"],
            "metric": metric,
            "n_models": fit.n_models,
            **with_ends(slope=fit.slope, r_squared=fit.r_squared),
            "slope_t_low": fit.slope_t.low,
            "slope_t_high": fit.slope_t.high,
            "intercept": fit.intercept.value,
        }
    )


def measure_cross(bench: StudyBench) -> StageResult:
    """Commit ``cross_verification``: the generator x verifier matrix of gaps, every filter of a model's check.

    The diagonal is the model's own check of itself. Values are those of ``gap_metrics``: nothing is measured anew.
    """

    def compute() -> pl.DataFrame:
        return pl.DataFrame(_of_every_model(bench, _cells), schema=polars_schema("cross_verification"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        pairs = frame.select("task", "generator", "verifier_model").n_unique()
        return {"cells": frame.height, "pairs": pairs, "mechanisms": frame["mechanism"].n_unique()}

    return bench.materialise("cross_verification", "cross_verification", compute, metadata)


def _cells(bench: StudyBench, cohort: Cohort, measured: Measured) -> list[dict[str, Any]]:
    """Of one generator: itself and every model that cross-verifies it."""
    rows, generator = _measured_rows(bench, measured), bench.compute_of(measured.name)
    flops = {each.member.model: bench.compute_of(each.name).flops for each in cohort.measured}
    cells = []
    for item in measured.lab.experiment.measured_filters():
        found = verified_by_model(measured, item.verifier_names)
        if found is None:
            continue
        label, model = found
        row = rows[item.label]
        cells.append(
            {
                "task": cohort.task,
                "mechanism": label,
                "rule": item.label.replace(item.verifier_names[0], label, 1),
                "generator": measured.member.model,
                "verifier_model": model,
                "generator_flops": generator.flops,
                "verifier_flops": generator.flops if model == measured.member.model else flops.get(model),
                **_columns(row, "accuracy", "gap", "relative_gap", "auroc"),
                "kept_fraction": row["kept_fraction"],
            }
        )
    return cells


def verified_by_model(measured: Measured, labels: tuple[str, ...]) -> tuple[str, str] | None:
    """(label of the check, label of the model that it asks) of a filter on one check that other models run too.

    None for any other filter. Where an experiment of its own file cross-verifies, the model keeps its own name, and the
    check is called as the generator's own check of the same settings; where there is none, by the label that the
    experiment gives it, or by its name.
    """
    if len(labels) != 1:
        return None
    verifier, member = measured.verifiers[labels[0]], measured.member
    if labels[0] in member.crossed:
        return member.crossed[labels[0]]
    if not isinstance(verifier, ModelVerifier):
        return None
    if is_cross(verifier, member) and verifier.model is not None:
        return _own_label(measured, verifier), verifier.model.shown
    crossed = {name for name, _ in member.crossed.values()} | {
        _own_label(measured, item) for item in measured.verifiers.values() if member.joined and is_cross(item, member)
    }
    return (labels[0], member.model) if labels[0] in crossed else None


def _own_label(measured: Measured, crossed: Verifier) -> str:
    """The generator's own check with a cross-verifier's settings; without one the latter's given label, or name."""
    settings = crossed.model_dump(exclude={"label", "model"})
    for item in measured.own_verifiers():
        if item.model_dump(exclude={"label", "model"}) == settings:
            return item.called
    return crossed.label or crossed.name
