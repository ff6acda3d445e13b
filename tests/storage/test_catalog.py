"""The catalog says what the manifests say, whoever reads or writes meanwhile."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.storage import catalog, layout
from ops.storage.atomic import TEMPORARY_MARK, file_digest
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.storage.schemas import COLUMNS
from ops.storage.store import Store

CONTRACT = {
    "generations": "experiment iteration split problem_id sample_index response answer verdict strict_verdict n_tokens "
    "logprob seed model_fingerprint",
    "verification_scores": "experiment iteration split problem_id sample_index verifier verifier_model score verdict "
    "transcript",
    "gap_metrics": "experiment iteration split verifier filter threshold n_problems accuracy filtered_accuracy gap "
    "gap_low gap_high relative_gap relative_gap_low relative_gap_high kept_fraction unparseable_fraction",
    "diversity_metrics": "experiment iteration split metric k value low high",
    "experiments": "experiment hypothesis model task iterations config registered_at run_id",
    "materializations": "experiment asset iteration table_name fingerprint code_version run_id seed reused n_rows "
    "seconds resource created_at is_current metadata data_path",
    "problems": "experiment iteration problem_id split",
    "finetune_data": "experiment iteration problem_id sample_index prompt completion weight",
    "models": "experiment iteration model_fingerprint role path",
}


def columns_of(home: Path, table: str) -> dict[str, str]:
    return dict(query(home, f"DESCRIBE {table}").select("column_name", "column_type").rows())


def register(store: Store, fingerprint: str | None, experiment: str = "demo") -> None:
    plan = {"iteration_0/diversity_metrics": fingerprint} if fingerprint else {}
    store.register_experiment(experiment, {"hypothesis": "It rises."}, plan, run_id="r")


def fingerprints(home: Path, where: str = "true") -> list[tuple]:
    rebuild_catalog(home)
    return query(
        home, f"SELECT fingerprint, is_current FROM diversity_metrics_all_versions WHERE {where} ORDER BY created_at"
    ).rows()


@pytest.mark.parametrize("filled", [False, True])
def test_every_table_has_its_columns_with_and_without_data(filled, fabricated, tmp_path):
    home = fabricated.home if filled else tmp_path / "empty"
    if not filled:
        rebuild_catalog(home)
    for table, names in CONTRACT.items():
        found = columns_of(home, table)
        assert set(names.split()) <= set(found), table
        if table in COLUMNS:
            assert found == {
                "experiment": "VARCHAR",
                "iteration": "INTEGER",
                **COLUMNS[table],
                "fingerprint": "VARCHAR",
            }
            more = {"created_at": "TIMESTAMP", "is_current": "BOOLEAN"}
            assert columns_of(home, f"{table}_all_versions") == {**found, **more}
        assert (query(home, f"SELECT count(*) FROM {table}").item() > 0) is filled
    assert list(columns_of(home, "experiments")) == CONTRACT["experiments"].split()
    assert list(columns_of(home, "materializations")) == CONTRACT["materializations"].split()


def test_arms_that_share_a_file_each_see_it_as_theirs(fabricated):
    shared = query(
        fabricated.home,
        "SELECT experiment, count(*), min(fingerprint), max(fingerprint) FROM generations WHERE iteration = 0 "
        "GROUP BY 1 ORDER BY 1",
    )
    assert shared.rows() == [
        (arm, 16, "gen-shared-0", "gen-shared-0") for arm in ("demo", "demo-gold", "demo-no-filter")
    ]
    assert len(list((fabricated.home / "tables/generations").iterdir())) == 1 + 3
    reused = query(
        fabricated.home,
        "SELECT reused FROM materializations WHERE asset = 'generations' AND iteration = 0 ORDER BY experiment",
    )
    assert reused["reused"].to_list() == [False, True, True]


def test_current_is_what_the_latest_plan_names(store, made):
    home = store.home
    made.commit(store, "diversity_metrics", made.number_frame(1), "a")
    assert fingerprints(home) == [("a", False)]  # never registered
    register(store, "b")
    assert fingerprints(home) == [("a", False)]
    made.commit(store, "diversity_metrics", made.number_frame(2), "b")
    assert fingerprints(home) == [("a", False), ("b", True)]
    assert query(home, "SELECT k, fingerprint FROM diversity_metrics").rows() == [(2, "b")]
    register(store, "a")  # the plan goes back: the older result is current again, before anything runs
    assert fingerprints(home) == [("a", True), ("b", False)]
    where = dict(experiment="demo", asset="diversity_metrics", iteration=0, fingerprint="a")
    store.link("diversity_metrics", provenance=made.provenance(reused=True), **where)
    assert fingerprints(home) == [("a", False), ("b", False), ("a", True)]  # the latest one of several
    assert query(home, "SELECT k FROM diversity_metrics").rows() == [(1,)]
    register(store, None)
    assert fingerprints(home, "is_current") == []


def test_an_iteration_or_experiment_does_not_leak_into_another(store, made):
    register(store, "a")
    made.commit(store, "diversity_metrics", made.number_frame(1), "a", iteration=1)
    made.commit(store, "diversity_metrics", made.number_frame(1), "a", experiment="other")
    assert fingerprints(store.home) == [("a", False), ("a", False)]
    made.commit(store, "diversity_metrics", made.number_frame(1), "a")
    rebuild_catalog(store.home)
    assert query(store.home, "SELECT experiment, iteration FROM diversity_metrics").rows() == [("demo", 0)]


@settings(max_examples=6, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 2), st.sampled_from("abc"), st.integers(0, 3)), max_size=8
    ),
    st.dictionaries(st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 2)), st.sampled_from("abc"), max_size=4),
)
def test_a_catalog_is_the_sum_of_its_manifests(commits, planned):
    from ops.storage.store import Provenance

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        rows: dict[str, int] = {}
        every: Counter = Counter()
        for experiment, k, fingerprint, n in commits:
            rows.setdefault(fingerprint, n)
            frame = pl.DataFrame(
                {"split": ["eval"] * n, "metric": "m", "k": k, "value": 0.5, "low": 0.0, "high": 1.0, "n_problems": 1}
            )
            where = dict(experiment=experiment, asset="diversity_metrics", iteration=k, fingerprint=fingerprint)
            store.commit_table("diversity_metrics", frame, provenance=Provenance("r", "1", 0.1, False, {}), **where)
            every[experiment, k] += rows[fingerprint]
        for experiment in ("x", "y"):
            plan = {f"iteration_{k}/diversity_metrics": f for (name, k), f in planned.items() if name == experiment}
            store.register_experiment(experiment, {}, plan, run_id="")
        report = rebuild_catalog(store.home)
        assert report.n_materializations == len(commits) and report.problems == ()
        committed = {(e, k, f) for e, k, f, _ in commits}
        current = {(e, k): rows[f] for (e, k), f in planned.items() if (e, k, f) in committed and rows[f]}
        count = "SELECT experiment, iteration, count(*) FROM {} GROUP BY ALL"
        found = {(e, k): n for e, k, n in query(store.home, count.format("diversity_metrics_all_versions")).rows()}
        assert found == {key: n for key, n in every.items() if n}
        assert {(e, k): n for e, k, n in query(store.home, count.format("diversity_metrics")).rows()} == current


def test_an_unchanged_home_is_not_rebuilt_and_a_changed_one_is(store, made):
    register(store, "a")
    assert rebuild_catalog(store.home).rebuilt
    inode = (store.home / "mindgap.duckdb").stat().st_ino
    assert not rebuild_catalog(store.home).rebuilt
    assert (store.home / "mindgap.duckdb").stat().st_ino == inode
    made.commit(store, "diversity_metrics", made.number_frame(1), "a")
    assert rebuild_catalog(store.home).rebuilt
    (store.home / "tables/diversity_metrics/a/data.parquet").unlink()
    report = rebuild_catalog(store.home)
    assert report.rebuilt and len(report.problems) == 1
    assert rebuild_catalog(store.home).problems == report.problems
    catalog = store.home / "mindgap.duckdb"
    assert stat.S_IMODE(catalog.stat().st_mode) == 0o444
    assert [p.name for p in store.home.iterdir() if TEMPORARY_MARK in p.name or p.suffix == ".wal"] == []
    catalog.chmod(0o644)
    catalog.write_bytes(b"not a database")
    assert rebuild_catalog(store.home).rebuilt


def test_damage_is_listed_and_the_rest_is_there(made, tmp_path):
    home = made.fabricate(tmp_path / "home").home
    before = {
        t: query(home, f"SELECT count(*) FROM {t}").item() for t in ("gap_metrics", "generations", "materializations")
    }
    gap = home / "tables/gap_metrics/gap-demo-0/data.parquet"
    content = bytearray(gap.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)  # same size, so only reading it tells
    gap.write_bytes(content)
    (home / "tables/generations/gen-demo-1/data.parquet").unlink()
    (home / "tables/verification_scores/ver-demo-1/manifest.json").write_text("{}")
    broken = next((home / "materializations/demo/iteration_1/gap_metrics").iterdir())
    broken.write_text("half a man")
    next((home / "experiments/demo-gold").iterdir()).write_text('{"format": 1}')
    report = rebuild_catalog(home)
    found = query(home, "SELECT problem FROM catalog_problems")["problem"].to_list()
    assert sorted(found) == sorted(report.problems) and len(found) == 5
    for part in ("gap-demo-0/data.parquet", "gen-demo-1", "ver-demo-1", broken.name, "experiments/demo-gold"):
        assert any(part in text for text in found), (part, found)
    after = {t: query(home, f"SELECT count(*) FROM {t}").item() for t in before}
    assert after["materializations"] == before["materializations"] - 1
    assert after["generations"] == before["generations"] - 16 - 32  # one file gone; the gold arm's plan is unreadable
    assert after["gap_metrics"] == before["gap_metrics"] - 4 - 4 - 8
    assert query(home, "SELECT DISTINCT experiment FROM gap_metrics").rows() == [("demo-no-filter",)]


def test_a_file_from_before_a_column_existed_has_null_there(store, made):
    register(store, "new")
    made.commit(store, "diversity_metrics", made.number_frame(7), "old")
    made.commit(store, "diversity_metrics", made.number_frame(8), "new")
    folder = store.home / "tables/diversity_metrics/old"
    frame = pl.read_parquet(folder / "data.parquet").drop("n_problems", "low")
    frame.write_parquet(folder / "data.parquet")
    manifest = layout.read_manifest(folder / "manifest.json")
    manifest |= {"columns": frame.columns, "sha256": file_digest(folder / "data.parquet")}
    manifest["n_bytes"] = (folder / "data.parquet").stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert fingerprints(store.home) == [("old", False), ("new", True)]
    rows = query(store.home, "SELECT k, value, low, n_problems FROM diversity_metrics_all_versions ORDER BY k").rows()
    assert rows == [(7, 7.0, None, None), (8, 8.0, None, None)]


def test_a_home_with_an_odd_name_that_moves_is_read_after_a_rebuild(made, tmp_path):
    first, second = tmp_path / "it's [a] home *", tmp_path / "moved"
    made.fabricate(first)
    expected = query(first, "SELECT count(*), sum(n_tokens) FROM generations").rows()
    assert expected[0][0] == 96
    first.rename(second)
    assert rebuild_catalog(second).rebuilt
    assert query(second, "SELECT count(*), sum(n_tokens) FROM generations").rows() == expected


READER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
for line in sys.stdin:
    rows = connection.execute("SELECT count(*), max(k) FROM diversity_metrics").fetchone()
    print(rows[0], rows[1], flush=True)
"""


