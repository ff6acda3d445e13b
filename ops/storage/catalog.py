"""The catalog: ``mindgap.duckdb``, rebuilt from the manifests and swapped in with one rename.

Readers hold the file they opened for as long as they like; a rebuild makes a new one beside it.
Small tables are copied in, large ones are views over the Parquet files.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from ops.errors import StorageError
from ops.storage.atomic import atomic_file, exclusive, make_folder
from ops.storage.layout import CATALOG_NAME
from ops.storage.manifests import Materialized, read_history, read_registrations
from ops.storage.schemas import COLUMNS

CATALOG_VERSION = "5"
STORAGE_VERSION = "v1.4.0"
VIEWS = ("problems", "generations", "verification_scores", "finetune_data", "preference_pairs", "rollouts")
"""Tables with a row per problem or response: views over Parquet. The others live in the catalog itself."""

GPU_ASSETS = (
    "base_model",
    "sampling_choices",
    "generations",
    "verification_scores",
    "model",
    "policy_shift",
    "exploration/policy",
    "exploration/training_dynamics",
    "exploration/evaluation",
    "evaluation/pairs",
    "evaluation/synthetic_judgements",
    "evaluation/tuned_judgements",
)
"""Assets whose heavy step claims the pool ``gpu``; in the graph they carry the tag ``mindgap/resource: gpu``."""


@dataclass(frozen=True)
class CatalogReport:
    """What a rebuild did.

    Attributes:
        rebuilt: False where nothing had changed since the last one.
        n_materializations: rows of ``materializations``.
        problems: manifests and data files that cannot be used (also the table ``catalog_problems``).
        seconds: wall time, waiting for the lock included.
    """

    rebuilt: bool
    n_materializations: int
    problems: tuple[str, ...]
    seconds: float


def rebuild_catalog(home: Path) -> CatalogReport:
    """Bring ``home/mindgap.duckdb`` up to date with the manifests. Quick where nothing has changed.

    Damaged manifests and missing data are left out and listed in ``problems``.

    Raises:
        StorageError: when the catalog cannot be built.
    """
    start = time.monotonic()
    home = Path(home).expanduser().resolve()
    make_folder(home)
    target = home / CATALOG_NAME
    with exclusive(home / "locks" / "catalog.lock"):
        state = _state(home)
        known = _known_report(target, state)
        if known is not None:
            return CatalogReport(False, *known, seconds=time.monotonic() - start)
        registrations, problems = read_registrations(home)
        history, more = read_history(home, registrations)
        problems += more
        try:
            _write(target, registrations, history, problems, state)
        except duckdb.Error as error:  # a file of the right size that is not Parquet any more: find it, leave it out
            history, damaged = _without_damaged(history)
            if not damaged:
                raise StorageError(str(target), f"the catalog cannot be built: {error}") from error
            problems += damaged
            _write(target, registrations, history, problems, state)
    return CatalogReport(True, len(history), tuple(problems), time.monotonic() - start)


def attach_read_only(connection: duckdb.DuckDBPyConnection, catalog: Path) -> None:
    """Attach ``catalog`` as ``mindgap`` and make it the default database.

    Attaching to a fresh in-memory connection, and not connecting to the path, always opens the file that is
    there now: within one process DuckDB hands out an older instance of a path that is still open.
    """
    connection.execute(f"ATTACH {quoted(str(catalog))} AS mindgap (READ_ONLY)")
    connection.execute("USE mindgap")


def quoted(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _state(home: Path) -> str:
    """Hash of everything that the catalog is made from: names of manifests, sizes of data files."""
    entries = [f"{CATALOG_VERSION} {home}"]
    for root in ("experiments", "materializations"):
        entries += [os.path.join(folder, name) for folder, _, names in os.walk(home / root) for name in names]
    for table in COLUMNS:
        folder = home / "tables" / table
        for entry in os.scandir(folder) if folder.is_dir() else ():
            try:
                found = os.stat(os.path.join(entry.path, "data.parquet"))
                entries.append(f"{entry.path} {found.st_size} {found.st_mtime_ns}")
            except FileNotFoundError:
                entries.append(f"{entry.path} without data")
    return hashlib.sha256("\n".join(sorted(entries)).encode("utf-8", "surrogateescape")).hexdigest()


def _known_report(target: Path, state: str) -> tuple[int, tuple[str, ...]] | None:
    """(materializations, problems) of the catalog that is there, or None where it is of another state."""
    if not target.is_file():
        return None
    with closing(duckdb.connect()) as connection:
        try:
            attach_read_only(connection, target)
            if connection.execute("SELECT state FROM catalog_info").fetchone() != (state,):
                return None
            problems = connection.execute("SELECT problem FROM catalog_problems").fetchall()
            count = connection.execute("SELECT count(*) FROM materializations").fetchone()
        except duckdb.Error:  # of another version or damaged: built anew
            return None
    return (count or (0,))[0], tuple(row[0] for row in problems)


def _write(
    target: Path, registrations: list[dict[str, Any]], history: list[Materialized], problems: list[str], state: str
) -> None:
    """Build a new catalog beside ``target`` and swap it in."""
    with atomic_file(target, mode=0o444) as staging, closing(duckdb.connect()) as connection:
        try:
            connection.execute(f"ATTACH {quoted(str(staging))} AS building (STORAGE_VERSION {quoted(STORAGE_VERSION)})")
            connection.execute("USE building")
            connection.execute("BEGIN")
            _write_experiments(connection, registrations)
            _write_materializations(connection, history)
            for table in COLUMNS:
                _write_table(connection, table, [item for item in history if item.table == table and item.usable])
            _write_notes(connection, problems, state)
            connection.execute("COMMIT")
            connection.execute("USE memory")
            connection.execute("DETACH building")  # writes the checkpoint; no write-ahead log stays behind
        finally:
            staging.with_name(staging.name + ".wal").unlink(missing_ok=True)


def _without_damaged(history: list[Materialized]) -> tuple[list[Materialized], list[str]]:
    """Read every data file against its checksum; (history with the damaged ones unusable, what is wrong)."""
    damage = {path: item.damage() for item in history if item.usable for path in (item.path,)}
    kept = [replace(item, usable=item.usable and damage[item.path] is None) for item in history]
    return kept, [text for text in damage.values() if text is not None]


def _write_experiments(connection: duckdb.DuckDBPyConnection, registrations: list[dict[str, Any]]) -> None:
    columns = {
        "experiment": "VARCHAR",
        "hypothesis": "VARCHAR",
        "model": "VARCHAR",
        "task": "VARCHAR",
        "iterations": "INTEGER",
        "config": "VARCHAR",
        "registered_at": "TIMESTAMP",
        "run_id": "VARCHAR",
        "is_current": "BOOLEAN",
    }
    _insert(connection, "experiments_all_versions", columns, registrations)
    connection.execute(
        "CREATE TABLE experiments AS SELECT * EXCLUDE (is_current) FROM experiments_all_versions WHERE is_current"
    )


def _write_materializations(connection: duckdb.DuckDBPyConnection, history: list[Materialized]) -> None:
    columns = {
        "experiment": "VARCHAR",
        "asset": "VARCHAR",
        "iteration": "INTEGER",
        "table_name": "VARCHAR",
        "fingerprint": "VARCHAR",
        "code_version": "VARCHAR",
        "run_id": "VARCHAR",
        "seed": "BIGINT",
        "reused": "BOOLEAN",
        "n_rows": "BIGINT",
        "seconds": "DOUBLE",
        "resource": "VARCHAR",
        "created_at": "TIMESTAMP",
        "is_current": "BOOLEAN",
        "metadata": "VARCHAR",
        "data_path": "VARCHAR",
    }
    rows = [item.row | {"resource": "gpu" if item.row["asset"] in GPU_ASSETS else "cpu"} for item in history]
    _insert(connection, "materializations", columns, rows)


def _write_notes(connection: duckdb.DuckDBPyConnection, problems: list[str], state: str) -> None:
    _insert(connection, "catalog_problems", {"problem": "VARCHAR"}, [{"problem": text} for text in problems])
    connection.execute("CREATE TABLE catalog_info (state VARCHAR, built_at TIMESTAMP)")
    connection.execute("INSERT INTO catalog_info VALUES (?, make_timestamp(?))", [state, time.time_ns() // 1000])


def _write_table(connection: duckdb.DuckDBPyConnection, table: str, usable: list[Materialized]) -> None:
    """Make ``table`` and ``table_all_versions``."""
    kind = "VIEW" if table in VIEWS else "TABLE"
    every = _select(table, usable, "m.created_at, m.is_current", "")
    current = _select(table, [item for item in usable if item.row["is_current"]], "", "AND m.is_current")
    connection.execute(f"CREATE {kind} {table}_all_versions AS {every}")
    connection.execute(f"CREATE {kind} {table} AS {current}")


def _select(table: str, usable: Iterable[Materialized], behind: str, condition: str) -> str:
    """SQL for ``table``: one branch per set of columns that its files have, each joined to its materializations.

    DuckDB turns the join into a filter on file names, so a query for one experiment opens its files only.
    """
    groups: dict[tuple[str, ...], set[str]] = {}
    for item in usable:
        groups.setdefault(item.columns, set()).add(item.path)
    if not groups:
        return _empty(table, behind)
    branches = []
    for columns, paths in sorted(groups.items()):
        chosen = ", ".join(
            f'd."{name}"' if name in columns else f'NULL::{kind} AS "{name}"' for name, kind in COLUMNS[table].items()
        )
        files = ", ".join(quoted(path) for path in sorted(paths))
        branches.append(
            f"SELECT m.experiment, m.iteration, {chosen}, m.fingerprint{', ' + behind if behind else ''} "
            f"FROM read_parquet([{files}], filename = true, hive_partitioning = false) d "
            f"JOIN materializations m ON m.data_path = d.filename WHERE m.table_name = {quoted(table)} {condition}"
        )
    return " UNION ALL ".join(branches)


def _empty(table: str, behind: str) -> str:
    """A typed query without rows."""
    columns = {"experiment": "VARCHAR", "iteration": "INTEGER", **COLUMNS[table], "fingerprint": "VARCHAR"}
    if behind:
        columns |= {"created_at": "TIMESTAMP", "is_current": "BOOLEAN"}
    chosen = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items())
    return f"SELECT {chosen} WHERE false"


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, columns: dict[str, str], rows: list[dict[str, Any]]
) -> None:
    """Create a real table from dicts; TIMESTAMP values come as microseconds since 1970."""
    import pyarrow as pa

    kinds = {"VARCHAR": pa.string(), "INTEGER": pa.int32(), "BIGINT": pa.int64(), "DOUBLE": pa.float64()}
    kinds |= {"BOOLEAN": pa.bool_(), "TIMESTAMP": pa.timestamp("us")}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    data = pa.Table.from_pylist(rows, schema=schema)
    connection.register("incoming", data)
    connection.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming")
    connection.unregister("incoming")
