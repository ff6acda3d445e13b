"""The report of a study of arms: one HTML page, the figures as PNG, and every table as CSV and Parquet beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ops.arms_plan import ArmsBench
from ops.stages.study_report import PAGE
from ops.storage.atomic import atomic_file, write_text_atomically
from ops.storage.schemas import polars_schema
from ops.types import StageResult


def write_arms_report(bench: ArmsBench) -> StageResult:
    """Write ``reports/studies/STUDY/`` and commit its row of the table ``reports`` (CPU).

    A page that somebody removed, or that shows another state of the study, is written again, although the row is there.

    Raises:
        StorageError: when ``arm_metrics``, ``arm_differences`` or ``findings`` is missing or damaged.
    """
    page, plot = bench.folder / PAGE, bench.folder / "arms.png"

    def write() -> pl.DataFrame:
        from ops.reporting.arms_data import read_arms
        from ops.reporting.arms_page import arms_page
        from ops.reporting.arms_plots import arms_pngs
        from ops.reporting.arms_words import arms_answer

        data = read_arms(bench)
        _write_tables(bench.folder, data.tables)
        arms_pngs(data, bench.folder)
        write_text_atomically(page, arms_page(data))
        row = {
            "answer": arms_answer(data),
            "html_path": str(page.relative_to(bench.store.home)),
            "plot_path": str(plot.relative_to(bench.store.home)),
        }
        return pl.DataFrame([row], schema=polars_schema("reports"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        return {"answer": frame["answer"][0], "path": frame["html_path"][0], "plot": frame["plot_path"][0]}

    fingerprint = bench.fingerprints["arms_report"]
    is_current = page.is_file() and fingerprint in page.read_text(encoding="utf-8")
    if bench.store.has("reports", fingerprint) and not is_current:
        write()
    return bench.materialise("reports", "arms_report", write, metadata)


def _write_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    for name, frame in tables.items():
        with atomic_file(folder / f"{name}.csv") as staging:
            frame.write_csv(staging)
        with atomic_file(folder / f"{name}.parquet") as staging:
            frame.write_parquet(staging)
