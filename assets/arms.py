"""The assets of studies of arms: what each of them runs, and which studies it covers. ``assets.study`` builds them."""

from collections.abc import Callable, Sequence

import dagster as dg

from ops.arms import LoadedArms
from ops.arms_plan import ArmsBench
from ops.lab import studies_folder
from ops.stages.arm_comparison import measure_arms
from ops.stages.arm_findings import measure_arm_findings
from ops.stages.arms_report import write_arms_report
from ops.study_files import load_any_study, load_studies
from ops.types import StageResult

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


def opened_arms(context: dg.AssetExecutionContext, names: Sequence[str]) -> list[ArmsBench] | None:
    """The named studies of arms, or all complete ones; None where other studies are named only.

    A named one may be incomplete, which is said in the log.

    Raises:
        ExperimentError: when a named study cannot be used.
    """
    if names:
        loaded = [load_any_study(studies_folder() / f"{name}.yaml") for name in names]
        benches = [ArmsBench.open(item, run_id=context.run_id) for item in loaded if isinstance(item, LoadedArms)]
        for bench in benches:
            for missing in bench.missing:
                context.log.warning(f"study {bench.study.name}: experiment {missing} has not run to its end")
        return [bench for bench in benches if bench.labs] or None
    benches = []
    for item in load_studies(studies_folder())[0].values():
        if not isinstance(item, LoadedArms):
            continue
        bench = ArmsBench.open(item, run_id=context.run_id, register=False)
        if bench.is_complete:
            benches.append(ArmsBench.open(item, run_id=context.run_id))
        else:
            context.log.info(f"study {bench.study.name}: waiting for {', '.join(bench.missing)}")
    return benches
