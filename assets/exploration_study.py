"""The assets of studies of exploration: what each of them runs, and which studies it covers."""

from collections.abc import Callable, Sequence

from assets.arms import opener
from ops.exploration_bench import ExplorationBench
from ops.exploration_study import LoadedExploration
from ops.stages.exploration_comparison import measure_exploration
from ops.stages.exploration_findings import measure_exploration_findings
from ops.stages.exploration_report import write_exploration_report
from ops.types import StageResult

ExplorationStage = Callable[[ExplorationBench], Sequence[StageResult]]

EXPLORATION_STAGES: dict[str, tuple[ExplorationStage, set[str], tuple[str, ...], str]] = {
    "exploration_comparison": (
        lambda bench: [*measure_exploration(bench), measure_exploration_findings(bench)],
        {"polars", "duckdb"},
        ("exploration/evaluation", "exploration/training_dynamics"),
        "Every metric of every arm on every task over its seeds, its difference to the base model and to the reference "
        "arm paired by seed and problem, and what arXiv 2509.06941 says of diversity, decided. SQL: "
        "`FROM exploration_metrics`, `FROM exploration_differences`, `FROM findings`.",
    ),
    "exploration_report": (
        lambda bench: [write_exploration_report(bench)],
        {"html", "matplotlib"},
        (),
        "One HTML page per study of exploration: the talk's table of arXiv 2509.06941 over seeds, pass@k curves, "
        "training as sampling against the base model at equal numbers of responses, and what the findings say, with "
        "every table as CSV and Parquet beside it.",
    ),
}

opened_exploration = opener(ExplorationBench.open, LoadedExploration)
