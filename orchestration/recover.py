"""After a crash: runs whose processes are gone are failed, their pool slots freed, their leftovers swept.

Dagster's run monitoring does not cover the default launcher nor ``mindgap run``: after kill -9 a run stays STARTED
for ever and keeps its slot of the pool ``gpu``.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ops.storage.atomic import host_mark, process_birth

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

PROCESS_TAG = "mindgap/process"
"""On runs of ``mindgap run``: machine, pid and birth of the process that executes it."""

MACHINE_TAG = "mindgap/machine"
"""On runs that a UI or daemon launched with PostgreSQL: the machine whose code server executes them."""

LAUNCH_GRACE_SECONDS = 180.0
"""A run that was launched but has no process yet is given this long, unless its code server is seen to be gone."""

CLOCK_SLACK_SECONDS = 2.0


def process_tag() -> dict[str, str]:
    """The tag that ties a run to this process."""
    return {PROCESS_TAG: f"{host_mark()}-{os.getpid()}-{process_birth(os.getpid())}"}


def recover(instance: DagsterInstance, home: Path) -> list[str]:
    """Bring everything under ``home`` back in order after a crash; safe at any time, beside living runs too.

    Returns:
        One line for each thing done; empty where there was nothing to do.
    """
    from ops.storage.recovery import sweep
    from ops.storage.tracking import Tracker

    lines = []
    dead = [run for run in _unfinished(instance) if not is_alive(instance, run)]
    for run in dead:
        _close(instance, run)
        name = run.tags.get("dagster/partition", run.job_name)
        lines.append(f"run {run.run_id[:8]} ({name}) was {run.status.value} and its process is gone: marked failed")
    lines += _free_slots(instance)
    if dead:
        try:
            ended = Tracker(home).kill_orphans([run.run_id for run in dead])
        except Exception as error:  # of any kind: nothing here hangs on MLflow, and its text may hold a password
            lines.append(f"MLflow cannot be told ({type(error).__name__}): its runs stay as they are")
            ended = 0
        if ended:
            lines.append(f"{ended} MLflow runs marked KILLED")
    swept = sweep(home)
    if swept:
        lines.append(f"{len(swept)} leftovers removed: {', '.join(swept[:3])}{' ...' if len(swept) > 3 else ''}")
    return lines


def _unfinished(instance: DagsterInstance) -> list[DagsterRun]:
    from dagster import DagsterRunStatus, RunsFilter

    statuses = [
        DagsterRunStatus.STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.CANCELING,
        DagsterRunStatus.NOT_STARTED,
    ]
    runs = instance.get_runs(RunsFilter(statuses=statuses))
    return [run for run in runs if run.status != DagsterRunStatus.NOT_STARTED or _own_mark(run) is not None]


def _own_mark(run: DagsterRun) -> str | None:
    """The process mark of ``run``. A re-execution copies its parent's tags, so its mark says nothing of it."""
    return None if run.parent_run_id is not None else run.tags.get(PROCESS_TAG)


def is_alive(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether a process still executes ``run``. A reused pid does not count: it was born after the run's events."""
    mark = _own_mark(run)
    if mark is not None:
        host, pid, birth = mark.split("-", 2)
        if host == host_mark():
            return process_birth(int(pid)) == birth
        return True  # executed on another machine, which alone can know
    if _is_shared(instance) and run.tags.get(MACHINE_TAG) != host_mark():
        return True  # launched by another machine, or by Kubernetes, whose run monitoring watches it
    found = _announced_processes(instance, run)
    if found:
        return any(_lived_at(pid, when) for pid, when in found)
    return _server_answers(run) and _age_seconds(instance, run) < LAUNCH_GRACE_SECONDS


def _is_shared(instance: DagsterInstance) -> bool:
    """Whether other machines may use the same instance: SQLite files are this machine's own, a database is not."""
    from dagster._core.storage.runs import InMemoryRunStorage, SqliteRunStorage

    return not isinstance(instance.run_storage, SqliteRunStorage | InMemoryRunStorage)


def _announced_processes(instance: DagsterInstance, run: DagsterRun) -> list[tuple[int, float]]:
    """(pid, Unix time) of every run-level engine event that names its process."""
    from dagster import DagsterEventType

    found = []
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None or event.step_key is not None:
            continue
        pid = getattr(event.event_specific_data, "metadata", {}).get("pid")
        if pid is not None and str(pid.value).isdigit():
            found.append((int(pid.value), entry.timestamp))
    return found


def _lived_at(pid: int, when: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= when + CLOCK_SLACK_SECONDS
    except psutil.NoSuchProcess:
        return False


def _server_answers(run: DagsterRun) -> bool:
    """Whether the code server that was asked to launch the run still listens."""
    import json

    place = json.loads(run.tags.get(".dagster/grpc_info", "{}"))
    if "socket" not in place:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(place["socket"])
        except OSError:
            return False
    return True


def _age_seconds(instance: DagsterInstance, run: DagsterRun) -> float:
    record = instance.get_run_record_by_id(run.run_id)
    return time.time() - record.update_timestamp.timestamp() if record is not None else 0.0


def _close(instance: DagsterInstance, run: DagsterRun) -> None:
    from dagster import DagsterRunStatus

    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "its process is gone (mindgap recover)")
    else:
        instance.report_run_failed(run, "its process is gone: killed, or the machine went down (mindgap recover)")


def _free_slots(instance: DagsterInstance) -> list[str]:
    """Free pool slots and queue places of every run that is over, or deleted."""
    storage = instance.event_log_storage
    lines = []
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        for run_id in sorted(info.active_run_ids | info.pending_run_ids):
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                storage.free_concurrency_slots_for_run(run_id)
                lines.append(f"pool {pool}: slot of run {run_id[:8]} freed")
    return lines
