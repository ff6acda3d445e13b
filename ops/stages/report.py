"""The report: one HTML page and one plot, made from the tables of every iteration."""

from __future__ import annotations

import os
from typing import Any

import polars as pl

from ops.lab import Lab
from ops.storage.atomic import atomic_file, write_text_atomically
from ops.storage.schemas import polars_schema
from ops.types import StageResult

LARGEST_PLOT_BYTES = 400_000
"""A plot up to this size is shown in the asset's metadata."""


def write_report(lab: Lab) -> StageResult:
    """Write ``reports/EXPERIMENT.html`` and ``.png`` and commit their row of the table ``reports`` (CPU).

    A page that somebody removed is written again, although its row is there.
    """
    from ops.reporting import summarise

    html = lab.store.home / "reports" / f"{lab.experiment.name}.html"
    plot = html.with_suffix(".png")
    summary = summarise(lab.experiment, lab.plan, lab.store)

    def write() -> pl.DataFrame:
        from ops.reporting import examples_of, html_page, plot_png

        examples = examples_of(lab.experiment, lab.plan, lab.store)
        write_text_atomically(html, html_page(summary, examples))
        with atomic_file(plot) as staging:
            image = staging.with_name(f"{staging.name}.png")
            plot_png(summary, image)
            os.replace(image, staging)
        row = {
            "answer": summary.answer,
            "html_path": str(html.relative_to(lab.store.home)),
            "plot_path": str(plot.relative_to(lab.store.home)),
        }
        return pl.DataFrame([row], schema=polars_schema("reports"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        return {"answer": frame["answer"][0], "path": str(html), "plot": str(plot)}

    if lab.store.has("reports", lab.plan.fingerprints["report"]) and not (html.is_file() and plot.is_file()):
        write()
    return lab.materialise("reports", "report", None, write, metadata)
