"""The store and its pools: what is written is read back, what is damaged is said, the first writer wins."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ops.errors import StorageError
from ops.storage import layout
from ops.storage.atomic import TEMPORARY_MARK
from ops.storage.store import Store

TEXT = st.one_of(
    st.sampled_from(["", "\0", "a\0b", "😀", "'", '"', "a\nb\r\n", "\\", "é\u0301", "\u202e", "NULL", ",;\t"]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
)
SAMPLE = {"response_id": pl.String(), "text": pl.String(), "logprob": pl.Float64()}


def files_under(home: Path) -> list[str]:
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file() and "locks" not in p.parts)


def sample_rows(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame([(key, text, 0.5) for key, text in pairs], schema=SAMPLE, orient="row")


def test_nothing_is_created_before_the_first_write(store):
    assert not store.has("problems", "f1")
    assert not store.has_model("m1")
    assert store.pool("samples", "p1", SAMPLE).keys() == set()
    assert store.pool("samples", "p1", SAMPLE).read().schema == SAMPLE
    store.work_folder("finetuning", "m1")
    assert not store.home.exists()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, st.floats(allow_nan=False) | st.none()), max_size=8))
def test_any_text_and_number_survives_the_round_trip(rows):
    from ops.storage.schemas import polars_schema

    schema = polars_schema("finetune_data")
    frame = pl.DataFrame(
        [
            ("p", i, prompt, completion, weight, "correct", f"r{i}")
            for i, (prompt, completion, weight) in enumerate(rows)
        ],
        schema=schema,
        orient="row",
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "it's [a] home")
        made_with = dict(experiment="demo", asset="finetune_data", iteration=0, fingerprint="f1")
        from ops.storage.store import Provenance

        store.commit_table("finetune_data", frame, provenance=Provenance("r", "1", 0.0, False, {}), **made_with)
        assert_frame_equal(store.read("finetune_data", "f1"), frame)
        assert store.read("finetune_data", "f1", ["completion"])["completion"].to_list() == [row[1] for row in rows]


def test_a_frame_that_breaks_the_contract_writes_nothing(store, made):
    good = made.number_frame(1)
    for bad in (good.drop("k"), good.with_columns(more=1), good.with_columns(k=pl.lit("one"))):
        with pytest.raises(StorageError, match="diversity_metrics"):
            made.commit(store, "diversity_metrics", bad, "f1")
    with pytest.raises(StorageError, match="expected one of problems"):
        made.commit(store, "nonsense", good, "f1")
    assert not store.has("diversity_metrics", "f1")
    assert not (store.home / "tables").exists()


def test_metadata_is_made_plain_or_refused(store, made):
    where = dict(experiment="demo", asset="diversity_metrics", iteration=0, fingerprint="f1")
    frame = made.number_frame(1)
    bad = made.provenance(metadata={"numbers": {"worst": object()}})
    with pytest.raises(StorageError, match=r"metadata of diversity_metrics\.numbers\.worst: a object"):
        store.commit_table("diversity_metrics", frame, provenance=bad, **where)
    assert not store.has("diversity_metrics", "f1")
    good = made.provenance(metadata={"loss": math.nan, "n": np.int64(3), "x": np.float32(0.5), "at": Path("/a")})
    store.commit_table("diversity_metrics", frame, provenance=good, **where)
    [path] = (store.home / "materializations").rglob("*.json")
    assert layout.read_manifest(path)["metadata"] == {"loss": None, "n": 3, "x": 0.5, "at": "/a"}


def test_missing_and_damaged_data_name_the_path_and_the_remedy(store, made):
    with pytest.raises(StorageError, match=r"f1/manifest\.json: no such manifest\n  remedy: run the experiment"):
        store.read("diversity_metrics", "f1")
    made.commit(store, "diversity_metrics", made.number_frame(1, rows=50), "f1")
    with pytest.raises(StorageError, match="no such column"):
        store.read("diversity_metrics", "f1", ["nonsense"])
    data = store.home / "tables/diversity_metrics/f1/data.parquet"
    whole = data.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (bytes(flipped), whole[:-1], b""):
        data.write_bytes(content)
        with pytest.raises(
            StorageError, match=r"data\.parquet: damaged.*\n  remedy: remove .*diversity_metrics/f1 and run"
        ):
            store.read("diversity_metrics", "f1")
    data.unlink()
    with pytest.raises(StorageError, match=r"data\.parquet: cannot be read"):
        store.read("diversity_metrics", "f1")
    data.with_name("manifest.json").write_text('{"format": 1,')
    with pytest.raises(StorageError, match="damaged manifest"):
        store.read("diversity_metrics", "f1")


def test_the_first_commit_of_a_fingerprint_stays(store, made):
    made.commit(store, "diversity_metrics", made.number_frame(1), "f1")
    before = (store.home / "tables/diversity_metrics/f1/data.parquet").stat()
    made.commit(store, "diversity_metrics", made.number_frame(2), "f1", experiment="other")
    after = (store.home / "tables/diversity_metrics/f1/data.parquet").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert store.read("diversity_metrics", "f1")["k"].to_list() == [1]
    assert len(list((store.home / "materializations").rglob("*.json"))) == 2


def test_linking_again_adds_nothing_and_going_back_adds_history(store, made):
    where = dict(experiment="demo", asset="diversity_metrics", iteration=0, provenance=made.provenance(reused=True))
    with pytest.raises(StorageError, match="cannot be adopted"):
        store.link("diversity_metrics", fingerprint="a", **where)
    made.commit(store, "diversity_metrics", made.number_frame(1), "a")
    made.commit(store, "diversity_metrics", made.number_frame(2), "b")
    for _ in range(3):
        store.link("diversity_metrics", fingerprint="a", **where)
    history = sorted((store.home / "materializations/demo/iteration_0/diversity_metrics").iterdir())
    assert [path.stem[17:] for path in history] == ["a", "b", "a"]
    assert [layout.read_manifest(path)["reused"] for path in history] == [False, False, True]


def test_history_keeps_its_order_when_the_clock_goes_back(store, made, monkeypatch):
    for number, micros in enumerate((2_000_000, 1_000_000, 1_000_000)):
        monkeypatch.setattr(layout, "now_micros", lambda micros=micros: micros)
        made.commit(store, "diversity_metrics", made.number_frame(number), f"f{number}")
    names = sorted(p.name for p in (store.home / "materializations").rglob("*.json"))
    assert names == [f"000000000200000{n}-f{n}.json" for n in range(3)]


def test_an_experiment_is_registered_when_it_differs_from_the_latest(store):
    one, two = {"n": 1}, {"n": 2}
    for config, plan in ((one, {"a": "x"}), (one, {"a": "x"}), (two, {"a": "x"}), (two, {"a": "y"}), (one, {"a": "x"})):
        store.register_experiment("demo", config, plan, run_id="r")
    paths = sorted((store.home / "experiments/demo").iterdir())
    found = [layout.read_manifest(path) for path in paths]
    assert [(m["config"]["n"], m["fingerprints"]["a"]) for m in found] == [(1, "x"), (2, "x"), (2, "y"), (1, "x")]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "a\0b"])
def test_names_that_would_leave_the_home_are_refused(store, made, name):
    with pytest.raises(StorageError, match="cannot be a folder name"):
        made.commit(store, "diversity_metrics", made.number_frame(1), name)
    with pytest.raises(StorageError, match="cannot be a folder name"):
        made.commit(store, "diversity_metrics", made.number_frame(1), "f1", experiment=name)
    with pytest.raises(StorageError, match="cannot be a folder name"):
        store.model_folder(name)


def test_a_model_appears_whole_or_not_at_all(store):
    with pytest.raises(RuntimeError), store.new_model("m1") as folder:
        (folder / "weights").write_text("half")
        assert not store.has_model("m1")
        raise RuntimeError
    assert not store.has_model("m1") and files_under(store.home) == []
    with store.new_model("m1") as first:
        (first / "sub").mkdir()
        (first / "sub/weights").write_text("first")
        with store.new_model("m1") as second:
            (second / "weights").write_text("second, but earlier to end")
    assert files_under(store.home) == ["models/m1/weights"]
    assert TEMPORARY_MARK in first.name and not first.exists()


def test_pool_rows_come_back_once_in_the_order_of_their_commit(store):
    pool = store.pool("samples", "p1", SAMPLE)
    pool.append(sample_rows([("b", "first"), ("a", "first")]))
    pool.append(sample_rows([("a", "second"), ("c", "second")]))
    pool.append(sample_rows([]))
    assert pool.keys() == {"a", "b", "c"}
    assert pool.read()["response_id"].to_list() == ["b", "a", "c"]
    assert pool.read()["text"].to_list() == ["first", "first", "second"]
    assert pool.read(["c", "a", "a", "zz"]).rows() == [("a", "first", 0.5), ("c", "second", 0.5)]
    assert pool.read(pl.Series("other_name", ["b"]))["text"].to_list() == ["first"]
    assert pool.read([]).schema == SAMPLE and pool.read([]).is_empty()
    assert len(list(pool.folder.iterdir())) == 2


def test_a_pool_refuses_what_its_schema_does_not_hold(store):
    pool = store.pool("samples", "p1", SAMPLE)
    good = sample_rows([("a", "x")])
    for bad, what in (
        (good.drop("text"), r"missing \['text'\]"),
        (good.with_columns(more=1), r"unexpected \['more'\]"),
        (good.with_columns(logprob=pl.lit("x")), "wrong type"),
        (good.with_columns(response_id=pl.lit(None, pl.String)), "1 rows have no response_id"),
    ):
        with pytest.raises(StorageError, match=f"pool samples/p1: .*{what}"):
            pool.append(bad)
    assert not pool.folder.exists()
    with pytest.raises(StorageError, match="key 'nonsense'"):
        store.pool("samples", "p1", SAMPLE, key="nonsense")


def test_a_damaged_or_foreign_chunk_is_named(store):
    pool = store.pool("samples", "p1", SAMPLE)
    pool.append(sample_rows([("a", "x")]))
    pool.append(sample_rows([("b", "x")]))
    second = pool.folder / "00000001.parquet"
    whole = second.read_bytes()
    second.write_bytes(whole[:-20])
    with pytest.raises(StorageError, match=r"00000001\.parquet: damaged chunk.*\n  remedy: remove"):
        pool.read()
    second.unlink()
    assert pool.keys() == {"a"}
    with pytest.raises(StorageError, match=r"00000000\.parquet: its columns are"):
        store.pool("samples", "p1", {**SAMPLE, "text": pl.Int32()}).read()


def test_columns_that_a_pool_got_later_are_null_in_its_older_chunks(store):
    store.pool("samples", "p1", SAMPLE).append(sample_rows([("a", "x")]))
    pool = store.pool("samples", "p1", {**SAMPLE, "more": pl.Int32()})
    pool.append(sample_rows([("b", "y")]).with_columns(more=pl.lit(3)))
    assert pool.read().select("response_id", "more").rows() == [("a", None), ("b", 3)]
    assert pool.keys() == {"a", "b"}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(TEXT, TEXT), max_size=6), max_size=5), st.lists(TEXT, max_size=4))
def test_a_pool_is_a_dict_that_keeps_the_first(chunks, wanted):
    expected: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        pool = Store(Path(folder)).pool("samples", "p1", SAMPLE)
        for chunk in chunks:
            pool.append(sample_rows(chunk))
            for key, text in chunk:
                expected.setdefault(key, text)
        assert pool.keys() == set(expected)
        assert list(zip(*pool.read().select("response_id", "text"), strict=True)) == list(expected.items())
        chosen = {key: text for key, text in expected.items() if key in wanted}
        assert list(zip(*pool.read(wanted).select("response_id", "text"), strict=True)) == list(chosen.items())
