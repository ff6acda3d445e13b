"""The study's report: one HTML page, the figures as PNG, and every table as CSV and Parquet beside them."""

from __future__ import annotations

from ops.stages.study_page import write_study_page, write_tables
from ops.study_plan import StudyBench
from ops.types import StageResult


def write_study_report(bench: StudyBench) -> StageResult:
    """Write ``reports/studies/STUDY/`` and commit its row of the table ``reports`` (CPU)."""

    def make() -> tuple[str, str]:
        from ops.reporting.study_data import read_study
        from ops.reporting.study_page import study_page
        from ops.reporting.study_plots import study_pngs
        from ops.reporting.study_words import study_answer

        data = read_study(bench)
        write_tables(bench.folder, data.tables)
        study_pngs(data, bench.folder)
        return study_page(data), study_answer(data)

    return write_study_page(bench, "study_report", "scaling.png", make)
