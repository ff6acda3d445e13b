"""What the reports of all kinds of study share: one HTML page, its row of ``reports``, and the tables beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ops.storage.atomic import atomic_file, write_text_atomically
from ops.storage.schemas import polars_schema
from ops.study_tables import StudyTables
from ops.types import StageResult

PAGE = "index.html"


def write_study_page(
    bench: StudyTables, asset: str, plot_name: str, make: Callable[[], tuple[str, str]]
) -> StageResult:
    """Write the page into the study's folder and commit its row of the table ``reports`` (CPU).

    A page that somebody removed, or that shows another state of the study, is written again, although the row is there.

    Args:
        plot_name: of the figure that stands for the whole study, where ``make`` draws it.
        make: writes everything that lies beside the page, and returns (page, answer).
    """
    page, plot = bench.folder / PAGE, bench.folder / plot_name

    def write() -> pl.DataFrame:
        text, answer = make()
        write_text_atomically(page, text)
        row = {
            "answer": answer,
            "html_path": str(page.relative_to(bench.store.home)),
            "plot_path": str(plot.relative_to(bench.store.home)) if plot.is_file() else None,
        }
        return pl.DataFrame([row], schema=polars_schema("reports"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        plots = {"plot": frame["plot_path"][0]} if frame["plot_path"][0] is not None else {}
        return {"answer": frame["answer"][0], "path": frame["html_path"][0], **plots}

    fingerprint = bench.fingerprints[asset]
    is_current = page.is_file() and fingerprint in page.read_text(encoding="utf-8")
    if bench.store.has("reports", fingerprint) and not is_current:
        write()
    return bench.materialise("reports", asset, write, metadata)


def write_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Every table as CSV and as Parquet, each under its name."""
    for name, frame in tables.items():
        with atomic_file(folder / f"{name}.csv") as staging:
            frame.write_csv(staging)
        with atomic_file(folder / f"{name}.parquet") as staging:
            frame.write_parquet(staging)
