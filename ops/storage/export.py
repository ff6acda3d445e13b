"""One portable DuckDB file with every table inside, for a colleague or an archive."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb

from ops.errors import StorageError
from ops.storage.atomic import atomic_file
from ops.storage.catalog import STORAGE_VERSION, attach_read_only, quoted, rebuild_catalog
from ops.storage.layout import CATALOG_NAME


def export(home: Path, target: Path, *, overwrite: bool = False) -> dict[str, int]:
    """Write every table and view of the catalog into ``target`` as real tables; returns rows by table.

    The file refers to nothing outside of it; DuckDB 1.4 and later opens it.

    Raises:
        StorageError: when there is nothing to export, ``target`` exists (unless ``overwrite``) or cannot be
            written, or stored data is damaged.
    """
    home, target = Path(home).expanduser().resolve(), Path(target).expanduser().resolve()
    _check(home, target, overwrite)
    rebuild_catalog(home)
    with atomic_file(target) as staging, closing(duckdb.connect()) as connection:
        try:
            connection.execute(f"SET temp_directory = {quoted(str(home / 'work' / 'duckdb'))}")
            attach_read_only(connection, home / CATALOG_NAME)
            connection.execute(f"ATTACH {quoted(str(staging))} AS portable (STORAGE_VERSION {quoted(STORAGE_VERSION)})")
            rows = {name: _copy(connection, name) for name in _tables(connection)}
            connection.execute("DETACH portable")
        except duckdb.Error as error:
            remedy = "`mindgap recover` names damaged data; check the free space of the target's disk"
            raise StorageError(str(target), f"cannot be written: {error}", remedy=remedy) from error
        finally:
            staging.with_name(staging.name + ".wal").unlink(missing_ok=True)
    return rows


def _check(home: Path, target: Path, overwrite: bool) -> None:
    if not (home / "experiments").is_dir():
        raise StorageError(str(home), "holds no experiment to export", remedy="run one first: `mindgap run demo`")
    if target == home / CATALOG_NAME:
        raise StorageError(str(target), "is the catalog itself", remedy="choose another name")
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder" if target.is_dir() else f"no such folder: {target.parent}"
        raise StorageError(str(target), problem, remedy="name a file in a folder that exists, e.g. results.duckdb")
    if target.exists() and not overwrite:
        raise StorageError(str(target), "exists already", remedy="choose another name, or say --overwrite")


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'mindgap' ORDER BY table_name"
    )
    return [row[0] for row in found.fetchall()]


def _copy(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    connection.execute(f'CREATE TABLE portable.main."{table}" AS SELECT * FROM mindgap.main."{table}"')
    found = connection.execute(f'SELECT count(*) FROM portable.main."{table}"').fetchone()
    return found[0] if found else 0
