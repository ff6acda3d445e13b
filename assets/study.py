"""A study's assets, without partitions: they look at all experiments of every study."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.arms import ARM_STAGES, opened_arms
from assets.common import OWNERS, iteration_key
from assets.exploration_study import EXPLORATION_STAGES, opened_exploration
from assets.metadata import shown
from ops.errors import MindgapError
from ops.gpu_ops import CPU_TAGS
from ops.lab import home_folder, studies_folder
from ops.plan import CODE_VERSIONS, VERIFIER_ASSETS
from ops.stages.study_findings import measure_findings
from ops.stages.study_report import write_study_report
from ops.stages.study_scaling import measure_cross, measure_scaling
from ops.storage.catalog import rebuild_catalog
from ops.study import LoadedStudy
from ops.study_files import load_any_study, load_studies
from ops.study_plan import StudyBench
from ops.types import StageResult

STUDY_GROUP = "study"

Stage = Callable[[Any], Sequence[StageResult]]
"""Takes the bench of a study."""

Stages = Mapping[str, tuple[Stage, set[str], tuple[str, ...], str]]
"""By asset: what it runs, its kinds, the assets that it reads (of iteration 0, or by a whole name), its description."""

STAGES: Stages = {
    "scaling_law": (
        measure_scaling,
        {"polars", "duckdb"},
        ("gap_metrics",),
        "Relative and absolute gap of every check against log10 pretraining FLOPs, per task and family: least squares "
        "with intervals. SQL: `FROM scaling_laws`, `FROM scaling_points`.",
    ),
    "cross_verification": (
        lambda bench: [measure_cross(bench)],
        {"polars", "duckdb"},
        ("gap_metrics",),
        "Generator x verifier matrix: the gap when one model checks another one's responses. "
        "SQL: `FROM cross_verification`.",
    ),
    "study_report": (
        lambda bench: [measure_findings(bench), write_study_report(bench)],
        {"html", "matplotlib"},
        VERIFIER_ASSETS,
        "Findings 1-4 of arXiv 2412.02674 decided from the study's data, and one HTML page that reads like a result "
        "section, with all tables as CSV and Parquet beside it.",
    ),
}


class StudyConfig(dg.Config):
    """Which studies; none named: all whose experiments are complete."""

    studies: list[str] = []  # noqa: RUF012  (Dagster copies it, as pydantic does)


def _asset(
    name: str,
    upstream: Sequence[str],
    stages: Stages,
    opened: Callable[[dg.AssetExecutionContext, Sequence[str]], Sequence[Any] | None],
) -> dg.AssetsDefinition:
    """An asset over the studies of one kind; a run that names studies of the other kind only leaves it alone."""
    stage, kinds, read, description = stages[name]

    @dg.asset(
        key=dg.AssetKey(name),
        group_name=STUDY_GROUP,
        deps=[*(dg.AssetKey(other) for other in upstream), *(_read_key(asset) for asset in read)],
        owners=OWNERS,
        kinds=kinds,
        description=description,
        code_version=CODE_VERSIONS[name],
        tags={"mindgap/resource": "cpu"},
        op_tags=CPU_TAGS,
        output_required=False,
    )
    def over_experiments(context: dg.AssetExecutionContext, config: StudyConfig) -> Iterator[dg.MaterializeResult]:
        try:
            benches = opened(context, config.studies)
            results = [result for bench in benches or () for result in stage(bench)]
        except MindgapError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        if benches is None:
            context.log.info("nothing to do: the named studies are of another kind, or nothing of them is measured")
            return
        if results:
            rebuild_catalog(home_folder())
        version = hashlib.blake2b("".join(item.fingerprint for item in results).encode(), digest_size=8).hexdigest()
        yield dg.MaterializeResult(metadata=metadata_of(results), data_version=dg.DataVersion(version))

    return over_experiments


def _read_key(asset: str) -> dg.AssetKey:
    """``gap_metrics`` -> ``iteration_0/gap_metrics``; ``exploration/evaluation`` is a whole name."""
    return dg.AssetKey(asset.split("/")) if "/" in asset else iteration_key(0, asset)


def opened_studies(context: dg.AssetExecutionContext, names: Sequence[str]) -> list[StudyBench] | None:
    """The named studies of models x tasks x verifiers, or all complete ones; None where other studies are named only.

    A named one may be incomplete, which is said in the log.

    Raises:
        ExperimentError: when a named study cannot be used.
    """
    if names:
        named = [load_any_study(studies_folder() / f"{name}.yaml") for name in names]
        benches = [StudyBench.open(item, run_id=context.run_id) for item in named if isinstance(item, LoadedStudy)]
        for bench in benches:
            for missing in bench.missing:
                context.log.warning(f"study {bench.study.name}: experiment {missing} is not complete: left out")
        return benches or None
    good, bad = load_studies(studies_folder())
    for error in bad.values():
        context.log.warning(f"study left out: {error}")
    benches = []
    for loaded in good.values():
        if not isinstance(loaded, LoadedStudy):
            continue
        bench = StudyBench.open(loaded, run_id=context.run_id, register=False)
        if bench.is_complete:
            benches.append(StudyBench.open(loaded, run_id=context.run_id))
        else:
            context.log.info(f"study {bench.study.name}: waiting for {', '.join(bench.missing)}")
    return benches


def metadata_of(results: Sequence[StageResult]) -> dict[str, Any]:
    """Numbers of all tables; with several studies each name begins with its study's."""
    studies = {result.experiment for result in results}
    metadata: dict[str, Any] = {"studies": ", ".join(sorted(studies)) or "none is complete"}
    for result in results:
        prefix = f"{result.experiment}: " if len(studies) > 1 else ""
        metadata |= {f"{prefix}{name}": value for name, value in shown(result).items()}
    metadata["reused"] = dg.MetadataValue.bool(bool(results) and all(result.reused for result in results))
    return metadata


scaling_law = _asset("scaling_law", (), STAGES, opened_studies)
cross_verification = _asset("cross_verification", (), STAGES, opened_studies)
study_report = _asset("study_report", ("scaling_law", "cross_verification"), STAGES, opened_studies)
arm_comparison = _asset("arm_comparison", (), ARM_STAGES, opened_arms)
arms_report = _asset("arms_report", ("arm_comparison",), ARM_STAGES, opened_arms)
exploration_comparison = _asset("exploration_comparison", (), EXPLORATION_STAGES, opened_exploration)
exploration_report = _asset("exploration_report", ("exploration_comparison",), EXPLORATION_STAGES, opened_exploration)

STUDY_ASSETS = [
    scaling_law,
    cross_verification,
    study_report,
    arm_comparison,
    arms_report,
    exploration_comparison,
    exploration_report,
]
