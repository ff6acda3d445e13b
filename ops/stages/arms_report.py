"""The report of a study of arms: one HTML page, the figures as PNG, and every table as CSV and Parquet beside them."""

from __future__ import annotations

from ops.arms_plan import ArmsBench
from ops.stages.study_page import write_study_page, write_tables
from ops.types import StageResult


def write_arms_report(bench: ArmsBench) -> StageResult:
    """Write ``reports/studies/STUDY/`` and commit its row of the table ``reports`` (CPU).

    Raises:
        StorageError: when ``arm_metrics``, ``arm_differences`` or ``findings`` is missing or damaged.
    """

    def make() -> tuple[str, str]:
        from ops.reporting.arms_data import read_arms
        from ops.reporting.arms_page import arms_page
        from ops.reporting.arms_plots import arms_pngs
        from ops.reporting.arms_words import arms_answer

        data = read_arms(bench)
        write_tables(bench.folder, data.tables)
        arms_pngs(data, bench.folder)
        return arms_page(data), arms_answer(data)

    return write_study_page(bench, "arms_report", "arms.png", make)
