"""The GPU-bound Dagster ops: sampling, verification, training. The one module of ``ops`` that knows Dagster.

Each claims a slot of the pool ``gpu``, carries resource tags for schedulers that place steps, is retried when it
fails by accident (never when the user has to act), and hands a small dict of numbers to the CPU op behind it.
What the experiment does not have yields nothing, and Dagster skips what hangs on it: an iteration behind its last
one, by its settings or because a rule has stopped it, and every asset of another kind of experiment (``ops.kinds``).
"""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from ops.errors import MindgapError
from ops.kinds import Group, Kind, kind_of
from ops.lab import Lab
from ops.stopping import require_judged, stopped_at
from ops.types import StageResult

K8S_GPUS_VARIABLE = "MINDGAP_K8S_GPUS"
"""How many GPUs a GPU step's pod asks Kubernetes for; 0 on a cluster without any."""


def gpu_tags() -> dict[str, Any]:
    """The tags of a GPU op. ``dagster-k8s/config`` is read by the Kubernetes executor only; others ignore it.

    Raises:
        MindgapError: when MINDGAP_K8S_GPUS is not a whole number from 0 on.
    """
    text = os.environ.get(K8S_GPUS_VARIABLE) or "1"
    if not (text.isascii() and text.isdigit()):
        problem = f"expected a whole number of GPUs from 0 on, got {text!r}"
        raise MindgapError("environment", problem, field=K8S_GPUS_VARIABLE, remedy=f"unset {K8S_GPUS_VARIABLE} for 1")
    tags: dict[str, Any] = {"mindgap/resource": "gpu"}
    if int(text):
        limits = {"nvidia.com/gpu": str(int(text))}  # Kubernetes takes the same number for requests
        tags["dagster-k8s/config"] = {"container_config": {"resources": {"limits": limits}}}
    return tags


GPU_POOL = "gpu"
GPU_TAGS = gpu_tags()
CPU_TAGS = {"mindgap/resource": "cpu"}
INTERRUPTED = "interrupted; run it again to resume from the last committed chunk"
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
"""For accidents such as a GPU that another program filled; chunks already committed are not computed again."""

HAS: dict[Group, str] = {
    "exploration": "trains a policy by reinforcement learning",
    "evaluation": "compares models by labels and judges",
}
HAS_NOT: dict[Group, str] = {
    "exploration": "no policy is trained here by reinforcement learning",
    "evaluation": "no models are compared here by labels and judges",
}
"""What the log of a skipped step says."""


@contextmanager
def opened_lab(context: Any) -> Iterator[Lab]:
    """The run's lab for the step's partition, with progress going to the step's log.

    Errors that the user has to act on become one ``Failure`` without a retry; after any error loaded
    engines are freed, so that a retry starts with empty memory.
    """
    bench = context.resources.bench
    if bench.interrupted:
        raise dg.Failure(description=INTERRUPTED, allow_retries=False)
    try:
        try:
            yield bench.lab(context.partition_key, context.run_id, context.log)
        finally:
            bench.flush()
    except MindgapError as error:
        bench.free_engines()
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        bench.interrupted = True
        if context.op_def.retry_policy is None:
            raise
        # Dagster applies a retry policy to Ctrl-C and to Terminate as well, and would start the step again.
        raise dg.Failure(description=INTERRUPTED, allow_retries=False) from error
    except Exception:
        bench.free_engines()
        raise


def is_surplus(context: Any, lab: Lab, iteration: int, *, trains: bool = False) -> bool:
    """Whether the experiment ends before this step, by its settings or by a rule; says so in the step's log.

    Raises:
        StorageError: the step trains, and the rules that could end the loop are not judged yet.
    """
    experiment = lab.experiment
    if is_other_kind(context, lab, "loop"):
        return True
    last = experiment.iterations - 1 if trains else experiment.iterations
    if iteration > last:
        doing = "trains in" if trains else "measures"
        context.log.info(
            f"skipped: experiment {experiment.name} {doing} iterations 0..{last}, so iteration {iteration} has no "
            f"{'training' if trains else 'measurement'} here; the run is complete without it"
        )
        return True
    stopped = stopped_at(experiment, lab.plan, lab.store)
    if stopped is not None and iteration >= stopped[0] + (0 if trains else 1):
        context.log.info(
            f"skipped: the loop of experiment {experiment.name} ended after iteration {stopped[0]}. {stopped[1]} The "
            "run is complete without this step; change `stop` or `limits` in the experiment file to go on from here"
        )
        return True
    if trains:
        require_judged(experiment, lab.plan, lab.store, range(iteration + 1))
    return False


