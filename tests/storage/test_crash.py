"""kill -9 at every point of a commit where the disk changes, and at random moments: all or nothing, nothing lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from ops.storage.atomic import TEMPORARY_MARK
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.storage.recovery import sweep
from ops.storage.store import Store

SAMPLE = {"response_id": pl.String(), "text": pl.String()}

PRELUDE = """
import os, signal, sys
from pathlib import Path
import polars as pl
from ops.storage.store import Provenance, Store
store = Store(Path(sys.argv[1]))
schema = {"response_id": pl.String(), "text": pl.String()}

def commit(k, rows=200):
    frame = pl.DataFrame({"split": ["eval"] * rows, "metric": "m", "k": k, "value": 0.5, "low": 0.0, "high": 1.0,
                          "n_problems": 1})
    where = dict(experiment="demo", asset="diversity_metrics", iteration=k, fingerprint=f"f{k}")
    store.commit_table("diversity_metrics", frame, provenance=Provenance("r", "1", 0.1, False, {}), **where)

def append(number, rows=200):
    ids = [f"{number}-{i}" for i in range(rows)]
    store.pool("samples", "p", schema).append(pl.DataFrame({"response_id": ids, "text": f"chunk {number}"}))

def model(number):
    with store.new_model(f"m{number}") as folder:
        for name in "ab":
            (folder / name).write_text("w" * 100_000)

work = {"commit": commit, "append": append, "model": model}[sys.argv[2]]
"""

AT_EACH_POINT = (
    PRELUDE
    + """
import itertools

