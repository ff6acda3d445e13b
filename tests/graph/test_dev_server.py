"""What must work while ``dagster dev`` runs: a dropped file is started, and a forced nightly tick reuses everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from ops.lab import PROJECT
from orchestration.cli_run import execute
from orchestration.instance import open_instance, prepare_environment
from orchestration.schedules import nightly_rerun
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STARTED = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS)


@pytest.fixture
def dev_server(write_experiment, tmp_path: Path) -> Iterator[subprocess.Popen]:
    """``dagster dev`` with its daemon, in a home that has one experiment; killed with all its processes."""
    write_experiment("example")
    home = prepare_environment()
    (home / "dagster").mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1"]
    with (tmp_path / "dev.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "-p", str(free_port()), "--log-level", "warning"],
            cwd=PROJECT,
            env={**os.environ, "DAGSTER_HOME": str(PROJECT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    known: set[psutil.Process] = set()
    try:
        yield server
    finally:
        parent = psutil.Process(server.pid)
        known = {parent, *parent.children(recursive=True)}
        server.send_signal(signal.SIGINT)
        _, left = psutil.wait_procs(known, timeout=20)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=20)
        server.wait()
    assert not [process for process in known if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def _wait(found, seconds: float, what: str):
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)
    return value


def test_a_dropped_file_starts_within_a_minute(dev_server, write_experiment, capsys) -> None:
    prepare_environment()
    with open_instance() as instance:
        ready = lambda: instance.has_dynamic_partition("experiment", "example")  # noqa: E731
        _wait(ready, 240, "the daemon's first tick")
        assert instance.get_runs() == []  # a file that was there before is not run
        dropped = time.monotonic()
        write_experiment("dropped")
        wanted = dg.RunsFilter(tags={"mindgap/experiment": "dropped"}, statuses=list(STARTED))
        (run,) = _wait(lambda: instance.get_runs(wanted), 60, "the run of the dropped file")
        with capsys.disabled():
            print(f"\n  the run of the dropped file was started after {time.monotonic() - dropped:.0f} s")
        assert run.tags["dagster/partition"] == "dropped"
        assert run.tags["mindgap/launched_by"] == "new_experiment_files"
        finished = lambda: instance.get_run_by_id(run.run_id).is_finished  # noqa: E731
        _wait(finished, 200, "the end of the run")
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.SUCCESS
        assert len(instance.get_runs()) == 1


def test_a_forced_nightly_tick_reuses_everything_in_seconds(write_experiment, capsys) -> None:
    write_experiment("tiny")
    prepare_environment()
    with open_instance() as instance:
        from orchestration.partitions import add_partitions

        add_partitions(instance, ["tiny"])
        assert execute(instance, "tiny").success
        start, worked = time.monotonic(), time.process_time()
        requests = list(nightly_rerun(dg.build_schedule_context(instance=instance)))
        results = [execute(instance, request.partition_key) for request in requests]
        seconds, worked = time.monotonic() - start, time.process_time() - worked
        assert [result.success for result in results] == [True]
        events = [event for result in results for event in result.all_events if event.is_step_materialization]
        reused = [event.step_materialization_data.materialization.metadata["reused"].value for event in events]
        plots = [event for event in events if "plot" in event.step_materialization_data.materialization.metadata]
    with capsys.disabled():
        print(f"\n  a nightly tick over {len(reused)} unchanged assets, {len(plots)} of them with a plot: ", end="")
        print(f"{seconds:.1f} s, {worked:.1f} s of them at work")
    assert len(reused) >= 20 and all(reused)
    assert len(plots) >= 0.8 * len(reused)
    assert worked < 30  # of this process, which does everything: another one at work on the machine does not count
    tags = results[0].dagster_run.tags
    assert requests[0].tags["mindgap/experiment"] == "tiny" and "dagster/partition" in tags
