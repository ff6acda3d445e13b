"""The report of a study of exploration: one HTML page, the figures as PNG, and every table as CSV and Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ops.exploration_bench import ExplorationBench
from ops.stages.study_report import PAGE
from ops.storage.atomic import atomic_file, write_text_atomically
from ops.storage.schemas import polars_schema
from ops.types import StageResult


def write_exploration_report(bench: ExplorationBench) -> StageResult:
    """Write ``reports/studies/STUDY/`` and commit its row of the table ``reports`` (CPU).

    A page that somebody removed, or that shows another state of the study, is written again, although the row is there.

    Raises:
        StorageError: when ``exploration_metrics``, ``exploration_differences``, ``findings`` or a table of an
            experiment is missing or damaged.
    """
    page, plot = bench.folder / PAGE, bench.folder / "exploration.png"

    def write() -> pl.DataFrame:
        from ops.reporting.exploration_study_curves import read_training
        from ops.reporting.exploration_study_data import read_exploration
        from ops.reporting.exploration_study_figures import study_pngs
        from ops.reporting.exploration_study_page import exploration_study_page
        from ops.reporting.exploration_study_settings import read_settings
        from ops.reporting.exploration_study_words import study_answer

        data, training = read_exploration(bench), read_training(bench)
        _write_tables(bench.folder, {**data.tables, "training_dynamics": training})
        study_pngs(data, training, bench.folder)
        write_text_atomically(page, exploration_study_page(data, training, read_settings(bench)))
        row = {
            "answer": study_answer(data),
            "html_path": str(page.relative_to(bench.store.home)),
            "plot_path": str(plot.relative_to(bench.store.home)),
        }
        return pl.DataFrame([row], schema=polars_schema("reports"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        return {"answer": frame["answer"][0], "path": frame["html_path"][0], "plot": frame["plot_path"][0]}

    fingerprint = bench.fingerprints["exploration_report"]
    is_current = page.is_file() and fingerprint in page.read_text(encoding="utf-8")
    if bench.store.has("reports", fingerprint) and not is_current:
        write()
    return bench.materialise("reports", "exploration_report", write, metadata)


def _write_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    for name, frame in tables.items():
        with atomic_file(folder / f"{name}.csv") as staging:
            frame.write_csv(staging)
        with atomic_file(folder / f"{name}.parquet") as staging:
            frame.write_parquet(staging)
