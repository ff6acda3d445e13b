"""After kill -9: the run is failed, its slot freed; living runs are never touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops.lab import PROJECT
from orchestration.instance import open_instance, prepare_environment
from orchestration.recover import PROCESS_TAG, _lived_at, is_alive, process_tag, recover


@pytest.fixture
def stuck(write_experiment, tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A run that holds the slot of the pool ``gpu``."""
    write_experiment("tiny")
    mark = tmp_path / "holding"
    script = Path(__file__).with_name("stuck_run.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(mark)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not mark.exists():
            assert process.poll() is None, "the run ended early"
            assert time.monotonic() < deadline, "the run did not get to its GPU step"
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_killed_run_is_failed_and_its_slot_freed(stuck) -> None:
    home = prepare_environment()
    with open_instance() as instance:
        storage = instance.event_log_storage
        (run,) = instance.get_runs()
        assert recover(instance, home) == []  # it lives: nothing is touched
        assert storage.get_concurrency_info("gpu").active_run_ids == {run.run_id}
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED
        os.killpg(stuck.pid, signal.SIGKILL)
        stuck.wait()
        lines = recover(instance, home)
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
        assert storage.get_concurrency_info("gpu").active_run_ids == set()
        assert len(lines) == 2
        assert run.run_id[:8] in lines[0]
        assert recover(instance, home) == []


def test_ctrl_c_ends_a_gpu_step_without_a_retry_and_leaves_nothing_to_recover(stuck) -> None:
    stuck.send_signal(signal.SIGINT)
    assert stuck.wait(timeout=90) == 1
    home = prepare_environment()
    with open_instance() as instance:
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.FAILURE
        retries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
        assert list(retries) == []
        assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == set()
        assert recover(instance, home) == []


def _unfinished_run(
    instance: dg.DagsterInstance, tags: dict[str, str], parent: dg.DagsterRun | None = None
) -> dg.DagsterRun:
    status, root = dg.DagsterRunStatus.STARTED, parent and parent.run_id
    run = dg.DagsterRun(
        job_name="experiment_job",
        run_id=str(uuid.uuid4()),
        status=status,
        tags=tags,
        parent_run_id=root,
        root_run_id=root,
    )
    return instance.run_storage.add_run(run)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_own_process_is_alive_and_its_pid_reused_is_not(instance) -> None:
    assert is_alive(instance, _unfinished_run(instance, process_tag()))
    host, pid, _ = process_tag()[PROCESS_TAG].split("-", 2)
    assert not is_alive(instance, _unfinished_run(instance, {PROCESS_TAG: f"{host}-{pid}-anotherbirth"}))


def test_a_reexecution_is_not_judged_by_the_mark_it_copied(instance) -> None:
    """Dagster copies the parent's tags: the mark says who executed the parent, dead or alive."""
    host, pid, _ = process_tag()[PROCESS_TAG].split("-", 2)
    dead = {PROCESS_TAG: f"{host}-{pid}-anotherbirth"}
    parent = _unfinished_run(instance, dead)
    again = _unfinished_run(instance, dead, parent)
    _announce(instance, again, os.getpid())
    assert is_alive(instance, again)
    gone = _unfinished_run(instance, process_tag(), parent)
    _announce(instance, gone, 2**22 + 1)
    assert not is_alive(instance, gone)


def test_a_run_of_another_machine_is_left_alone(instance) -> None:
    assert is_alive(instance, _unfinished_run(instance, {PROCESS_TAG: "0f0f0f-1-whenever"}))


def _announce(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int) -> None:
    from dagster._core.events import EngineEventData

    instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))


def test_a_run_that_the_ui_started_is_known_by_its_events(instance) -> None:
    living, dead = _unfinished_run(instance, {}), _unfinished_run(instance, {})
    _announce(instance, living, os.getpid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    _announce(instance, dead, child.pid)
    assert is_alive(instance, living)
    assert not is_alive(instance, dead)


def test_a_process_born_after_the_event_is_another_one() -> None:
    assert _lived_at(os.getpid(), time.time())
    assert not _lived_at(os.getpid(), time.time() - 10 * 365 * 86400)


def test_slots_of_finished_and_deleted_runs_are_freed(lab_home) -> None:
    home = prepare_environment()
    with open_instance() as instance:
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default("gpu")
        storage.claim_concurrency_slot("gpu", "deleted-run", "a.step")
        assert storage.get_concurrency_info("gpu").active_run_ids == {"deleted-run"}
        assert recover(instance, home) == ["pool gpu: slot of run deleted- freed"]
        assert storage.get_concurrency_info("gpu").active_run_ids == set()
