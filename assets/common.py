"""What all assets share: the partition, names, and how a stage becomes a Dagster asset."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from assets.metadata import shown
from ops.gpu_ops import CPU_TAGS, is_surplus, materialized, opened_lab, plain_numbers
from ops.lab import Lab
from ops.plan import CODE_VERSIONS
from ops.types import StageResult

EXPERIMENT = dg.DynamicPartitionsDefinition(name="experiment")
"""One partition per file of ``experiments/``."""

OWNERS = ["team:post-training"]


def iteration_key(iteration: int, asset: str) -> dg.AssetKey:
    """``iteration_2/generations``."""
    return dg.AssetKey([f"iteration_{iteration}", asset])


def start_model_key(iteration: int) -> dg.AssetKey:
    """The model that generates at ``iteration``: ``base_model``, or the model that the iteration before trained."""
    return dg.AssetKey("base_model") if iteration == 0 else iteration_key(iteration - 1, "model")


def about(asset: str, iteration: int | None, kinds: set[str], description: str, *, gpu: bool = False) -> dict[str, Any]:
    """The attributes that every asset has, in one place.

    Args:
        asset: a key of ``CODE_VERSIONS``.
        iteration: None for assets outside of the iterations.
        kinds: at most three; the graph shows them as icons.
        description: for a newcomer.
        gpu: whether its heavy part needs the pool ``gpu``.
    """
    return {
        "key": dg.AssetKey(asset) if iteration is None else iteration_key(iteration, asset),
        "group_name": asset if iteration is None else f"iteration_{iteration}",
        "partitions_def": EXPERIMENT,
        "owners": OWNERS,
        "kinds": kinds,
        "description": description,
        "code_version": CODE_VERSIONS[asset],
        "tags": {"mindgap/resource": "gpu" if gpu else "cpu"}
        | ({} if iteration is None else {"mindgap/iteration": str(iteration)}),
    }


def cpu_asset(
    asset: str,
    iteration: int,
    deps: Sequence[dg.AssetKey],
    kinds: set[str],
    description: str,
    stage: Callable[[Lab, int], StageResult],
    *,
    trains: bool = False,
) -> dg.AssetsDefinition:
    """A plain asset of one iteration that runs ``stage`` and is skipped where the experiment has no such iteration."""

    @dg.asset(
        **about(asset, iteration, kinds, description),
        deps=deps,
        output_required=False,
        op_tags=CPU_TAGS,
        required_resource_keys={"bench"},
    )
    def measured(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        with opened_lab(context) as lab:
            if is_surplus(context, lab, iteration, trains=trains):
                return
            result = stage(lab, iteration)
            context.resources.bench.committed(result)
        yield dg.MaterializeResult(metadata=shown(result), data_version=dg.DataVersion(result.fingerprint))

    return measured


def commit_op(name: str, iteration: int, description: str, stage: Callable[[Lab, int], StageResult]) -> dg.OpDefinition:
    """The CPU op behind a GPU op: it runs ``stage`` and reports the asset, with the GPU op's numbers beside its own."""

    @dg.op(
        name=f"{name}_{iteration}",
        description=description,
        ins={"numbers": dg.In(dict, input_manager_key="numbers")},
        out=dg.Out(dg.Nothing, is_required=False),
        tags=CPU_TAGS,
        required_resource_keys={"bench"},
    )
    def commit(context: dg.OpExecutionContext, numbers: dict) -> Iterator[dg.Output]:
        with opened_lab(context) as lab:
            lab.spent = plain_numbers(numbers)
            try:
                result = stage(lab, iteration)
            finally:
                lab.spent = {}
            context.resources.bench.committed(result)
        metadata = shown(result, plain_numbers(numbers))
        yield materialized(result, metadata)

    return commit
