"""The report of a study of exploration: one HTML page, the figures as PNG, and every table as CSV and Parquet."""

from __future__ import annotations

from ops.exploration_bench import ExplorationBench
from ops.stages.study_page import write_study_page, write_tables
from ops.types import StageResult


def write_exploration_report(bench: ExplorationBench) -> StageResult:
    """Write ``reports/studies/STUDY/`` and commit its row of the table ``reports`` (CPU).

    Raises:
        StorageError: when ``exploration_metrics``, ``exploration_differences``, ``findings`` or a table of an
            experiment is missing or damaged.
    """

    def make() -> tuple[str, str]:
        from ops.reporting.exploration_study_curves import read_training
        from ops.reporting.exploration_study_data import read_exploration
        from ops.reporting.exploration_study_figures import study_pngs
        from ops.reporting.exploration_study_page import exploration_study_page
        from ops.reporting.exploration_study_settings import read_settings
        from ops.reporting.exploration_study_words import study_answer

        data, training = read_exploration(bench), read_training(bench)
        write_tables(bench.folder, {**data.tables, "training_dynamics": training})
        study_pngs(data, training, bench.folder)
        return exploration_study_page(data, training, read_settings(bench)), study_answer(data)

    return write_study_page(bench, "exploration_report", "exploration.png", make)
