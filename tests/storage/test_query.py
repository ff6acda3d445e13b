"""SQL for people: read-only, one statement, clear errors; and the portable export."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ops.errors import MindgapError, StorageError
from ops.storage.export import export
from ops.storage.query import SqlError, query, write_result


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "FROM gap_metrics",
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a;",
        "VALUES (1), (2)",
        "SHOW TABLES",
        "DESCRIBE generations",
        "SUMMARIZE gap_metrics",
        "-- a comment; with a semicolon\nSELECT ';' AS text",
        "SELECT config->>'$.sampling.temperature' FROM experiments",
    ],
)
def test_reading_statements_run(fabricated, sql):
    assert query(fabricated.home, sql).height > 0


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "expected one statement, got 0"),
        ("SELECT 1; SELECT 2", "expected one statement, got 2"),
        ("SELECT 1; DROP TABLE experiments", "expected one statement, got 2"),
        ("DELETE FROM experiments", "DELETE is not a read-only query"),
        ("CREATE TABLE x (a INT)", "CREATE is not"),
        ("COPY experiments TO 'x.csv'", "COPY is not"),
        ("EXPLAIN ANALYZE COPY experiments TO 'x.csv'", "EXPLAIN is not"),
        ("ATTACH 'x.duckdb'", "ATTACH is not"),
        ("SET threads = 1", "SET is not"),
        ("INSTALL httpfs", "is not a read-only"),
        ("SELEC 1", "Parser Error"),
        ("SELECT nonsense FROM gap_metrics", "nonsense"),
        ("SELECT * FROM nonsense", "nonsense"),
        ("SELECT * FROM read_text('/etc/hostname')", "Permission Error"),
        ("SELECT * FROM glob('/etc/*')", "Permission Error"),
        ("SELECT INTERVAL 1 DAY AS d", "cannot be shown"),
        ("SELECT 1 / 'x'", "Conversion Error"),
    ],
)
def test_everything_else_is_one_clear_error(fabricated, tmp_path, monkeypatch, sql, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SqlError) as error:
        query(fabricated.home, sql)
    assert message in str(error.value) and isinstance(error.value, MindgapError)
    assert list(tmp_path.iterdir()) == []


def test_a_home_without_catalog_says_what_to_do(tmp_path):
    with pytest.raises(StorageError, match="there is no catalog yet\n  remedy: run an experiment"):
        query(tmp_path, "SELECT 1")


def test_a_column_that_comes_twice_gets_a_number(fabricated):
    assert query(fabricated.home, "SELECT 1 AS a, 2 AS a, 3 AS a, 4 AS a_1").columns == ["a", "a_1", "a_2", "a_1_1"]


def test_times_are_utc_and_text_is_whole(fabricated):
    found = query(fabricated.home, "SELECT max(created_at) AS at FROM materializations").item()
    now = datetime.now(UTC).replace(tzinfo=None)
    assert now - timedelta(minutes=10) < found <= now
    assert (
        query(fabricated.home, "SELECT response FROM generations WHERE sample_index = 2 LIMIT 1").item()
        == "1+2 'quoted' 😀"
    )


def test_results_are_written_whole(tmp_path):
    frame = pl.DataFrame({"text": ["a\n'b'", "😀", None], "n": [1, 2, None]})
    write_result(frame, tmp_path / "a.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "a.parquet"), frame)
    write_result(frame, tmp_path / "a.csv")
    assert_frame_equal(pl.read_csv(tmp_path / "a.csv"), frame)
    nested = pl.DataFrame({"a": [[1, 2]]})
    write_result(nested, tmp_path / "b.parquet")
    for bad, path in ((nested, "c.csv"), (frame, "c.xlsx"), (frame, "c"), (frame, "missing/c.csv")):
        with pytest.raises(SqlError):
            write_result(bad, tmp_path / path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.parquet", "b.parquet"]


def test_an_export_stands_alone(made, tmp_path):
    home, target = made.fabricate(tmp_path / "home").home, tmp_path / "out.duckdb"
    tables = query(home, "SHOW TABLES")["name"].to_list()
    before = {name: query(home, f"SELECT * FROM {name} ORDER BY ALL") for name in tables}
    rows = export(home, target)
    assert rows == {name: frame.height for name, frame in before.items()}
    shutil.rmtree(home)
    with duckdb.connect(str(target), read_only=True) as connection:
        kinds = connection.execute("SELECT DISTINCT table_type FROM information_schema.tables").fetchall()
        assert kinds == [("BASE TABLE",)]
        version = connection.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
        ).fetchone()
        assert version[0].startswith("v1.4.0")
        for name, frame in before.items():
            assert connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() == frame.rows(), name
    assert [p.name for p in tmp_path.iterdir()] == ["out.duckdb"]


def test_an_export_overwrites_only_when_told(fabricated, tmp_path):
    target = tmp_path / "out.duckdb"
    target.write_text("precious")
    with pytest.raises(StorageError, match="exists already"):
        export(fabricated.home, target)
    assert target.read_text() == "precious"
    export(fabricated.home, target, overwrite=True)
    assert duckdb.connect(str(target), read_only=True).execute("SELECT count(*) FROM experiments").fetchone() == (3,)
    for bad, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "no/out.duckdb", "no such folder"),
        (fabricated.home / "mindgap.duckdb", "is the catalog itself"),
    ):
        with pytest.raises(StorageError, match=message):
            export(fabricated.home, bad, overwrite=True)
    with pytest.raises(StorageError, match="holds no experiment"):
        export(tmp_path / "nowhere", tmp_path / "b.duckdb")
    assert not (tmp_path / "nowhere").exists()
