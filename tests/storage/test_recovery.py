"""The sweep removes what dead processes left, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ops.storage.atomic import TEMPORARY_MARK, host_mark, process_birth, temporary_sibling
from ops.storage.recovery import sweep


@pytest.fixture
def sleeper():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def put(path, folder=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        path.mkdir()
        (path / "weights").write_text("half")
    else:
        path.write_text("half")
    return path


def name_of(target: str, pid: int, birth: str | None, host: str | None = None) -> str:
    return f".{target}.{host or host_mark()}-{pid}-{birth}-0123abcd{TEMPORARY_MARK}"


def test_what_living_processes_write_stays_and_what_dead_ones_left_goes(tmp_path, sleeper):
    mine = put(temporary_sibling(tmp_path / "tables/t/f/data.parquet"))
    theirs = put(tmp_path / "models" / name_of("m1", sleeper.pid, process_birth(sleeper.pid)), folder=True)
    real = put(tmp_path / "models/m1", folder=True)
    assert sweep(tmp_path) == []
    sleeper.kill()
    time.sleep(0.1)  # a zombie now: dead, but not yet waited for
    assert process_birth(sleeper.pid) is None
    assert sweep(tmp_path) == [f"models/{theirs.name}"]
    sleeper.wait()
    assert mine.exists() and real.exists() and not theirs.exists()


def test_a_reused_pid_does_not_protect_a_dead_writer(tmp_path):
    me = os.getpid()
    other_birth = put(tmp_path / "pools/k/p" / name_of("c.parquet", me, "abcdeft17"))
    log = put(tmp_path / (name_of("mindgap.duckdb", me, "abcdeft17") + ".wal"))
    mine = put(tmp_path / name_of("mindgap.duckdb", me, process_birth(me)))
    assert sweep(tmp_path) == sorted([f"pools/k/p/{other_birth.name}", log.name])
    assert mine.exists()


def test_another_machine_is_given_a_day(tmp_path):
    fresh = put(tmp_path / name_of("a", 1, "abcdeft17", host="000000"))
    old = put(tmp_path / name_of("b", 1, "abcdeft17", host="000000"))
    os.utime(old, (time.time() - 90_000,) * 2)
    assert sweep(tmp_path) == [old.name]
    assert fresh.exists()


def test_files_of_others_and_finished_work(tmp_path):
    dead = name_of("x", os.getpid(), "abcdeft17")
    for keep in ("dagster", "mlflow"):
        put(tmp_path / keep / dead)
    keep = [
        put(tmp_path / "tables/t/f/data.parquet"),
        put(tmp_path / ".hidden.tmp"),
        put(tmp_path / f"note{TEMPORARY_MARK}"),
    ]
    unfinished = put(tmp_path / "work/finetuning/m2", folder=True)
    finished = put(tmp_path / "work/finetuning/m1", folder=True)
    put(tmp_path / "models/m1", folder=True)
    put(tmp_path / "dagster/runs" / dead)
    assert sweep(tmp_path) == ["work/finetuning/m1"]
    assert all(path.exists() for path in (*keep, unfinished)) and not finished.exists()
    assert (tmp_path / "dagster/runs" / dead).exists()
    assert sweep(tmp_path / "nowhere") == []