def is_other_kind(context: Any, lab: Lab, kind: Kind) -> bool:
    """Whether the experiment is none of that kind, and so has no such step; says so in the step's log."""
    own = kind_of(lab.experiment)
    if own == kind:
        return False
    if kind == "loop":
        assert own != "loop"
        said = f"{HAS[own]} ({own}), so it has no iterations; its results are the assets {own}/... and the report"
    else:
        said = f"has no key `{kind}`, so {HAS_NOT[kind]}; the run is complete without this step"
    context.log.info(f"skipped: experiment {lab.experiment.name} {said}")
    return True


def materialized(result: StageResult, metadata: dict[str, Any]) -> dg.Output:
    """The output by which an op says that its asset is there, with the fingerprint as its data version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # data_version of Output
        return dg.Output(None, metadata=metadata, data_version=dg.DataVersion(result.fingerprint))


def base_model_op(
    obtain: Callable[[Lab], StageResult], show: Callable[[StageResult], dict[str, Any]]
) -> dg.OpDefinition:
    """The op that pretrains or adopts the base model.

    Args:
        obtain: the stage, ``ops.stages.base_model.obtain_base_model``.
        show: turns its result into Dagster metadata.
    """

    @dg.op(
        name="obtain_base_model",
        description="Pretrain the model from its seed, or check and fingerprint a checkpoint.",
        out=dg.Out(dg.Nothing),
        pool=GPU_POOL,
        tags=GPU_TAGS,
        retry_policy=RETRY,
        required_resource_keys={"bench"},
    )
    def obtain_base_model(context: dg.OpExecutionContext) -> Iterator[dg.Output]:
        with opened_lab(context) as lab:
            result = obtain(lab)
            context.resources.bench.committed(result)
        yield materialized(result, show(result))

    return obtain_base_model


def iteration_op(
    name: str,
    iteration: int,
    description: str,
    ins: tuple[str, ...],
    work: Callable[[Lab, int], Mapping[str, Any]],
    *,
    trains: bool = False,
) -> dg.OpDefinition:
    """A GPU op of one iteration: it runs ``work`` and hands its plain numbers on.

    Args:
        name: e.g. ``sample_responses``; the iteration is appended.
        ins: names of the inputs that it only waits for.
        work: a stage function of (lab, iteration).
        trains: whether the step belongs to training, which the last iteration does not have.
    """
    return _gpu_op(
        f"{name}_{iteration}",
        description,
        ins,
        lambda lab: work(lab, iteration),
        lambda context, lab: is_surplus(context, lab, iteration, trains=trains),
    )


def group_op(
    group: Group, name: str, description: str, ins: tuple[str, ...], work: Callable[[Lab], Mapping[str, Any]]
) -> dg.OpDefinition:
    """A GPU op of one kind of experiment that has no loop, as ``iteration_op`` is one of an iteration.

    Args:
        name: e.g. ``train_policy``.
        ins: names of the inputs that it only waits for.
        work: a stage function of the lab.
    """
    return _gpu_op(name, description, ins, work, lambda context, lab: is_other_kind(context, lab, group))


def _gpu_op(
    name: str,
    description: str,
    ins: tuple[str, ...],
    work: Callable[[Lab], Mapping[str, Any]],
    is_skipped: Callable[[Any, Lab], bool],
) -> dg.OpDefinition:
    @dg.op(
        name=name,
        description=description,
        ins={each: dg.In(dg.Nothing) for each in ins},
        out=dg.Out(dict, is_required=False, io_manager_key="numbers"),
        pool=GPU_POOL,
        tags=GPU_TAGS,
        retry_policy=RETRY,
        required_resource_keys={"bench"},
    )
    def gpu_step(context: dg.OpExecutionContext) -> Iterator[dg.Output]:
        with opened_lab(context) as lab:
            if is_skipped(context, lab):
                return
            numbers = plain_numbers(work(lab))
        yield dg.Output(numbers)

    return gpu_step


def plain_numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and texts only; what is not finite becomes text, so that JSON can hold it."""
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in numbers.items()
        if isinstance(value, bool | int | float | str)
    }
