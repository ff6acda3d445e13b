"""Real runs of a tiny experiment, in one process and in a process per step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ops.lab import PROJECT
from ops.storage.query import query
from orchestration.instance import open_instance, prepare_environment
from orchestration.recover import recover

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _start(executor: str, log: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", "run", "tiny"],
        cwd=PROJECT,
        env={**os.environ, "MINDGAP_EXECUTOR": executor},
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_a_whole_run(write_experiment, lab_home, tmp_path, executor: str) -> None:
    write_experiment("tiny")
    log = tmp_path / "log"
    assert _start(executor, log).wait(timeout=240) == 0, log.read_text()
    found = query(lab_home, "SELECT DISTINCT asset, iteration, reused FROM materializations")
    assert found.height == 31
    assert not found["reused"].any()
    home = prepare_environment()
    with open_instance() as instance:
        assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == set()
        assert recover(instance, home) == []
    assert _mlflow_runs(home) == [("experiment", "FINISHED"), ("iteration", "FINISHED"), ("iteration", "FINISHED")]

    assert _start("in_process", log).wait(timeout=240) == 0, log.read_text()
    assert "0 results computed, 31 reused" in log.read_text()
    assert len(_mlflow_runs(home)) == 3  # nothing computed, nothing logged


def _mlflow_runs(home: Path) -> list[tuple[str, str]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    places = [item.experiment_id for item in client.search_experiments()]
    return sorted((run.data.tags.get("mindgap.kind", ""), run.info.status) for run in client.search_runs(places))


def test_step_processes_do_not_outlive_a_killed_run(write_experiment, tmp_path) -> None:
    model = {"kind": "builtin", "recipe": "countdown", "size": "s", "steps": 5000, "batch_size": 64}
    write_experiment("tiny", model=model)
    log = tmp_path / "log"
    run = _start("multiprocess", log)
    deadline = time.monotonic() + 120
    while "pretrain" not in log.read_text():
        assert run.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    steps = [child for child in psutil.Process(run.pid).children(recursive=True) if child.is_running()]
    run.send_signal(signal.SIGKILL)  # of the run's process only
    run.wait()
    _, left = psutil.wait_procs(steps, timeout=20)
    assert left == []
    home = prepare_environment()
    with open_instance() as instance:
        assert len(recover(instance, home)) >= 2
        assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == set()
