"""Sensors: new experiment files, results that would be others now, new model versions, messages about runs."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import dagster as dg

from assets.common import EXPERIMENT
from ops.errors import ExperimentError, MindgapError
from ops.lab import experiments_folder, home_folder, named_experiment
from orchestration.endings import reason_of
from orchestration.floating import answering_versions, endless
from orchestration.jobs import experiment_job
from orchestration.new_files import is_settled, launches_new, read_cursor, write_cursor
from orchestration.notifications import NOTIFY_VARIABLE, addresses, notify_of
from orchestration.partitions import PARTITIONS_NAME, experiment_names, valid_experiments
from orchestration.run_tags import LAUNCHED_TAG, PARTITION_TAG, tags_of
from orchestration.stale import Stale, report_stamp, stale_results_of, why

LOGGER = logging.getLogger("mindgap")
RUNNING, STOPPED = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED


@dg.sensor(
    name="new_experiment_files",
    job=experiment_job,
    minimum_interval_seconds=15,
    default_status=RUNNING,
    description="Starts a run of every file that appears in experiments/ while the daemon runs, once it is valid, and "
    "adds its partition (with MINDGAP_LAUNCH_NEW=0 the partition only). Files that were there before, and those of "
    "studies/, become partitions and wait for a click. Removes nothing.",
)
def new_experiment_files(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """A tick without news lists two folders and reads nothing."""
    now = time.time()
    names = experiment_names()
    files = {path.stem: path for path in experiments_folder().glob("*.yaml")}
    waited = read_cursor(context.cursor, set(files), now)
    partitions = set(context.instance.get_dynamic_partitions(PARTITIONS_NAME))
    valid, waiting = _usable([name for name in names if name not in partitions], files, now, _last_iteration(context))
    launched = [name for name in valid if name in files and name not in waited and launches_new()]
    result: dict[str, Any] = {"cursor": write_cursor(waited, now)}
    if not valid:
        reason = "; ".join(waiting) if waiting else "no new file in experiments/ or studies/"
        return dg.SensorResult(skip_reason=reason, **result)
    requests = [_request(name, f"new:{name}:{_written(files[name])}", "new_experiment_files") for name in launched]
    return dg.SensorResult(
        run_requests=requests, dynamic_partitions_requests=[EXPERIMENT.build_add_request(valid)], **result
    )


def _usable(
    names: list[str], files: dict[str, Path], now: float, last_iteration: int | None
) -> tuple[list[str], list[str]]:
    """(names that can be run, why the others wait)."""
    valid, waiting = [], []
    for name in names:
        try:
            if name in files and not is_settled(files[name], now):
                waiting.append(f"{name}: being written")
                continue
            experiment = named_experiment(name)
        except (ExperimentError, OSError) as error:
            LOGGER.warning("waiting for a valid file: %s", error)
            waiting.append(f"{name}: new, but not valid yet: {error}")
            continue
        if last_iteration is not None and experiment.iterations > last_iteration:
            waiting.append(
                f"{name}: wants {experiment.iterations} iterations, the loaded graph ends at {last_iteration}: reload "
                "the code location (Deployment > mindgap > Reload)"
            )
        else:
            valid.append(name)
    return valid, waiting


def _last_iteration(context: dg.SensorEvaluationContext) -> int | None:
    """Of the loaded graph; None in a test without one."""
    if context.repository_def is None:
        return None
    groups = {key.path[0] for key in context.repository_def.asset_graph.materializable_asset_keys}
    found = [int(group.removeprefix("iteration_")) for group in groups if group.startswith("iteration_")]
    return max(found, default=0)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _request(name: str, key: str, sensor: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=key, partition_key=name, tags={**tags_of(name), LAUNCHED_TAG: sensor})


def _busy(instance: dg.DagsterInstance) -> set[str]:
    """Experiments of which a run waits or works."""
    from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

    runs = instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags}


@dg.sensor(
    name="stale_results",
    job=experiment_job,
    minimum_interval_seconds=120,
    default_status=STOPPED,
    description="Runs an experiment again whose results are no longer what would be computed now: its file, the code "
    "version of a step, or the content of a file that it reads has changed. Only experiments that were complete once; "
    "one request for each plan until it has run. Off until switched on.",
)
def stale_results(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Reads manifests and plans; computes nothing."""
    known = set(context.instance.get_dynamic_partitions(PARTITIONS_NAME))
    busy, requests, said = _busy(context.instance), [], []
    experiments = valid_experiments(LOGGER)
    unending = endless(experiments)
    for name, experiment in sorted(experiments.items()):
        try:
            found = stale_results_of(experiment, home_folder())
        except MindgapError as error:
            said.append(f"{name}: cannot be planned: {error}")
            continue
        if found is None or name not in known:
            continue
        said.append(unending.get(name) or f"{name}: {'a run works on it' if name in busy else why(found)}")
        context.log.info(said[-1])
        if name not in busy and name not in unending:
            requests.append(_stale_request(found))
    if not requests:
        return dg.SkipReason("; ".join(said) or "every result is what would be computed now")
    return dg.SensorResult(run_requests=requests)


