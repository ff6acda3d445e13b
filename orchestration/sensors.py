"""Sensors."""

import logging
import os

import dagster as dg

from assets.common import EXPERIMENT
from ops.errors import ExperimentError
from ops.lab import named_experiment
from orchestration.jobs import experiment_job
from orchestration.partitions import PARTITIONS_NAME, experiment_names

LAUNCH_VARIABLE = "MINDGAP_LAUNCH_NEW"


@dg.sensor(
    name="new_experiment_files",
    job=experiment_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds a partition when a file appears in experiments/, and those of a file in studies/. With "
    "MINDGAP_LAUNCH_NEW=1 it also starts a run of it, once it is valid. Removes nothing.",
)
def new_experiment_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """A tick without news lists two folders and reads nothing."""
    known = set(context.instance.get_dynamic_partitions(PARTITIONS_NAME))
    new = [name for name in experiment_names() if name not in known]
    if not new:
        return dg.SkipReason("no new file in experiments/ or studies/")
    valid = []
    for name in new:
        try:
            named_experiment(name)
            valid.append(name)
        except ExperimentError as error:
            logging.getLogger("mindgap").warning("waiting for a valid file: %s", error)
    if not valid:
        return dg.SkipReason(f"new, but not valid yet: {', '.join(new)}")
    launch = os.environ.get(LAUNCH_VARIABLE) == "1"
    requests = [
        dg.RunRequest(run_key=f"new:{name}", partition_key=name, tags={"mindgap/launched_by": "new_experiment_files"})
        for name in valid
    ]
    return dg.SensorResult(
        run_requests=requests if launch else [], dynamic_partitions_requests=[EXPERIMENT.build_add_request(valid)]
    )
