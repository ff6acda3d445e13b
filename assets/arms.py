"""The assets of studies of arms: what each of them runs, and which studies it covers. ``assets.study`` builds them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import dagster as dg

from ops.arms import LoadedArms
from ops.arms_plan import ArmsBench
from ops.exploration_bench import ExplorationBench
from ops.lab import studies_folder
from ops.stages.arm_comparison import measure_arms
from ops.stages.arm_findings import measure_arm_findings
from ops.stages.arms_report import write_arms_report
from ops.study_files import load_any_study, load_studies
from ops.types import StageResult

Opened = TypeVar("Opened", ArmsBench, ExplorationBench)

ArmStage = Callable[[ArmsBench], Sequence[StageResult]]

ARM_STAGES: dict[str, tuple[ArmStage, set[str], tuple[str, ...], str]] = {
    "arm_comparison": (
        lambda bench: [*measure_arms(bench), measure_arm_findings(bench)],
        {"polars", "duckdb"},
        ("generations", "verification_scores", "policy_shift"),
        "Every metric of every arm over its seeds, the difference of every pair of arms paired by seed and problem, "
        "and findings 5 and 6 of arXiv 2412.02674. SQL: `FROM arm_metrics`, `FROM arm_differences`, `FROM findings`.",
    ),
    "arms_report": (
        lambda bench: [write_arms_report(bench)],
        {"html", "matplotlib"},
        (),
        "One HTML page that compares the arms of a study over iterations and seeds, with all tables as CSV and "
        "Parquet beside it.",
    ),
}


def opener(
    open_: Callable[..., Opened], loaded: type
) -> Callable[[dg.AssetExecutionContext, Sequence[str]], list[Opened] | None]:
    """What opens the studies of one kind: the named ones, or all complete ones.

    Args:
        open_: ``open`` of the bench of that kind.
        loaded: what its files are loaded as.

    Returns:
        a function that gives None where studies of other kinds are named only; a named one may be incomplete, which is
        said in the log. It raises ExperimentError when a named study cannot be used.
    """

    def opened(context: dg.AssetExecutionContext, names: Sequence[str]) -> list[Opened] | None:
        if names:
            files = [load_any_study(studies_folder() / f"{name}.yaml") for name in names]
            benches = [open_(item, run_id=context.run_id) for item in files if isinstance(item, loaded)]
            for one in benches:
                for missing in one.missing:
                    context.log.warning(f"study {one.study.name}: experiment {missing} has not run to its end")
            return [one for one in benches if one.labs] or None
        benches = []
        for item in load_studies(studies_folder())[0].values():
            if not isinstance(item, loaded):
                continue
            one = open_(item, run_id=context.run_id, register=False)
            if one.is_complete:
                benches.append(open_(item, run_id=context.run_id))
            else:
                context.log.info(f"study {one.study.name}: waiting for {', '.join(one.missing)}")
        return benches

    return opened


opened_arms = opener(ArmsBench.open, LoadedArms)
