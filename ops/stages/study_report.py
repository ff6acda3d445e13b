"""The study's report: one HTML page, the figures as PNG, and every table as CSV and Parquet beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ops.storage.atomic import atomic_file, write_text_atomically
from ops.storage.schemas import polars_schema
from ops.study_plan import StudyBench
from ops.types import StageResult

PAGE = "index.html"


def write_study_report(bench: StudyBench) -> StageResult:
    """Write ``reports/studies/STUDY/`` and commit its row of the table ``reports`` (CPU).

    A page that somebody removed, or that shows another state of the study, is written again, although the row is there.
    """
    page, plot = bench.folder / PAGE, bench.folder / "scaling.png"

    def write() -> pl.DataFrame:
        from ops.reporting.study_data import read_study
        from ops.reporting.study_page import study_page
        from ops.reporting.study_plots import study_pngs
        from ops.reporting.study_words import study_answer

        data = read_study(bench)
        _write_tables(bench, data.tables)
        study_pngs(data, bench.folder)
        write_text_atomically(page, study_page(data))
        row = {
            "answer": study_answer(data),
            "html_path": str(page.relative_to(bench.store.home)),
            "plot_path": str(plot.relative_to(bench.store.home)) if plot.is_file() else None,
        }
        return pl.DataFrame([row], schema=polars_schema("reports"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        plots = {"plot": frame["plot_path"][0]} if frame["plot_path"][0] is not None else {}
        return {"answer": frame["answer"][0], "path": frame["html_path"][0], **plots}

    fingerprint = bench.fingerprints["study_report"]
    is_current = page.is_file() and fingerprint in page.read_text(encoding="utf-8")
    if bench.store.has("reports", fingerprint) and not is_current:
        write()
    return bench.materialise("reports", "study_report", write, metadata)


def _write_tables(bench: StudyBench, tables: Mapping[str, pl.DataFrame]) -> None:
    for name, frame in tables.items():
        with atomic_file(bench.folder / f"{name}.csv") as staging:
            frame.write_csv(staging)
        with atomic_file(bench.folder / f"{name}.parquet") as staging:
            frame.write_parquet(staging)
