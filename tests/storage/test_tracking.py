"""MLflow: one run per experiment and iteration, whoever logs, however often."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

import ops
from ops.errors import StorageError
from ops.storage.tracking import FINGERPRINT_TAG, ITERATION_TAG, RUN_TAG, Tracker

LOGGERS = """
import os, sys
from pathlib import Path
import mlflow.tracking, mlflow.store.tracking.sqlalchemy_store  # imported once, then four processes
from ops.storage.tracking import Tracker
home = Path(sys.argv[1])

def log(number):
    tracker = Tracker(home)
    tracker.log_iteration("demo", number, "run1", {"accuracy": 0.1 * number, "pass@64": 0.5}, {"n": 3})
    tracker.log_iteration("demo", 0, "run1", {f"from_{number}": 1.0})
    where = dict(fingerprint="m1", experiment="demo", run_id="run1", iteration=0)
    assert tracker.register_model("demo", home / "models/m1", **where) == 1

children = []
for number in range(4):
    children.append(os.fork())
    if children[-1] == 0:
        try:
            log(number)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def run_code(code: str, home: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(ops.__file__).resolve().parent.parent)}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    child = subprocess.run([sys.executable, "-c", code, str(home)], env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home into which four processes logged at once, the database not there before."""
    home = tmp_path_factory.mktemp("tracking") / "home"
    (home / "models/m1").mkdir(parents=True)
    run_code(LOGGERS, home)
    return home


def runs_of(tracker: Tracker, experiment: str = "demo"):
    with tracker._locked() as client:
        found = client.get_experiment_by_name(experiment)
        return {run.info.run_name: run for run in client.search_runs([found.experiment_id])}, client


def test_four_processes_at_once_share_one_tree(home):
    runs, client = runs_of(Tracker(home))
    assert sorted(runs) == ["demo", *(f"demo iteration {k}" for k in range(4))]
    assert len(client.search_experiments()) == 2  # MLflow's own default, and ours
    parent = runs["demo"]
    assert "mlflow.parentRunId" not in parent.data.tags
    for k in range(4):
        child = runs[f"demo iteration {k}"]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (child.data.tags[RUN_TAG], child.data.tags[ITERATION_TAG]) == ("run1", str(k))
        assert child.data.metrics["accuracy"] == pytest.approx(0.1 * k)
        assert child.data.params == {"n": "3"}
    assert {f"from_{n}" for n in range(4)} <= set(runs["demo iteration 0"].data.metrics)
    curve = sorted((m.step, m.value) for m in client.get_metric_history(parent.info.run_id, "accuracy"))
    assert curve == [(k, pytest.approx(0.1 * k)) for k in range(4)]
    [version] = client.search_model_versions("name = 'demo'")
    assert version.source == (home / "models/m1").as_uri()
    assert version.tags[FINGERPRINT_TAG] == "m1" and version.run_id == runs["demo iteration 0"].info.run_id
    assert sorted(p.name for p in (home / "mlflow").iterdir()) == ["mlflow.db"]


def test_logging_again_changes_nothing_and_another_run_is_another_tree(home):
    tracker = Tracker(home)
    for _ in range(2):
        tracker.log_parent("again", "runA", {"seconds": 3.0}, {"seed": 1}, {"note": "x"})
        tracker.log_iteration(
            "again", 0, "runA", {"gap": 0.25, "undefined": None, "odd:name%": 1.0}, {"k": 2}, {"t": "u"}
        )
    other = tracker.log_iteration("again", 0, "runB", {"gap": 0.5})
    with tracker._locked() as client:
        place = client.get_experiment_by_name("again").experiment_id
        runs = client.search_runs([place])
        assert len(runs) == 4
        [child] = [run for run in runs if run.data.tags[RUN_TAG] == "runA" and ITERATION_TAG in run.data.tags]
        assert child.data.metrics == {"gap": 0.25, "odd_name_": 1.0} and child.data.tags["t"] == "u"
        assert len(client.get_metric_history(child.info.run_id, "gap")) == 1
        assert len(client.get_metric_history(child.data.tags["mlflow.parentRunId"], "gap")) == 1
        assert client.get_run(other).data.tags["mlflow.parentRunId"] != child.data.tags["mlflow.parentRunId"]
    many = {f"m{i}": float(i) for i in range(950)}
    wide = tracker.log_iteration("again", 1, "runB", many, {f"p{i}": i for i in range(120)})
    with tracker._locked() as client:
        data = client.get_run(wide).data
        assert data.metrics == many and len(data.params) == 120


def test_models_are_versioned_by_fingerprint(home):
    tracker = Tracker(home)
    (home / "models/m2").mkdir(exist_ok=True)
    where = dict(experiment="demo", run_id="run2")
    assert tracker.register_model("demo", home / "models/m2", fingerprint="m2", iteration=1, **where) == 2
    assert tracker.register_model("demo", home / "models/m2", fingerprint="m2", iteration=1, **where) == 2
    assert (
        tracker.register_model("demo-base", home / "models/m1", fingerprint="m1", tags={"role": "base"}, **where) == 1
    )
    with tracker._locked() as client:
        [base] = client.search_model_versions("name = 'demo-base'")
        assert base.tags["role"] == "base"
        assert client.get_run(base.run_id).info.run_name == "demo"


def test_runs_end_once_and_orphans_are_killed(home):
    tracker = Tracker(home)
    for run in ("end1", "end2", "end3"):
        tracker.log_iteration("ends", 0, run, {"x": 1.0})
    assert tracker.finish("end1") == 2
    assert tracker.finish("end1", "FAILED") == 0
    assert tracker.kill_orphans(["end1", "end2", "nothing"]) == 2
    assert tracker.kill_orphans([]) == 0
    with tracker._locked() as client:
        place = client.get_experiment_by_name("ends").experiment_id
        status = {(run.data.tags[RUN_TAG], run.info.status) for run in client.search_runs([place])}
    assert status == {("end1", "FINISHED"), ("end2", "KILLED"), ("end3", "RUNNING")}
    with pytest.raises(ValueError, match="FINISHED, FAILED or KILLED"):
        tracker.finish("end3", "DONE")
    with pytest.raises(StorageError, match="holds a quote"):
        tracker.log_parent("ends", "it's")


def test_nothing_is_made_where_nothing_is_logged(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ops.storage.tracking import Tracker\n"
        "t = Tracker(Path(sys.argv[1])); assert t.kill_orphans(['x']) == 0 and t.finish('x') == 0\n"
        "assert 'mlflow' not in sys.modules and not Path(sys.argv[1]).exists()"
    )
    run_code(code, tmp_path / "home")


HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Another process has the lock, and does nothing."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield
        finally:
            process.kill()


def test_a_lock_that_another_process_holds_is_waited_for_so_long_only(tmp_path):
    tracker = Tracker(tmp_path / "home")
    tracker.log_parent("demo", "run1")
    lock = tmp_path / "home/locks/mlflow.lock"
    with held(lock):
        start = time.monotonic()
        with tracker.waiting(0.4):
            for _ in range(3):  # 0.4 s together, not each
                with pytest.raises(StorageError, match="another process has held it") as caught:
                    tracker.log_steps("demo", "run1", [(1, None, {"loss": 1.0})])
        assert 0.4 <= time.monotonic() - start < 10.0
    assert "fuser" in str(caught.value) and str(lock) in str(caught.value)
    assert tracker.log_steps("demo", "run1", [(1, None, {"loss": 1.0})]) == 1


def test_a_program_that_writes_to_the_database_is_waited_for_so_long_only(tmp_path):
    """MLflow by itself waits 20 s for each query, and logs a stack trace."""
    tracker = Tracker(tmp_path / "home")
    tracker.log_parent("demo", "run1")
    with closing(sqlite3.connect(tracker.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        with tracker.waiting(0.3), pytest.raises(StorageError, match="another program has written"):
            tracker.log_iteration("demo", 0, "run1", {"gap": 0.5})
        assert time.monotonic() - start < 10.0
        other.execute("ROLLBACK")
    with tracker.waiting(0.3):
        tracker.log_iteration("demo", 0, "run1", {"gap": 0.5})


def test_the_lock_is_held_for_one_batch_only(tmp_path):
    """Between two batches others get it, and what was logged before a failure is not logged again."""
    tracker = Tracker(tmp_path / "home")
    tracker.log_steps("demo", "run1", [(0, None, {"loss": 1.0})])
    lock = FileLock(tmp_path / "home/locks/mlflow.lock", timeout=0, is_singleton=False)
    client, sizes = tracker._client, []
    log_batch = client.log_batch

    def watched(run, metrics=(), params=(), tags=()):
        sizes.append((len(metrics), len(params), len(tags)))
        log_batch(run, metrics=metrics, params=params, tags=tags)
        if len(sizes) == 2:
            raise OSError("the second batch is refused")

    taken = 0
    locked = tracker._lock

    @contextmanager
    def counted():
        nonlocal taken
        with lock:  # free now, for us too
            taken += 1
        with locked():
            yield

    tracker._lock, client.log_batch = counted, watched
    points = [(step, None, {"loss": 1.0 / step}) for step in range(1, 2001)]
    with pytest.raises(OSError, match="second batch"):
        tracker.log_steps("demo", "run1", points)
    assert sizes == [(800, 0, 0), (800, 0, 0)] and taken == 3  # the run, and once for each batch
    assert tracker.log_steps("demo", "run1", points) == 1200
    tracker.log_iteration("demo", 0, "run1", {f"m{k}": 1.0 for k in range(900)}, {f"p{k}": k for k in range(150)})
    assert sizes[2:] == [(800, 0, 0), (400, 0, 0), (800, 100, 0), (100, 50, 0), (800, 0, 0), (100, 0, 0)]
    assert taken == 3 + 3 + 1 + 4
