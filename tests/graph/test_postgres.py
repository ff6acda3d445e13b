"""Dagster's history and MLflow in a real PostgreSQL server, started here: a whole run, a kill, other machines."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops.errors import StorageError
from ops.lab import PROJECT
from ops.storage.query import query
from ops.storage.tracking import MLFLOW_VARIABLE, Tracker
from orchestration.instance import POSTGRES_VARIABLE, open_instance, prepare_environment
from orchestration.recover import MACHINE_TAG, is_alive, process_tag, recover
from tests.graph.test_recover import _announce, _unfinished_run
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
pytest.importorskip("dagster_postgres", reason='dagster-postgres is not installed: pip install -e ".[postgres]"')

PASSWORD = "hush-4711"


def _programs() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


def _account() -> dict[str, object]:
    """PostgreSQL refuses to run as root: then its own account, or nobody's, as arguments of subprocess."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server on loopback that the tests have to themselves, without the name of a database."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed here (Debian: apt-get install postgresql)")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="mindgap-pg-"))
    try:
        (folder / "password").write_text(PASSWORD)
        if account:
            shutil.chown(folder, account["user"])
            shutil.chown(folder / "password", account["user"])
        data, port = folder / "data", free_port()
        making = ["-D", data, "-U", "mindgap", "-A", "scram-sha-256", f"--pwfile={folder}/password"]
        subprocess.run([programs / "initdb", *making], check=True, capture_output=True, cwd=folder, **account)
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        options = [word for setting in settings for word in ("-c", setting)]
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], cwd=folder, stderr=subprocess.DEVNULL, **account
        )
        try:
            yield _ready(process, f"mindgap:{PASSWORD}@127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ready(process: subprocess.Popen, place: str) -> str:
    import psycopg2

    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the server ended"
        try:
            psycopg2.connect(f"postgresql://{place}/postgres").close()
            return place
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)


@pytest.fixture
def databases(server, lab_home, monkeypatch) -> dict[str, str]:
    """Two empty databases, named in the environment; their addresses by variable."""
    import psycopg2

    found = {}
    for variable in (POSTGRES_VARIABLE, MLFLOW_VARIABLE):
        name = f"db_{uuid.uuid4().hex[:8]}"
        connection = psycopg2.connect(f"postgresql://{server}/postgres")
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        found[variable] = f"postgresql+psycopg2://{server}/{name}"
        monkeypatch.setenv(variable, found[variable])
    return found


def _ask(url: str, statement: str) -> list[tuple]:
    import psycopg2

    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall()
    finally:
        connection.close()


def _start(script: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *script],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_whole_run(databases, write_experiment, lab_home) -> None:
    write_experiment("tiny")
    output, _ = _start(["-m", "orchestration.cli", "run", "tiny"]).communicate(timeout=500)
    assert "tiny: done" in output
    assert query(lab_home, "FROM materializations").height == 23
    assert _ask(databases[POSTGRES_VARIABLE], "SELECT status FROM runs") == [("SUCCESS",)]
    assert _ask(databases[MLFLOW_VARIABLE], "SELECT status, count(*) FROM runs GROUP BY 1") == [("FINISHED", 3)]
    assert len(_ask(databases[MLFLOW_VARIABLE], "SELECT version FROM model_versions")) == 2
    assert list(lab_home.rglob("*.db")) == []  # no SQLite beside them
    holding = [path for path in lab_home.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert holding == []
    assert PASSWORD not in output


def test_a_killed_run_is_failed_here_and_left_alone_elsewhere(
    databases, write_experiment, tmp_path, monkeypatch
) -> None:
    write_experiment("tiny")
    mark = tmp_path / "holding"
    process = _start([str(Path(__file__).with_name("stuck_run.py")), str(mark)])
    try:
        deadline = time.monotonic() + 200
        while not mark.exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline, "the run did not get to its GPU step"
            time.sleep(0.05)
        home = prepare_environment()
        with open_instance() as instance:
            (run,) = instance.get_runs()
            assert recover(instance, home) == []  # it lives
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            with monkeypatch.context() as elsewhere:
                elsewhere.setattr("socket.gethostname", lambda: "another-machine")
                assert recover(instance, home) == []
            assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == {run.run_id}
            assert len(recover(instance, home)) == 2
            assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
            assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == set()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_run_that_was_launched_is_judged_by_its_own_machine_only(databases, monkeypatch) -> None:
    """A process id in a run's events means nothing on another machine, nor in a Kubernetes pod."""
    home = prepare_environment()
    with open_instance() as instance:
        here = process_tag()["mindgap/process"].split("-")[0]
        launched = {
            place: _unfinished_run(instance, tags)
            for place, tags in {"here": {MACHINE_TAG: here}, "there": {MACHINE_TAG: "0f0f0f"}, "kubernetes": {}}.items()
        }
        for run in launched.values():
            _announce(instance, run, 2**22 + 1)  # no such process on this machine
        assert {place: is_alive(instance, run) for place, run in launched.items()} == {
            "here": False,
            "there": True,
            "kubernetes": True,
        }
        (line,) = recover(instance, home)
        assert launched["here"].run_id[:8] in line


def test_the_address_stays_out_of_what_dagster_hands_on_and_shows(databases) -> None:
    from dagster._serdes import serialize_value

    prepare_environment()
    with open_instance() as instance:
        shown = serialize_value(instance.get_ref()) + instance.info_str()
    assert POSTGRES_VARIABLE in shown
    assert PASSWORD not in shown


def test_kills_while_mlflow_makes_its_tables_leave_nothing_half_made(databases, lab_home) -> None:
    line = (
        "import sys, pathlib; from ops.storage.tracking import Tracker; import mlflow.store.tracking.sqlalchemy_store; "
        "print('go', flush=True); Tracker(pathlib.Path(sys.argv[1])).log_parent('a', 'r1')"
    )
    killed = 0
    for wait in (0.3, 1.0, 1.7):
        process = _start(["-c", line, str(lab_home)])
        assert process.stdout.readline().strip() == "go"
        time.sleep(wait)
        killed += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert killed >= 1  # otherwise nothing was tried
    Tracker(lab_home).log_parent("a", "r2", metrics={"gap": 0.5})
    assert _ask(databases[MLFLOW_VARIABLE], "SELECT count(*) FROM metrics") == [(1,)]


def test_an_mlflow_experiment_that_was_deleted_is_named_without_the_password(databases, lab_home) -> None:
    tracker = Tracker(lab_home)
    tracker.log_parent("gone", "r1")
    place = tracker._client.get_experiment_by_name("gone").experiment_id
    tracker._client.delete_experiment(place)
    with pytest.raises(StorageError, match=f"MLFLOW_TRACKING_URI=.*{MLFLOW_VARIABLE}") as caught:
        Tracker(lab_home).log_parent("gone", "r2")
    assert PASSWORD not in str(caught.value)
