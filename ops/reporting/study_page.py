"""The study's page: one self-contained HTML file that reads like a result section. Nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ops.reporting import words
from ops.reporting.numbers import interval_of
from ops.reporting.page import page_template
from ops.reporting.plots import MIN_SHARE_OF_BIN
from ops.reporting.study_data import StudyData
from ops.reporting.study_plots import level, study_svgs
from ops.reporting.study_words import ORGANISMS, scientific, study_outcomes, study_summary

TEMPLATE = Path(__file__).with_name("study_page.html.j2")
OTHER_GAPS = (
    "verification_accuracy_minus_generation_accuracy",
    "precision_minus_accuracy",
    "oracle_minus_selected",
)


def study_page(data: StudyData) -> str:
    """The report of a study as HTML; every text is escaped."""
    from markupsafe import Markup

    template = page_template(TEMPLATE, scientific=scientific)
    gaps, verifiers = _gaps(data), _verifiers(data)
    figures = {name: Markup(svg) for name, svg in study_svgs(data).items()}  # noqa: S704
    return template.render(
        data=data,
        summary=study_summary(data),
        outcomes=study_outcomes(data),
        organism=ORGANISMS if any(row.is_builtin for row in data.rows) else None,
        missing=words.NOTHING,
        figures=figures,
        captions=_captions(data),
        level=f"{100 * data.confidence:g} %",
        findings=[dict(row, value=interval_of(row, "value")) for row in _rows(data, "findings")],
        gaps=gaps,
        gap_grids=_grids(gaps, "rule", "gap"),
        verifiers=verifiers,
        auroc_grids=_grids(verifiers, "verifier", "auroc"),
        laws=[_with_intervals(row, ("slope", "r_squared")) for row in _rows(data, "scaling_laws")],
        best=_best(data),
        pairs=_pairs(data),
        cells=_cells(data),
        selections=_selections(data),
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


def _grids(
    groups: dict[str, list[tuple[str, list[dict[str, Any]]]]], check: str, name: str
) -> dict[str, tuple[list[str], list[tuple[str, list[Any]]]]]:
    """One number at a glance: of every task its models (columns) and, by check (rows), the model's interval or None."""
    found = {}
    for task, models in groups.items():
        by = {(row[check], model): row[name] for model, rows in models for row in rows}
        checks = dict.fromkeys(row[check] for _, rows in models for row in rows)
        names = [model for model, _ in models]
        found[task] = (names, [(each, [by.get((each, model)) for model in names]) for each in checks])
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


def _cells(data: StudyData) -> list[dict[str, Any]]:
    """The generator x verifier matrix, row by row."""
    rows = [_with_intervals(row, ("gap", "relative_gap", "auroc")) for row in _rows(data, "cross_verification")]
    place = {(row.task, row.model): i for i, row in enumerate(data.rows)}
    last = len(place)

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        task = row["task"].partition("/")[0]
        return task, row["rule"], *(place.get((task, row[name]), last) for name in ("generator", "verifier_model"))

    return sorted(rows, key=key)


def _selections(data: StudyData) -> list[dict[str, Any]]:
    """Test-time accuracy at the largest n: of each model majority vote and oracle, best of n and vote by own checks."""
    frame = data.tables["test_time_metrics"]
    found = []
    for row in data.rows:
        part = frame.filter(pl.col("experiment") == row.experiment) if frame.height else frame
        if part.is_empty():
            continue
        part = part.filter(pl.col("n") == pl.col("n").max())
        by = {(item["method"], item["verifier"]): interval_of(item, "accuracy") for item in part.iter_rows(named=True)}
        found.append(
            {
                "row": row,
                "n": part["n"][0],
                "majority": by.get(("majority_vote", None)),
                "oracle": by.get(("oracle", None)),
                "checks": [
                    (label, by.get(("best_of_n", label)), by.get(("weighted_vote", label)))
                    for label in data.own
                    if ("best_of_n", label) in by
                ],
            }
        )
    return found


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
        f"perfect calibration. Bars: {bars}. Bins with less than {100 * MIN_SHARE_OF_BIN:g} % of the responses are "
        "only in the table calibration_bins.",
        "test_time": "Accuracy when the response that a check scores highest is chosen from n, by model; subsets of n "
        f"are drawn without replacement. Bands: {bars}.",
        "weighted_vote": "Accuracy of the answer with the largest sum of scores among n responses: a vote weighted by "
        f"a check. Majority vote and oracle as above. Bands: {bars}.",
    }
