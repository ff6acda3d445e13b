"""Jobs: one experiment, all of them, or those of one study."""

import time
import uuid
from collections.abc import Sequence

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from assets.bandits import BANDIT_GROUP
from assets.common import EXPERIMENT
from assets.study import STUDY_GROUP
from ops.errors import MindgapError
from ops.lab import studies_folder
from ops.study_files import load_any_study
from orchestration.partitions import add_partitions, valid_experiments
from orchestration.run_tags import LAUNCHED_TAG, STUDY_TAG

OF_NO_EXPERIMENT = (STUDY_GROUP, BANDIT_GROUP)
"""Groups of assets that have no partitions."""

experiment_job = dg.define_asset_job(
    "experiment_job",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(*OF_NO_EXPERIMENT),
    partitions_def=EXPERIMENT,
    description="Run one experiment from its problems to its report. What was computed before is reused.",
)

study_job = dg.define_asset_job(
    "study_job",
    selection=dg.AssetSelection.groups(STUDY_GROUP),
    description="Scaling laws, cross-verification and the report of every study whose experiments are complete, or of "
    "those that the run config names. Run the experiments first: `mindgap study NAME` does both.",
)


def _queue_backfill(context: dg.OpExecutionContext, names: Sequence[str], title: str, tags: dict[str, str]) -> None:
    """Queue one backfill of experiments; the daemon starts a run for each."""
    add_partitions(context.instance, list(names))
    graph = context.repository_def.asset_graph
    backfill_id = uuid.uuid4().hex[:8]
    context.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=backfill_id,
            asset_graph=graph,
            partition_names=names,
            asset_selection=sorted(
                key for key in graph.materializable_asset_keys if graph.get(key).group_name not in OF_NO_EXPERIMENT
            ),
            backfill_timestamp=time.time(),
            tags={**tags, LAUNCHED_TAG: context.job_name},
            dynamic_partitions_store=context.instance,
            all_partitions=False,
            title=title,
            description=f"queued by {context.job_name}",
            run_config=None,
        )
    )
    context.log.info(f"backfill {backfill_id}: {', '.join(names)}")


@dg.op(description="Queue a backfill of every valid experiment; the daemon starts one run for each.")
def queue_every_experiment(context: dg.OpExecutionContext) -> None:
    names = sorted(valid_experiments(context.log))
    if not names:
        raise dg.Failure(description="no valid experiment file; `mindgap list` says why", allow_retries=False)
    _queue_backfill(context, names, "all experiments", {})


@dg.job(
    executor_def=dg.in_process_executor,
    description="Run every valid experiment: queues a backfill with one run per experiment (needs the daemon, which "
    "`mindgap ui` and `dg dev` start). On a terminal: `mindgap run --all`.",
)
def all_experiments_job() -> None:
    queue_every_experiment()


class BackfillConfig(dg.Config):
    """Which study: the name of a file in studies/, without its ending."""

    study: str


@dg.op(description="Queue a backfill of every experiment of one study; the daemon starts one run for each.")
def queue_study(context: dg.OpExecutionContext, config: BackfillConfig) -> None:
    try:
        loaded = load_any_study(studies_folder() / f"{config.study.removesuffix('.yaml')}.yaml")
    except MindgapError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    names = [member.experiment.name for member in loaded.members] + list(getattr(loaded.study, "experiments", ()))
    _queue_backfill(context, names, f"study {loaded.study.name}", {STUDY_TAG: loaded.study.name})


@dg.job(
    executor_def=dg.in_process_executor,
    description="Run every experiment of the study that the run config names: queues a backfill with one run per "
    "experiment (needs the daemon). Its report comes with study_job, or by itself where the sensor refresh_reports is "
    "on. On a terminal: `mindgap study NAME`.",
)
def study_backfill_job() -> None:
    queue_study()