def test_a_reader_that_holds_the_file_open_blocks_nothing_and_keeps_its_view(store, made, child_environment):
    register(store, "f0")
    made.commit(store, "diversity_metrics", made.number_frame(0), "f0")
    rebuild_catalog(store.home)
    catalog = store.home / "mindgap.duckdb"
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(catalog)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment,
    )  # fmt: skip
    assert reader.stdout.readline() == "open\n"
    here = duckdb.connect(str(catalog), read_only=True)
    try:
        slowest = 0.0
        for number in range(1, 8):
            register(store, f"f{number}")
            made.commit(store, "diversity_metrics", made.number_frame(number), f"f{number}")
            report = rebuild_catalog(store.home)
            slowest = max(slowest, report.seconds)
            assert report.rebuilt
            reader.stdin.write("?\n")
            reader.stdin.flush()
            assert reader.stdout.readline().split() == ["1", "0"]  # what it opened, undisturbed
            assert here.execute("SELECT k FROM diversity_metrics").fetchall() == [(0,)]
            assert query(store.home, "SELECT k FROM diversity_metrics").rows() == [(number,)]  # what is there now
        assert slowest < 5.0
    finally:
        here.close()
        reader.stdin.close()
        assert reader.wait(timeout=20) == 0


WRITER = """
import sys
from pathlib import Path
import polars as pl
from ops.storage.catalog import rebuild_catalog
from ops.storage.store import Provenance, Store
store, name = Store(Path(sys.argv[1])), sys.argv[2]
for k in range(4):
    values = {"split": ["eval"], "metric": "m", "k": k, "value": 0.5, "low": 0.0, "high": 1.0, "n_problems": 1}
    frame = pl.DataFrame(values)
    where = dict(experiment=name, asset="diversity_metrics", iteration=k, fingerprint=f"shared-{k}")
    store.commit_table("diversity_metrics", frame, provenance=Provenance("r", "1", 0.1, False, {}), **where)
    rebuild_catalog(store.home)
"""


