"""Jobs: one experiment, or all of them."""

import time
import uuid

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from assets.common import EXPERIMENT
from assets.study import STUDY_GROUP
from orchestration.partitions import add_partitions, valid_experiments

experiment_job = dg.define_asset_job(
    "experiment_job",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(STUDY_GROUP),
    partitions_def=EXPERIMENT,
    description="Run one experiment from its problems to its report. What was computed before is reused.",
)

study_job = dg.define_asset_job(
    "study_job",
    selection=dg.AssetSelection.groups(STUDY_GROUP),
    description="Scaling laws, cross-verification and the report of every study whose experiments are complete, or of "
    "those that the run config names. Run the experiments first: `mindgap study NAME` does both.",
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
            asset_selection=sorted(
                key for key in graph.materializable_asset_keys if graph.get(key).group_name != STUDY_GROUP
            ),
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
