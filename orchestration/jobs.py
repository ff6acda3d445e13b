"""Jobs: one experiment, or all of them."""

import time
import uuid

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from assets.common import EXPERIMENT
from orchestration.partitions import add_partitions, valid_experiments

experiment_job = dg.define_asset_job(
    "experiment_job",
    selection=dg.AssetSelection.all(),
    partitions_def=EXPERIMENT,
    description="Run one experiment from its problems to its report. What was computed before is reused.",
)


@dg.op(description="Queue a backfill of every valid experiment; the daemon starts one run for each.")
def queue_every_experiment(context: dg.OpExecutionContext) -> None:
    names = sorted(valid_experiments(context.log))
    if not names:
        raise dg.Failure(description="no valid experiment file; `mindgap list` says why", allow_retries=False)
    add_partitions(context.instance, names)
    graph = context.repository_def.asset_graph
    backfill_id = uuid.uuid4().hex[:8]
    context.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=backfill_id,
            asset_graph=graph,
            partition_names=names,
            asset_selection=sorted(graph.materializable_asset_keys),
            backfill_timestamp=time.time(),
            tags={"mindgap/launched_by": "all_experiments_job"},
            dynamic_partitions_store=context.instance,
            all_partitions=False,
            title="all experiments",
            description="queued by all_experiments_job",
            run_config=None,
        )
    )
    context.log.info(f"backfill {backfill_id}: {', '.join(names)}")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Run every valid experiment: queues a backfill with one run per experiment (needs the daemon, which "
    "`mindgap ui` and `dg dev` start). On a terminal: `mindgap run --all`.",
)
def all_experiments_job() -> None:
    queue_every_experiment()
