"""What does not fit into memory: sets of keys, tables written in pieces, queries that go to disk."""

import tempfile
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import StorageError
from ops.storage import parquet
from ops.storage.keys import KeySet
from ops.storage.out_of_core import pool_rows, spilling, stream
from ops.storage.parquet import read_whole_groups, write_frames
from ops.storage.store import Provenance, Store

SAMPLE = {"response_id": pl.String(), "text": pl.String(), "n": pl.Int32()}
PROVENANCE = Provenance(run_id="r", code_version="1", seconds=0.0, reused=False, metadata={})


def _problems(n, start=0):
    rows = range(start, start + n)
    return pl.DataFrame(
        {
            "split": ["eval"] * n,
            "problem_id": [f"p{i}" for i in rows],
            "task": ["t"] * n,
            "data": ["{}"] * n,
            "answer": [str(i) for i in rows],
            "train_iteration": pl.Series([None] * n, dtype=pl.Int32),
        }
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(max_size=5), max_size=8), max_size=4), st.lists(st.text(max_size=5), max_size=8))
def test_a_key_set_is_a_set(columns, asked):
    keys = KeySet(pl.Series(column, dtype=pl.String) for column in columns)
    expected = {key for column in columns for key in column}
    assert len(keys) == len(expected)
    assert keys.contains(asked).tolist() == [key in expected for key in asked]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_table_does_not_depend_on_how_it_was_cut(cuts):
    """The same 40 rows, cut at any places, give the same bytes; row groups are full but the last."""
    whole = _problems(40)
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(whole.slice(start, cut))
        start += cut
    pieces.append(whole.slice(start))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP_ROWS", 16)
        for name, frames in (("a", [whole]), ("b", pieces)):
            assert write_frames(Path(folder) / name, "problems", frames) == 40
        assert (Path(folder) / "a").read_bytes() == (Path(folder) / "b").read_bytes()
        about = pq.ParquetFile(Path(folder) / "b").metadata
        assert [about.row_group(i).num_rows for i in range(about.num_row_groups)] == [16, 16, 8]
        assert pl.read_parquet(Path(folder) / "b").equals(whole)


def test_a_table_without_rows_has_its_columns(tmp_path):
    assert write_frames(tmp_path / "a", "problems", iter([])) == 0
    assert pl.read_parquet(tmp_path / "a").schema == _problems(1).with_columns(answer=pl.lit("")).schema


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=12), st.integers(1, 9))
def test_whole_groups_are_never_parted(sizes, rows):
    frame = pl.DataFrame(
        {
            "problem_id": [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)],
            "j": [j for size in sizes for j in range(size)],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        frame.write_parquet(Path(folder) / "a", row_group_size=5)
        blocks = list(read_whole_groups(Path(folder) / "a", ["problem_id", "j"], "problem_id", rows))
    assert pl.concat(blocks).equals(frame)
    found = [name for block in blocks for name in block["problem_id"].unique().to_list()]
    assert len(found) == len(set(found)) == len(sizes)
    assert all(block.height < rows + 2 * max(sizes) for block in blocks)


def test_a_stream_is_committed_whole_or_not_at_all(tmp_path):
    store = Store(tmp_path)
    where = {"experiment": "e", "asset": "problems", "iteration": None, "fingerprint": "f" * 16}

    def broken():
        yield _problems(3)
        raise StorageError("x", "broken")

    with pytest.raises(StorageError, match="broken"):
        store.commit_stream("problems", broken, lambda frame: {}, provenance=PROVENANCE, started=0.0, **where)
    assert not store.has("problems", "f" * 16)
    assert not [path for path in (tmp_path / "tables").rglob("*") if path.is_file()]

    shown = store.commit_stream(
        "problems",
        lambda: iter([_problems(3), _problems(2, start=3)]),
        lambda frame: {"rows": frame.select(pl.len()).collect().item()},
        provenance=PROVENANCE,
        started=0.0,
        **where,
    )
    assert shown == {"rows": 5}
    assert store.about("problems", "f" * 16)["n_rows"] == 5
    assert store.read("problems", "f" * 16)["problem_id"].to_list() == ["p0", "p1", "p2", "p3", "p4"]

    def never():
        raise AssertionError("asked for data that is there")

    again = store.commit_stream("problems", never, lambda frame: {}, provenance=PROVENANCE, started=0.0, **where)
    assert again == {"rows": 5}


def test_a_missing_or_shortened_file_is_noticed_without_reading_it(tmp_path):
    store = Store(tmp_path)
    where = {"experiment": "e", "asset": "problems", "iteration": None, "fingerprint": "f" * 16}
    store.commit_table("problems", _problems(3), provenance=PROVENANCE, **where)
    path = tmp_path / "tables" / "problems" / ("f" * 16) / "data.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(StorageError, match=f"damaged: {len(whole) - 1:,} bytes, its manifest says {len(whole):,}"):
        store.about("problems", "f" * 16)
    path.unlink()
    with pytest.raises(StorageError, match="missing"):
        store.about("problems", "f" * 16)


def test_pool_rows_come_in_any_order_that_a_query_wants(tmp_path):
    """Two chunks, the first of an earlier version without the column n; the key b was computed twice."""
    store = Store(tmp_path)
    old = {name: SAMPLE[name] for name in ("response_id", "text")}
    store.pool("samples", "p", old).append(pl.DataFrame({"response_id": ["c", "b"], "text": ["1", "2"]}))
    pool = store.pool("samples", "p", SAMPLE)
    pool.append(pl.DataFrame({"response_id": ["b", "a"], "text": ["3", "4"], "n": [7, 8]}, schema=SAMPLE))
    sql = f"SELECT s.response_id, s.text, s.n, w.place FROM {pool_rows(pool)} s JOIN wanted w ON s.response_id = w.key "
    sql += "ORDER BY w.place, s.filename, s.file_row_number"
    wanted = pl.DataFrame({"key": ["a", "b", "z"], "place": [0, 1, 2]})
    rows = [row for frame in stream(tmp_path, sql, {"wanted": wanted}) for row in frame.iter_rows()]
    assert rows == [("a", "4", 8, 0), ("b", "2", None, 1), ("b", "3", 7, 1)]
    empty = pool_rows(store.pool("samples", "none", SAMPLE))
    assert list(stream(tmp_path, f"SELECT * FROM {empty} s", {})) == []
    assert not list((tmp_path / "spill").iterdir())


def test_a_damaged_chunk_is_named(tmp_path):
    pool = Store(tmp_path).pool("samples", "p", SAMPLE)
    pool.append(pl.DataFrame({"response_id": ["a"], "text": ["b"], "n": [1]}, schema=SAMPLE))
    chunk = pool.chunks()[0]
    chunk.write_bytes(chunk.read_bytes()[:-30])
    with pytest.raises(StorageError, match=r"a query over stored rows failed: .*00000000\.parquet"):
        list(stream(tmp_path, f"SELECT * FROM {pool_rows(pool)} s", {}))


def test_what_is_larger_than_memory_goes_to_disk_and_is_gone_afterwards(tmp_path):
    with spilling(tmp_path) as connection:
        connection.execute("SET memory_limit = '128MB'")
        sql = "SELECT i, repeat(md5(i::VARCHAR), 8) AS t FROM range(800000) r(i) ORDER BY md5(i::VARCHAR)"
        n = sum(batch.num_rows for batch in connection.sql(sql).to_arrow_reader(10_000))
    assert n == 800_000
    assert not list((tmp_path / "spill").iterdir())
