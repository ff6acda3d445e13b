"""SQL for people: one read-only statement against the catalog, as a Polars frame."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from ops.errors import MindgapError, StorageError
from ops.storage.atomic import atomic_file
from ops.storage.catalog import attach_read_only, quoted
from ops.storage.layout import CATALOG_NAME


class SqlError(MindgapError):
    """A query that cannot be run; the problem is DuckDB's own message."""


def query(home: Path, sql: str) -> pl.DataFrame:
    """Run one read-only statement (SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE, PIVOT) on the catalog.

    Files outside of ``home`` cannot be read, nothing can be written, and settings are locked.

    Raises:
        StorageError: when there is no catalog yet.
        SqlError: for anything that is not one read-only statement, and for DuckDB's errors.
    """
    home = Path(home).expanduser().resolve()
    catalog = home / CATALOG_NAME
    if not catalog.is_file():
        raise StorageError(str(catalog), "there is no catalog yet", remedy="run an experiment: `mindgap run demo`")
    with closing(duckdb.connect()) as connection:
        try:
            attach_read_only(connection, catalog)
            statement = _single_select(connection, sql)
            _lock_down(connection, home)
            return _to_polars(connection.sql(statement).to_arrow_table())
        except duckdb.Error as error:
            raise SqlError("query", str(error).strip(), remedy=_remedy(error)) from None


def write_result(frame: pl.DataFrame, path: Path) -> None:
    """Write a query's result to ``path``, as its suffix says: .parquet or .csv.

    Raises:
        SqlError: for another suffix, a missing folder, or columns that CSV cannot hold (lists, structs).
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        found = path.suffix or "a file without suffix"
        raise SqlError(str(path), f"cannot write {found}", remedy="use .parquet or .csv")
    if not path.parent.is_dir():
        raise SqlError(str(path), f"no such folder: {path.parent}", remedy="make it first")
    try:
        with atomic_file(path) as staging:
            if path.suffix == ".parquet":
                frame.write_parquet(staging)
            else:
                frame.write_csv(staging)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SqlError(str(path), f"cannot be written: {error}", remedy="nested columns need .parquet") from None


def _single_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise SqlError("query", f"expected one statement, got {len(statements)}", remedy="run them one by one")
    kind = statements[0].type
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI):
        raise SqlError(
            "query",
            f"{kind.name} is not a read-only query",
            remedy="results are immutable; copy what you want to change out with --output or `mindgap export`",
        )
    return statements[0]


def _lock_down(connection: duckdb.DuckDBPyConnection, home: Path) -> None:
    connection.execute(f"SET temp_directory = {quoted(str(home / 'work' / 'duckdb'))}")
    connection.execute(f"SET allowed_directories = [{quoted(str(home))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _to_polars(result: Any) -> pl.DataFrame:
    """An Arrow table as a frame; a column name that comes again gets ``_1``, ``_2`` ... behind it."""
    names: list[str] = []
    for name in result.column_names:
        count = 0
        fresh = name
        while fresh in names:
            count += 1
            fresh = f"{name}_{count}"
        names.append(fresh)
    try:
        return pl.DataFrame(pl.from_arrow(result.rename_columns(names)))
    except pl.exceptions.PolarsError as error:
        raise SqlError(
            "query", f"a column has a type that cannot be shown: {error}", remedy="cast it to VARCHAR"
        ) from None


def _remedy(error: duckdb.Error) -> str:
    if isinstance(error, duckdb.CatalogException | duckdb.BinderException):
        return "tables and columns are described in docs/sql.md; DESCRIBE shows them too"
    if isinstance(error, duckdb.IOException):
        return "`mindgap recover` rebuilds the catalog from what is there"
    if isinstance(error, duckdb.PermissionException):
        return "queries see MINDGAP_HOME only; open mindgap.duckdb with your own DuckDB for more"
    return ""
