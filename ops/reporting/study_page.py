"""The study's page: one self-contained HTML file that reads like a result section. Nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ops.reporting import words
from ops.reporting.numbers import interval_of
from ops.reporting.study_data import StudyData
from ops.reporting.study_plots import level, study_svgs
from ops.reporting.study_words import ORGANISMS, scientific, study_answer

TEMPLATE = Path(__file__).with_name("study_page.html.j2")
OTHER_GAPS = (
    "verification_accuracy_minus_generation_accuracy",
    "precision_minus_accuracy",
    "oracle_minus_selected",
)


def study_page(data: StudyData) -> str:
    """The report of a study as HTML; every text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "interval": words.interval,
        "percent": words.percent,
        "scientific": scientific,
    }
    figures = {name: Markup(svg) for name, svg in study_svgs(data).items()}  # noqa: S704
    return environment.get_template(TEMPLATE.name).render(
        data=data,
        answer=study_answer(data),
        organism=ORGANISMS if any(row.is_builtin for row in data.rows) else None,
        missing=words.NOTHING,
        figures=figures,
        captions=_captions(data),
        findings=[dict(row, value=interval_of(row, "value")) for row in _rows(data, "findings")],
        gaps=_gaps(data),
        verifiers=_verifiers(data),
        laws=[_with_intervals(row, ("slope", "r_squared")) for row in _rows(data, "scaling_laws")],
        best=_best(data),
        pairs=_pairs(data),
        table_rows={name: frame.height for name, frame in data.tables.items()},
    )


def _rows(data: StudyData, table: str) -> list[dict[str, Any]]:
    return data.tables[table].rows(named=True)


def _with_intervals(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The row with each x, x_low, x_high as one interval x."""
    return row | {name: interval_of(row, name) for name in names}


def _gaps(data: StudyData) -> dict[str, list[tuple[str, list[dict[str, Any]]]]]:
    """Rows of own checks by task, then by model (ascending FLOPs)."""
    frame = data.tables["gap_metrics"].filter(pl.col("split") == "eval")
    rules = set(data.tables["scaling_points"]["rule"])
    names = ("accuracy", "gap", "relative_gap", "auroc", "filtered_accuracy")
    found: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {}
    for row in data.rows:
        part = frame.filter((pl.col("experiment") == row.experiment) & pl.col("rule").is_in(rules))
        rows = [_with_intervals(item, names) for item in part.iter_rows(named=True)]
        found.setdefault(row.task, []).append((row.model, rows))
    return found


def _verifiers(data: StudyData) -> dict[str, list[tuple[str, list[dict[str, Any]]]]]:
    """Rows of ``verifier_metrics`` of own checks by task, then by model."""
    frame = data.tables["verifier_metrics"].filter((pl.col("split") == "eval") & pl.col("verifier").is_in(data.own))
    names = ("precision", "recall", "auroc", "ece", "brier", *OTHER_GAPS)
    found: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {}
    for row in data.rows:
        part = frame.filter(pl.col("experiment") == row.experiment)
        found.setdefault(row.task, []).append(
            (row.model, [_with_intervals(item, names) for item in part.iter_rows(named=True)])
        )
    return found


def _best(data: StudyData) -> list[dict[str, Any]]:
    """Thresholds that are best on train, with their gap on the evaluation problems; own checks."""
    frame = data.tables["threshold_sweeps"]
    if frame.is_empty():
        return []
    chosen = frame.filter((pl.col("split") == "eval") & pl.col("best_on_train") & pl.col("verifier").is_in(data.own))
    order = {row.experiment: i for i, row in enumerate(data.rows)}
    rows = [_with_intervals(row, ("gap", "relative_gap")) for row in chosen.iter_rows(named=True)]
    return sorted(rows, key=lambda row: order[row["experiment"]])


def _pairs(data: StudyData) -> list[dict[str, Any]]:
    """Pairs of own checks, all models."""
    frame = data.tables["verifier_pairs"]
    if frame.is_empty():
        return []
    own = pl.col("verifier_a").is_in(data.own) & pl.col("verifier_b").is_in(data.own)
    names = ("pearson", "spearman", "within_problem_pearson", "gap_difference", "auroc_difference")
    order = {row.experiment: i for i, row in enumerate(data.rows)}
    rows = [_with_intervals(row, names) for row in frame.filter(own).iter_rows(named=True)]
    return sorted(rows, key=lambda row: order[row["experiment"]])


def _captions(data: StudyData) -> dict[str, str]:
    bars = f"{level(data)}, {data.resamples:,} bootstrap resamples of the evaluation problems"
    return {
        "scaling": "Relative gap (top) and gap (bottom) of each check against its model's pretraining FLOPs; lines: "
        f"least squares on log10 FLOPs. Bars: {bars}. Points of different checks are shifted a little sideways.",
        "thresholds": "Gap when responses with a score of at least the threshold are kept, by model (orange: least "
        f"compute, blue: most). Bands: {bars}. Star: the threshold that is best on the training problems. "
        "Problems of which nothing is kept count 0, so every curve ends at 0 where nothing is kept at all.",
        "cross": "Gap when the verifier of a column checks the responses of the generator of a row, both ordered by "
        f"pretraining FLOPs; the diagonal is self-verification. Below each value: {bars}.",
        "correlations": "Pearson correlation of the scores of two checks over the evaluation responses, mean over "
        "models. Intervals by model are in the table below it.",
        "reliability": "Share of responses that are right in each bin of a check's score, scaled to 0..1; dashed: "
        f"perfect calibration. Bars: {bars}.",
        "test_time": "Accuracy when one of n responses is chosen, by model; subsets of n are drawn without "
        f"replacement. Bands: {bars}.",
    }
