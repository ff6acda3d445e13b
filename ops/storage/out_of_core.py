"""Queries over more rows than memory holds: DuckDB sorts and joins on disk, rows come back in pieces."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl

from ops.errors import StorageError
from ops.storage.atomic import make_folder, temporary_sibling
from ops.storage.catalog import quoted
from ops.storage.pool import Pool

MEMORY = "1GB"
"""What DuckDB takes before it goes to disk."""

ROWS_AT_ONCE = 16_384

_KINDS: dict[pl.DataType, str] = {
    pl.String(): "VARCHAR",
    pl.Int32(): "INTEGER",
    pl.Int64(): "BIGINT",
    pl.Float64(): "DOUBLE",
    pl.Boolean(): "BOOLEAN",
}


def pool_rows(pool: Pool) -> str:
    """SQL for the committed rows of ``pool``, with ``filename`` and ``file_row_number``: the order of their commits.

    Columns that chunks of an earlier version lack are null.
    """
    kinds = {**{name: _KINDS[kind] for name, kind in pool.schema.items()}, "filename": "VARCHAR"}
    typed = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in {**kinds, "file_row_number": "BIGINT"}.items())
    chunks = pool.chunks()
    if not chunks:
        return f"(SELECT {typed} WHERE false)"
    files = ", ".join(quoted(str(path)) for path in chunks)
    return (
        f"(SELECT {typed} WHERE false UNION ALL BY NAME SELECT * FROM read_parquet([{files}], union_by_name = true, "
        "filename = true, file_row_number = true, hive_partitioning = false))"
    )


@contextmanager
def spilling(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty DuckDB in memory that puts what is too much into a folder below ``home``, removed at the end."""
    spill = temporary_sibling(home / "spill" / "query")
    make_folder(spill.parent)
    connection = duckdb.connect(
        config={"memory_limit": MEMORY, "temp_directory": str(spill), "preserve_insertion_order": False}
    )
    try:
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def first_rows(frames: Iterable[pl.DataFrame], keys: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Of neighbours with the same ``keys`` the first one: of what was computed twice, sorted by keys, then commits.

    Args:
        frames: none of them empty; equal keys may go on in the next frame.
    """
    last: tuple[object, ...] | None = None
    for frame in frames:
        named = frame.select(keys)
        is_new = last != named.row(0)
        last = named.row(-1)
        key = pl.struct(keys)
        yield frame.filter((key != key.shift(1)).fill_null(is_new))


def stream(home: Path, sql: str, tables: Mapping[str, pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The result of ``sql`` in frames of at most ``ROWS_AT_ONCE`` rows, none of them empty, in its order.

    Args:
        tables: small tables that the query names.

    Raises:
        StorageError: when a file cannot be read, or the disk is full.
    """
    with spilling(home) as connection:
        try:
            for name, frame in tables.items():
                connection.register(name, frame.to_arrow())
            for batch in connection.sql(sql).to_arrow_reader(ROWS_AT_ONCE):
                if batch.num_rows:
                    yield pl.DataFrame(pl.from_arrow(batch))
        except (duckdb.Error, OSError) as error:  # Arrow's reader hands on DuckDB's as its own
            raise StorageError(
                str(home),
                f"a query over stored rows failed: {error}",
                remedy="see the file that it names, or free disk",
            ) from error
