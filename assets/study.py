"""A study's assets, without partitions: they look at all experiments of every study."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from assets.common import OWNERS, iteration_key
from assets.metadata import shown
from ops.errors import MindgapError
from ops.gpu_ops import CPU_TAGS
from ops.lab import home_folder, studies_folder
from ops.plan import CODE_VERSIONS, VERIFIER_ASSETS
from ops.stages.study_findings import measure_findings
from ops.stages.study_report import write_study_report
from ops.stages.study_scaling import measure_cross, measure_scaling
from ops.storage.catalog import rebuild_catalog
from ops.study_files import load_studies
from ops.study_plan import StudyBench
from ops.types import StageResult

STUDY_GROUP = "study"

Stage = Callable[[StudyBench], Sequence[StageResult]]

STAGES: dict[str, tuple[Stage, set[str], tuple[str, ...], str]] = {
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


def _asset(name: str, upstream: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    stage, kinds, read, description = STAGES[name]

    @dg.asset(
        key=dg.AssetKey(name),
        group_name=STUDY_GROUP,
        deps=[*upstream, *(iteration_key(0, asset) for asset in read)],
        owners=OWNERS,
        kinds=kinds,
        description=description,
        code_version=CODE_VERSIONS[name],
        tags={"mindgap/resource": "cpu"},
        op_tags=CPU_TAGS,
    )
    def over_experiments(context: dg.AssetExecutionContext, config: StudyConfig) -> dg.MaterializeResult:
        try:
            results = [result for bench in opened_studies(context, config.studies) for result in stage(bench)]
        except MindgapError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        if results:
            rebuild_catalog(home_folder())
        version = hashlib.blake2b("".join(item.fingerprint for item in results).encode(), digest_size=8).hexdigest()
        return dg.MaterializeResult(metadata=metadata_of(results), data_version=dg.DataVersion(version))

    return over_experiments


def opened_studies(context: dg.AssetExecutionContext, names: Sequence[str]) -> list[StudyBench]:
    """The named studies, or all complete ones; a named one may be incomplete, which is said in the log."""
    if names:
        benches = [StudyBench.open(name, run_id=context.run_id) for name in names]
        for bench in benches:
            for missing in bench.missing:
                context.log.warning(f"study {bench.study.name}: experiment {missing} is not complete: left out")
        return benches
    good, bad = load_studies(studies_folder())
    for error in bad.values():
        context.log.warning(f"study left out: {error}")
    benches = []
    for loaded in good.values():
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


scaling_law = _asset("scaling_law", ())
cross_verification = _asset("cross_verification", ())
study_report = _asset("study_report", (dg.AssetKey("scaling_law"), dg.AssetKey("cross_verification")))

STUDY_ASSETS = [scaling_law, cross_verification, study_report]
