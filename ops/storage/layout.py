"""Where things lie under MINDGAP_HOME, and what a manifest looks like.

::

    tables/TABLE/FINGERPRINT/data.parquet, manifest.json      immutable; shared by experiments
    materializations/EXPERIMENT/ASSET/UTC_MICROS-FINGERPRINT.json
    experiments/EXPERIMENT/UTC_MICROS.json                     registered configurations and plans
    pools/KIND/FINGERPRINT/NUMBER.parquet                      single samples, chunk by chunk
    models/FINGERPRINT/   work/KIND/FINGERPRINT/   locks/   servers/   spill/   mindgap.duckdb
    mlflow/unlogged/EXPERIMENT/ASSET                           what MLflow could not be told; logged by the next run
    plots/ASSET-FINGERPRINT-vVERSION.png                       of the UI; drawn again where they are missing
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path, PurePath
from typing import Any

from ops.errors import StorageError
from ops.storage.atomic import write_text_atomically

CATALOG_NAME = "mindgap.duckdb"
MANIFEST_FORMAT = 1

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def safe(part: str, what: str) -> str:
    """Return ``part`` if it can be one component of a path.

    Raises:
        StorageError: for anything but letters, digits, ``_ . -`` (first: letter, digit or ``_``).
    """
    if not isinstance(part, str) or not _SAFE.fullmatch(part):
        raise StorageError(what, f"{part!r} cannot be a folder name", remedy="use letters, digits, _, - and .")
    return part


def asset_key(asset: str, iteration: int | None) -> str:
    """``generations``, 2 -> ``iteration_2/generations``: the name in plans and on disk."""
    return asset if iteration is None else f"iteration_{iteration}/{asset}"


def table_folder(home: Path, table: str, fingerprint: str) -> Path:
    """Folder of one immutable table."""
    return home / "tables" / safe(table, "table") / safe(fingerprint, f"fingerprint of {table}")


def materialization_folder(home: Path, experiment: str, asset: str, iteration: int | None) -> Path:
    """Folder of the history of one asset of one experiment."""
    folder = home / "materializations" / safe(experiment, "experiment")
    for part in asset_key(asset, iteration).split("/"):
        folder /= safe(part, "asset")
    return folder


def lock_file(home: Path, kind: str, name: str) -> Path:
    """Lock of ``name``; names share 256 lock files per kind, so that locks do not pile up with the data."""
    shard = hashlib.blake2b(name.encode(), digest_size=1).hexdigest()
    return home / "locks" / f"{kind}-{shard}.lock"


def now_micros() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def next_stamp(folder: Path) -> str:
    """A 16-digit UTC stamp in microseconds, later than every stamp in ``folder`` even if the clock went back."""
    latest = latest_manifest(folder)
    after = int(latest.name[:16]) + 1 if latest else 0
    return f"{max(now_micros(), after):016d}"


def latest_manifest(folder: Path, table: str | None = None) -> Path | None:
    """The manifest with the latest stamp, or None; with ``table`` the latest of that table (an asset may have two)."""
    newest_first = sorted(folder.glob("[0-9]*.json"), key=lambda path: path.name, reverse=True)
    return next((path for path in newest_first if table is None or read_manifest(path)["table"] == table), None)


def stamp_time(micros: int) -> str:
    """Microseconds since 1970 as ISO text in UTC, e.g. ``2026-01-31T12:00:00.000001Z``."""
    seconds, rest = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:06d}Z"


def write_manifest(path: Path, body: Mapping[str, Any]) -> None:
    """Write a JSON manifest atomically: this is the commit."""
    text = json.dumps({"format": MANIFEST_FORMAT, **body}, indent=1, ensure_ascii=True, allow_nan=False)
    write_text_atomically(path, text + "\n")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a JSON manifest.

    Raises:
        StorageError: when it is not there, not JSON, or written by a later Mindgap.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageError(str(path), "no such manifest", remedy="run the experiment again") from None
    except (OSError, ValueError) as error:
        remedy = f"remove {path.parent if path.name == 'manifest.json' else path} and run the experiment again"
        raise StorageError(str(path), f"damaged manifest: {error}", remedy=remedy) from None
    if not isinstance(body, dict) or body.get("format") != MANIFEST_FORMAT:
        found = body.get("format") if isinstance(body, dict) else type(body).__name__
        raise StorageError(
            str(path), f"manifest format {found!r}, expected {MANIFEST_FORMAT}", remedy="use the Mindgap that wrote it"
        )
    return body


def plain(value: Any, where: str) -> Any:
    """``value`` as JSON data: NumPy scalars unwrapped, paths and dates as text, NaN and infinities as null.

    Raises:
        StorageError: for anything else that JSON cannot hold, naming ``where``.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, PurePath | date):
        return str(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return plain(value.item(), where)
    raise StorageError(where, f"a {type(value).__name__} cannot be kept as JSON", remedy="pass numbers, text or lists")
