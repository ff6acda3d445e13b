"""Findings 1-4 of 2412.02674 decided from a study's data, each with its number, interval and reason in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from ops.reporting.numbers import interval_of, number_of
from ops.reporting.words import interval, number
from ops.stages.measured import with_ends, without_nan
from ops.stages.study_agreement import ensemble_findings
from ops.stages.study_bow import bow_of
from ops.stages.study_scaling import points_by_rule, verified_by_model
from ops.stages.study_thresholds import threshold_findings
from ops.stages.study_values import Cohort, cohorts_of
from ops.storage.schemas import polars_schema
from ops.study_findings import (
    LINEAR_R_SQUARED,
    MATERIAL_BOW,
    MODELS_FOR_A_BOW,
    UNDECIDED,
    Outcome,
    above,
    below,
    is_linear,
    opposite,
    rises_linearly,
)
from ops.study_plan import StudyBench
from ops.types import Interval, StageResult

CONFIRMED = "score_cot"
"""The mechanism whose relative gap the paper finds to scale."""

LINEAR = "The relative gap of score CoT is about linear in log10 pretraining FLOPs."
NOT_LINEAR = "The absolute gap of score CoT is not linear in log10 pretraining FLOPs."
CROSS = {
    "2a": "The gap grows with the verifier's pretraining compute.",
    "2b": "The gap falls with the generator's pretraining compute.",
}


def finding(
    number_: str, task: str, statement: str, outcome: Outcome, evidence: str, value: Interval
) -> dict[str, Any]:
    """One row of ``findings``."""
    cells = {"finding": number_, "task": task, "statement": statement, "outcome": outcome, "evidence": evidence}
    return without_nan({**cells, **with_ends(value=value)})


def measure_findings(bench: StudyBench) -> StageResult:
    """Decide the findings and commit the table ``findings``. The rules are those of ``ops.study_findings``."""

    def compute() -> pl.DataFrame:
        laws = bench.store.read("scaling_laws", bench.fingerprints["scaling_law"])
        cohorts = cohorts_of(bench)
        confidence = bench.study.statistics.confidence
        rows: list[dict[str, Any]] = []
        for cohort in cohorts:
            rows += _scaling(bench, laws, cohort)
            rows += _cross(bench, cohort, confidence)
            rows += [finding(*row) for row in threshold_findings(cohort, cohorts, confidence)]
            rows += [finding(*row) for row in ensemble_findings(cohort, confidence)]
        return pl.DataFrame(rows, schema=polars_schema("findings")).sort("finding", maintain_order=True)

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        return {f"{row['finding']} {row['task']}": row["outcome"] for row in frame.iter_rows(named=True)}

    return bench.materialise("findings", "findings", compute, metadata)


def _scaling(bench: StudyBench, laws: pl.DataFrame, cohort: Cohort) -> Iterator[dict[str, Any]]:
    """1a and 1b per family and rule of score CoT."""
    task, confidence = cohort.task, bench.study.statistics.confidence
    rows = laws.filter((pl.col("task") == task) & (pl.col("mechanism") == CONFIRMED))
    if rows.is_empty():
        for name, statement in (("1a", LINEAR), ("1b", NOT_LINEAR)):
            yield _not_measured(name, task, statement, "no score CoT check of a model whose FLOPs are known")
    points = points_by_rule(bench, cohort) if rows.height else {}
    for row in rows.iter_rows(named=True):
        slope, r_squared = (interval_of(row, name) for name in ("slope", "r_squared"))
        slope_t = Interval(slope.value, number_of(row["slope_t_low"]), number_of(row["slope_t_high"]))
        family = [point for point in points[row["rule"], row["metric"]] if point.family == row["family"]]
        bow = bow_of(family, confidence)
        decided = (slope, slope_t, r_squared, bow.beyond, row["n_models"])
        share = f"more than {100 * MATERIAL_BOW:g} % of the rise by {interval(bow.beyond, sign=True)}"
        bend = f"a parabola bows by {interval(bow.height, sign=True)}, {share}"
        evidence = (
            f"{row['rule']}, family {row['family']}, {row['n_models']} models: slope {interval(slope, sign=True)} per "
            f"factor of ten in FLOPs over problems, t interval [{number(slope_t.low, sign=True)}, "
            f"{number(slope_t.high, sign=True)}]; R² {interval(r_squared)} (linear from {LINEAR_R_SQUARED}); "
            f"{bend if row['n_models'] >= MODELS_FOR_A_BOW else 'too few models to see a bow'}"
        )
        if row["metric"] == "relative_gap":
            yield finding("1a", task, LINEAR, rises_linearly(*decided), evidence, slope)
        else:
            yield finding("1b", task, NOT_LINEAR, opposite(is_linear(*decided)), evidence, slope)


def _cross(bench: StudyBench, cohort: Cohort, confidence: float) -> Iterator[dict[str, Any]]:
    """2a and 2b per mechanism: least squares of the matrix of gaps on both models' log10 FLOPs."""
    flops = {each.member.model: bench.compute_of(each.name).flops for each in cohort.measured}
    cells: dict[str, list[tuple[float, float, np.ndarray]]] = {}
    for measured in cohort.measured:
        for item in measured.lab.experiment.measured_filters():
            found = verified_by_model(measured, item.verifier_names)
            if found is None:
                continue
            verifier, generator = flops.get(found[1]), flops[measured.member.model]
            if verifier and generator:
                rule = item.label.replace(item.verifier_names[0], found[0], 1)
                place = (float(np.log10(verifier)), float(np.log10(generator)))
                cells.setdefault(rule, []).append((*place, measured.gaps(item).gap_P))
    if not cells:
        for name, statement in CROSS.items():
            yield _not_measured(name, cohort.task, statement, "no pair of models with known FLOPs is cross-verified")
    for rule, found_cells in cells.items():
        yield from _regression(cohort, rule, found_cells, confidence)


def _regression(
    cohort: Cohort, rule: str, cells: list[tuple[float, float, np.ndarray]], confidence: float
) -> Iterator[dict[str, Any]]:
    x_K3 = np.array([[1.0, verifier, generator] for verifier, generator, _ in cells])
    gap_PK = np.stack([gap_P for *_, gap_P in cells], axis=1)
    if np.linalg.matrix_rank(x_K3) < 3:
        for name, statement in CROSS.items():
            yield _not_measured(name, cohort.task, statement, f"{rule}: too few different models")
        return
    weights_3K = np.linalg.pinv(x_K3)
    for name, place, decide, axis in (("2a", 1, above, "verifier"), ("2b", 2, below, "generator")):
        slope = cohort.mean(gap_PK @ weights_3K[place]).interval(confidence)
        evidence = (
            f"{rule}, {len(cells)} pairs of models: gap {interval(slope, sign=True)} per factor of ten in the {axis}'s "
            "FLOPs, the other model's held fixed"
        )
        yield finding(name, cohort.task, CROSS[name], decide(slope), evidence, slope)


def _not_measured(name: str, task: str, statement: str, why: str) -> dict[str, Any]:
    nan = float("nan")
    return finding(name, task, statement, UNDECIDED, why, Interval(nan, nan, nan))
