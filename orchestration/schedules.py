"""Schedules."""

import logging
from collections.abc import Iterator

import dagster as dg

from orchestration.jobs import experiment_job
from orchestration.partitions import add_partitions, valid_experiments
from orchestration.run_tags import LAUNCHED_TAG, tags_of


@dg.schedule(
    name="nightly_rerun",
    job=experiment_job,
    cron_schedule="0 3 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Run every valid experiment again at 03:00. What is unchanged is reused, so a night without changes "
    "costs seconds. Off until switched on.",
)
def nightly_rerun(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    names = sorted(valid_experiments(logging.getLogger("mindgap")))
    if not names:
        yield dg.SkipReason("no valid experiment file")
        return
    add_partitions(context.instance, names)
    for name in names:
        yield dg.RunRequest(partition_key=name, tags={**tags_of(name), LAUNCHED_TAG: "nightly_rerun"})