def counted(function, left):
    def call(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

def die_at(point):
    global store
    store = Store(Path(sys.argv[1]) / str(point))
    work(0)
    left = [point]
    for name in ("fsync", "rename", "replace", "unlink", "mkdir"):
        setattr(os, name, counted(getattr(os, name), left))
    work(1)
    os._exit(0)

for point in itertools.count():  # each in a process of its own, forked before Polars has started a thread
    child = os.fork()
    if child == 0:
        die_at(point)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(point, status, flush=True)
    if status != -signal.SIGKILL:
        break
"""
)

FOR_EVER = (
    PRELUDE
    + """
number = int(sys.argv[3])
while True:
    work(number)
    print(number, flush=True)
    number += 1
"""
)


def run_child(code: str, home: Path, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, str(home), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def temporary_names(home: Path) -> list[str]:
    return [path.name for path in home.rglob(f"*{TEMPORARY_MARK}*")]


def whole(home: Path) -> dict[str, set[int]]:
    """Numbers of what is visible; fails where something visible is not whole, or is there twice."""
    store = Store(home)
    found: dict[str, set[int]] = {"commit": set(), "append": set(), "model": set()}
    for path in (home / "tables/diversity_metrics").glob("[!.]*"):
        if store.has("diversity_metrics", path.name):
            number = int(path.name[1:])
            assert store.read("diversity_metrics", path.name)["k"].to_list() == [number] * 200
            found["commit"].add(number)
    for path in (home / "models").glob("[!.]*"):
        assert store.has_model(path.name)
        assert {file.name: file.stat().st_size for file in path.iterdir()} == {"a": 100_000, "b": 100_000}
        found["model"].add(int(path.name[1:]))
    pool = store.pool("samples", "p", SAMPLE)
    rows = pool.read()
    assert rows["response_id"].n_unique() == rows.height and pool.keys() == set(rows["response_id"])
    chunks = rows.group_by(number=pl.col("response_id").str.split("-").list.first().cast(pl.Int64)).len()
    assert set(chunks["len"]) <= {200}
    found["append"] = set(chunks["number"])
    return found


def write(store: Store, kind: str, number: int, made) -> None:
    """What the children write, written from here."""
    if kind == "commit":
        made.commit(store, "diversity_metrics", made.number_frame(number, rows=200), f"f{number}", iteration=number)
    elif kind == "append":
        pool = store.pool("samples", "p", SAMPLE)
        ids = {f"{number}-{i}" for i in range(200)} - pool.keys()  # as the stages do: only what is missing
        pool.append(pl.DataFrame({"response_id": sorted(ids), "text": "resumed"}, schema=SAMPLE))
    elif not store.has_model(f"m{number}"):
        with store.new_model(f"m{number}") as folder:
            for name in "ab":
                (folder / name).write_text("w" * 100_000)


@pytest.mark.parametrize(("kind", "changes"), [("commit", 9), ("append", 3), ("model", 6)])
def test_killed_before_each_change_of_the_disk(kind, changes, made, tmp_path, child_environment):
    child = run_child(AT_EACH_POINT, tmp_path, [kind], child_environment)
    assert child.returncode == 0, child.stderr
    statuses = [int(line.split()[1]) for line in child.stdout.splitlines()]
    assert set(statuses[:-1]) == {-signal.SIGKILL} and statuses[-1] == 0, child.stderr
    assert len(statuses) > changes, "fewer changes of the disk than a durable commit has"
    seen = []
    for point, _ in enumerate(statuses):
        home = tmp_path / str(point)
        visible = whole(home)[kind]
        assert visible in ({0}, {0, 1})  # what was committed before stays; what was not is whole or absent
        seen.append(1 in visible)
        if kind == "commit":
            assert rebuild_catalog(home).problems == ()
            rows = query(home, "SELECT fingerprint, count(*) FROM diversity_metrics_all_versions GROUP BY 1").rows()
            assert dict(rows).keys() <= {f"f{number}" for number in visible} and set(dict(rows).values()) == {200}
        sweep(home)
        assert temporary_names(home) == []
        write(Store(home), kind, 1, made)  # the step that resumes
        assert whole(home)[kind] == {0, 1}
    assert not seen[0] and seen[-1] and seen == sorted(seen), "once committed, it stays so at every later point"


@pytest.mark.parametrize("kind", ["commit", "append", "model"])
def test_killed_at_random_moments_nothing_acknowledged_is_lost(kind, tmp_path, child_environment):
    draw = random.Random(kind)
    home = tmp_path / "home"
    acknowledged: set[int] = set()
    for round_number in range(3):
        first = 300 * round_number
        child = subprocess.Popen(
            [sys.executable, "-c", FOR_EVER, str(home), kind, str(first)],
            env=child_environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        wanted = draw.randint(2, 12)
        lines = [child.stdout.readline() for _ in range(wanted)]
        try:
            child.wait(timeout=draw.random() * 0.02)
        except subprocess.TimeoutExpired:
            child.kill()
        lines += child.stdout.readlines()
        assert child.wait(timeout=20) == -signal.SIGKILL
        acknowledged |= {int(line) for line in lines if line.endswith("\n")}
        visible = whole(home)[kind]
        started = {number + 1 for number in acknowledged} | {300 * r for r in range(round_number + 1)}
        assert acknowledged <= visible <= acknowledged | started
    assert len(acknowledged) >= 6
    sweep(home)
    assert temporary_names(home) == []
    assert whole(home)[kind] >= acknowledged


def test_a_kill_in_the_middle_of_a_rebuild_leaves_the_catalog_that_was_there(made, tmp_path, child_environment):
    home = made.fabricate(tmp_path / "home").home
    before = query(home, "FROM gap_metrics ORDER BY ALL")
    code = """
import os, signal, sys
from pathlib import Path
from ops.storage import catalog
from ops.storage.store import Store
Store(Path(sys.argv[1])).register_experiment("more", {}, {}, run_id="")
real = catalog._write_table
def write(connection, table, usable):
    if table == "models":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(connection, table, usable)
catalog._write_table = write
catalog.rebuild_catalog(Path(sys.argv[1]))
"""
    assert run_child(code, home, [], child_environment).returncode == -signal.SIGKILL
    left = temporary_names(home)
    assert any(name.startswith(".mindgap.duckdb.") for name in left)
    assert query(home, "FROM gap_metrics ORDER BY ALL").equals(before)
    assert sorted(Path(path).name for path in sweep(home)) == sorted(left)
    assert rebuild_catalog(home).rebuilt  # the lock died with its holder
    assert query(home, "SELECT count(*) FROM experiments").item() == 4