def _stale_request(found: Stale) -> dg.RunRequest:
    return _request(found.experiment, f"stale:{found.experiment}:{found.report}:{found.reported}", "stale_results")


@dg.sensor(
    name="new_model_versions",
    job=experiment_job,
    minimum_interval_seconds=60,
    default_status=STOPPED,
    description="Runs the experiments that float on a model of the MLflow registry (model: {kind: registry, name: ...} "
    "without a version, or with an alias) when another version answers to it. Off until switched on.",
)
def new_model_versions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """The cursor holds the version of every floating model by experiment; the first tick only notes them.

    What is not valid at this tick keeps its entry, so that a version that appears meanwhile is not missed.
    """
    before: dict[str, dict[str, int | None]] = json.loads(context.cursor or "{}")
    partitions = set(context.instance.get_dynamic_partitions(PARTITIONS_NAME))
    experiments = valid_experiments(LOGGER)
    waiting = (partitions | set(experiment_names())) - set(experiments)
    now = {name: versions for name, versions in before.items() if name in waiting}
    unending, requests = endless(experiments), []
    for name, experiment in sorted(experiments.items()):
        floating = answering_versions(experiment)
        if name in unending:
            context.log.warning(unending[name])
        elif floating:
            now[name] = floating
            noted = before.get(name, {})
            if any(noted.get(model, version) != version for model, version in floating.items()):
                key = ":".join(f"{model}.{version}" for model, version in sorted(floating.items()))
                key = f"model:{name}:{key}:{report_stamp(home_folder(), name)}"
                requests.append(_request(name, key, "new_model_versions"))
    cursor = json.dumps(now, sort_keys=True)
    if not requests:
        reason = "no new version" if now else "no experiment floats on a model of the registry"
        return dg.SensorResult(skip_reason=reason, cursor=cursor)
    new = [request.partition_key for request in requests if request.partition_key is not None]
    missing = sorted(set(new) - partitions)
    additions = [EXPERIMENT.build_add_request(missing)] if missing else []
    return dg.SensorResult(run_requests=requests, cursor=cursor, dynamic_partitions_requests=additions)


@dg.run_failure_sensor(
    name="notify_of_failures",
    default_status=RUNNING,
    description="Sends a message about every run that fails to the addresses in MINDGAP_NOTIFY (Apprise: e-mail, "
    "Slack, any HTTP address ...). Where the variable is not set it does nothing.",
)
def notify_of_failures(context: dg.RunFailureSensorContext) -> dg.SkipReason:
    """One message for each run, also of runs of `mindgap run` that were killed; what was done is the tick's text."""
    if not addresses():
        return dg.SkipReason(f"{NOTIFY_VARIABLE} is not set: nobody is told")
    run = context.dagster_run
    said = notify_of(context.instance, run, event="failure", reason=reason_of(context.instance, run.run_id))
    return dg.SkipReason(said)


@dg.run_status_sensor(
    name="notify_of_successes",
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=RUNNING,
    description="Sends a message about every run that succeeds, where MINDGAP_NOTIFY_ON contains success.",
)
def notify_of_successes(context: dg.RunStatusSensorContext) -> dg.SkipReason:
    """As ``notify_of_failures``."""
    return dg.SkipReason(notify_of(context.instance, context.dagster_run, event="success"))


SENSORS = [new_experiment_files, stale_results, new_model_versions, notify_of_failures, notify_of_successes]