def test_processes_that_write_and_rebuild_at_once_lose_nothing(store, child_environment):
    names = ["a", "b", "c"]
    for name in names:
        plan = {f"iteration_{k}/diversity_metrics": f"shared-{k}" for k in range(4)}
        store.register_experiment(name, {}, plan, run_id="")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(store.home), name], env=child_environment) for name in names
    ]
    deadline = time.monotonic() + 60
    while any(writer.poll() is None for writer in writers):
        assert time.monotonic() < deadline
        if (store.home / "mindgap.duckdb").exists():  # a reader at any moment sees a whole catalog
            query(store.home, "SELECT count(*) FROM diversity_metrics")
        time.sleep(0.15)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert not rebuild_catalog(store.home).rebuilt  # the last writer's rebuild had everything
    found = query(
        store.home, "SELECT experiment, count(DISTINCT iteration), count(*) FROM diversity_metrics GROUP BY 1"
    )
    assert sorted(found.rows()) == [(name, 4, 4) for name in names]
    assert len(list((store.home / "tables/diversity_metrics").iterdir())) == 4


def test_an_older_rebuild_never_replaces_a_newer_one(store, made, monkeypatch):
    register(store, "b")
    made.commit(store, "diversity_metrics", made.number_frame(1), "a")
    reached, release, real, first = threading.Event(), threading.Event(), catalog._write, []

    def slow_the_first(*arguments):
        if not first:
            first.append(True)
            reached.set()
            assert release.wait(20)
        real(*arguments)

    monkeypatch.setattr(catalog, "_write", slow_the_first)
    older = threading.Thread(target=rebuild_catalog, args=(store.home,))
    older.start()
    assert reached.wait(20)  # it has read the manifests, and now something is added
    made.commit(store, "diversity_metrics", made.number_frame(2), "b")
    newer = threading.Thread(target=rebuild_catalog, args=(store.home,))
    newer.start()
    newer.join(0.5)
    assert newer.is_alive()
    release.set()
    older.join(20)
    newer.join(20)
    assert query(store.home, "SELECT fingerprint FROM diversity_metrics").rows() == [("b",)]
