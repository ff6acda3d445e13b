"""What all assets share: the partition, names, and how a stage becomes a Dagster asset."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.metadata import shown
from ops.gpu_ops import CPU_TAGS, group_op, is_other_kind, is_surplus, materialized, opened_lab, plain_numbers
from ops.kinds import Group
from ops.lab import Lab
from ops.plan import CODE_VERSIONS
from ops.types import StageResult

EXPERIMENT = dg.DynamicPartitionsDefinition(name="experiment")
"""One partition per file of ``experiments/``."""

OWNERS = ["team:post-training"]


def iteration_key(iteration: int, asset: str) -> dg.AssetKey:
    """``iteration_2/generations``."""
    return dg.AssetKey([f"iteration_{iteration}", asset])


def group_key(group: Group, asset: str) -> dg.AssetKey:
    """``exploration/policy``."""
    return dg.AssetKey([group, asset])


def start_model_key(iteration: int) -> dg.AssetKey:
    """The model that generates at ``iteration``: ``base_model``, or the model that the iteration before trained."""
    return dg.AssetKey("base_model") if iteration == 0 else iteration_key(iteration - 1, "model")


def about(asset: str, iteration: int | None, kinds: set[str], description: str, *, gpu: bool = False) -> dict[str, Any]:
    """The attributes that every asset has, in one place.

    Args:
        asset: a key of ``CODE_VERSIONS``, or ``exploration/`` or ``evaluation/`` and one.
        iteration: None for assets outside of the iterations.
        kinds: at most three; the graph shows them as icons.
        description: for a newcomer.
        gpu: whether its heavy part needs the pool ``gpu``.
    """
    path = asset.split("/")
    return {
        "key": dg.AssetKey(path) if iteration is None else iteration_key(iteration, asset),
        "group_name": path[0] if iteration is None else f"iteration_{iteration}",
        "partitions_def": EXPERIMENT,
        "owners": OWNERS,
        "kinds": kinds,
        "description": description,
        "code_version": CODE_VERSIONS[path[-1]],
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
    return _cpu_asset(
        about(asset, iteration, kinds, description),
        deps,
        lambda lab: stage(lab, iteration),
        lambda context, lab: is_surplus(context, lab, iteration, trains=trains),
    )


def group_cpu_asset(
    group: Group,
    asset: str,
    deps: Sequence[dg.AssetKey],
    kinds: set[str],
    description: str,
    stage: Callable[[Lab], StageResult],
) -> dg.AssetsDefinition:
    """A plain asset of one kind of experiment that has no loop; skipped in the others."""
    return _cpu_asset(
        about(f"{group}/{asset}", None, kinds, description),
        deps,
        stage,
        lambda context, lab: is_other_kind(context, lab, group),
    )


@dataclass(frozen=True)
class Step:
    """An op in words and in code: a stage function of the lab."""

    name: str
    description: str
    stage: Callable[[Lab], Any]


def group_gpu_asset(
    group: Group, asset: str, waits_for: Sequence[dg.AssetKey], kinds: set[str], description: str, work: Step, end: Step
) -> dg.AssetsDefinition:
    """An asset of one kind of experiment that has no loop, in two ops; skipped in the others.

    Args:
        work: on the GPU; returns plain numbers.
        end: on the CPU; commits the table.
    """
    names = {key.path[-1]: key for key in waits_for}
    works = group_op(group, work.name, work.description, tuple(names), work.stage)
    ends = _commit_op(end.name, end.description, end.stage)
    return _graph_asset(
        about(f"{group}/{asset}", None, kinds, description, gpu=True), names, lambda inputs: ends(works(**inputs))
    )


def _graph_asset(
    attributes: Mapping[str, Any], ins: Mapping[str, dg.AssetKey], compose: Callable[[dict[str, Any]], Any]
) -> dg.AssetsDefinition:
    """A graph asset with inputs that it only waits for, however many.

    Args:
        compose: calls the ops with the inputs by name.
    """

    def graph(**inputs: Any) -> Any:
        return compose(inputs)

    graph.__name__ = attributes["key"].path[-1]
    graph.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ins]
    )
    waits = {name: dg.AssetIn(key, dagster_type=dg.Nothing) for name, key in ins.items()}
    return dg.graph_asset(**attributes, ins=waits)(graph)


def _cpu_asset(
    attributes: Mapping[str, Any],
    deps: Sequence[dg.AssetKey],
    stage: Callable[[Lab], StageResult],
    is_skipped: Callable[[Any, Lab], bool],
) -> dg.AssetsDefinition:
    @dg.asset(
        **attributes,
        deps=deps,
        output_required=False,
        op_tags=CPU_TAGS,
        required_resource_keys={"bench"},
    )
    def measured(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        with opened_lab(context) as lab:
            if is_skipped(context, lab):
                return
            result = stage(lab)
            context.resources.bench.committed(result)
        yield dg.MaterializeResult(metadata=shown(result), data_version=dg.DataVersion(result.fingerprint))

    return measured


def fan_in_asset(
    asset: str,
    kinds: set[str],
    description: str,
    keys: Sequence[dg.AssetKey],
    op_name: str,
    op_description: str,
    stage: Callable[[Lab], StageResult],
    *,
    needs_loop: bool = False,
) -> dg.AssetsDefinition:
    """An asset over all results of an experiment, that waits for those which are coming and does without the rest.

    Everything in ``keys`` enters one fan-in input: Dagster skips a step as soon as one of its inputs is missing, but a
    fan-in input counts as missing only when all of its sources are. So an experiment with fewer iterations than the
    graph, one that a rule has stopped, or one without a loop, still gets it (docs/decisions/0002-graph.md).

    Args:
        needs_loop: whether it is skipped in other kinds of experiments.
    """

    @dg.op(
        name=op_name,
        description=op_description,
        ins={"measured": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing, is_required=not needs_loop),
        tags=CPU_TAGS,
        required_resource_keys={"bench"},
    )
    def over_iterations(context: dg.OpExecutionContext) -> Iterator[dg.Output]:
        with opened_lab(context) as lab:
            if needs_loop and is_other_kind(context, lab, "loop"):
                return
            result = stage(lab)
            context.resources.bench.committed(result)
        yield materialized(result, shown(result))

    names = {"_".join([*key.path[1:], key.path[0].removeprefix("iteration_")]): key for key in keys}

    return _graph_asset(
        about(asset, None, kinds, description), names, lambda inputs: over_iterations(measured=list(inputs.values()))
    )


def commit_op(name: str, iteration: int, description: str, stage: Callable[[Lab, int], StageResult]) -> dg.OpDefinition:
    """The CPU op behind a GPU op: it runs ``stage`` and reports the asset, with the GPU op's numbers beside its own."""
    return _commit_op(f"{name}_{iteration}", description, lambda lab: stage(lab, iteration))


def _commit_op(name: str, description: str, stage: Callable[[Lab], StageResult]) -> dg.OpDefinition:
    """Where the GPU op is skipped, so is this."""

    @dg.op(
        name=name,
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
                result = stage(lab)
            finally:
                lab.spent = {}
            context.resources.bench.committed(result)
        metadata = shown(result, plain_numbers(numbers))
        yield materialized(result, metadata)

    return commit
