"""The page of a study of arms: one self-contained HTML file. Nothing is fetched, every text is escaped."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from ops.reporting import words
from ops.reporting.arms_data import ArmsData, Cell, Metric
from ops.reporting.arms_plots import CURVES, arms_svgs, file_name
from ops.reporting.arms_words import ORGANISM, arms_outcomes, arms_summary, left_out, metric_caption
from ops.reporting.numbers import interval_of
from ops.reporting.page import page_template
from ops.reporting.plots import MARKERS, SERIES

TEMPLATE = Path(__file__).with_name("arms_page.html.j2")
SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""Matplotlib's markers as text, for the legend of the page."""
MAIN = ("accuracy", "strict_accuracy", "gap", "pass_at_k")
"""Metrics whose tables are open; the others are one click away."""


def arms_page(data: ArmsData) -> str:
    """The report of a study of arms as HTML."""
    from markupsafe import Markup

    by_file = {file_name(item): item for item in data.metrics}
    figures = [
        (title, Markup(svg), metric_caption(data, by_file.get(name)))  # noqa: S704
        for name, (title, svg) in arms_svgs(data).items()
    ]
    return page_template(TEMPLATE).render(
        data=data,
        summary=arms_summary(data),
        outcomes=arms_outcomes(data),
        organism=ORGANISM if data.is_builtin else None,
        missing=words.NOTHING,
        level=f"{100 * data.confidence:g} %",
        legend=[(arm, _color(i), SIGNS[MARKERS[i % len(MARKERS)]]) for i, arm in enumerate(data.arms)],
        left_out=left_out(data),
        figures=figures,
        findings=[dict(row, value=interval_of(row, "value")) for row in data.tables["findings"].iter_rows(named=True)],
        grids=[(metric, metric.name in MAIN, _grid(data, metric)) for metric in data.metrics],
        differences=_differences(data),
        table_rows={name: frame.height for name, frame in data.tables.items()},
        images=[*by_file, CURVES, "arms"],
    )


def _color(place: int) -> str:
    """The colour of an arm in the page's CSS."""
    number = place % len(SERIES)
    return "var(--series)" if number == 0 else f"var(--series-{number}, {SERIES[number]})"


def _grid(data: ArmsData, metric: Metric) -> list[tuple[str, list[Cell | None]]]:
    """One row per arm, one cell per iteration."""
    rows = []
    for arm in data.arms:
        curve = data.curve(arm.label, metric)
        if curve:
            rows.append((arm.label, [curve.get(k) for k in range(data.last + 1 + metric.shift)]))
    return rows


def _differences(data: ArmsData) -> list[dict[str, Any]]:
    """Every pair of arms at the last iteration that both have; the reference, where there is one, is subtracted."""
    rows = []
    for first, second in itertools.combinations(data.arms, 2):
        a, b = (second, first) if first.label == data.reference else (first, second)
        last = min(a.last, b.last)
        for metric in data.metrics:
            cell = data.difference(a.label, b.label, metric, last)
            if cell is not None:
                at = last + metric.shift
                rows.append({"a": a.label, "b": b.label, "iteration": at, "metric": metric, "cell": cell})
    order = {metric: i for i, metric in enumerate(data.metrics)}
    return sorted(rows, key=lambda row: order[row["metric"]])
