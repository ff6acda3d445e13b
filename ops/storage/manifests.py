"""Reading the manifests back: what was registered, what was materialized, and what of it is current."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.errors import StorageError
from ops.storage.atomic import file_digest
from ops.storage.layout import asset_key, read_manifest, table_folder


@dataclass(frozen=True)
class Materialized:
    """One row of the table ``materializations``, and the data file behind it.

    Attributes:
        row: values by column name; ``created_at`` in microseconds since 1970.
        columns: columns of the data file, () where it is not usable.
        usable: the data file is there and has the size that its manifest says.
        sha256: checksum of the data file by its manifest, '' where there is none.
    """

    row: dict[str, Any]
    columns: tuple[str, ...]
    usable: bool
    sha256: str

    @property
    def table(self) -> str:
        """Name of the table that the data belongs to."""
        return self.row["table_name"]

    @property
    def path(self) -> str:
        """The data file, absolute."""
        return self.row["data_path"]

    def damage(self) -> str | None:
        """What is wrong with the content of the data file, by its checksum; None where it is whole."""
        try:
            if file_digest(Path(self.path)) == self.sha256:
                return None
        except OSError as error:
            return str(StorageError(self.path, f"cannot be read: {error.strerror}", remedy="see the message"))
        remedy = f"remove {Path(self.path).parent} and run the experiment again"
        return str(StorageError(self.path, "damaged: its checksum is not its manifest's", remedy=remedy))


def read_registrations(home: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Every registration of every experiment as rows of ``experiments_all_versions``, and what cannot be read.

    Each row also holds ``fingerprints``, the plan. The latest of an experiment has ``is_current``.
    """
    rows, problems = [], []
    root = home / "experiments"
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        mine = []
        for path in sorted(folder.glob("[0-9]*.json")):
            try:
                mine.append(_registration_row(read_manifest(path), int(path.stem)))
            except (StorageError, KeyError, TypeError, ValueError) as error:
                problems.append(_problem(path, error))
        if mine:
            mine[-1]["is_current"] = True
        rows += mine
    return rows, problems


def read_history(home: Path, registrations: list[dict[str, Any]]) -> tuple[list[Materialized], list[str]]:
    """Every materialization in the order of time, and what cannot be used.

    A materialization is current when its fingerprint is the one that the latest registration of its
    experiment plans for its asset, and it is the latest of that fingerprint and table.
    """
    plans = {row["experiment"]: row["fingerprints"] for row in registrations if row["is_current"]}
    problems: list[str] = []
    data: dict[tuple[str, str], tuple[tuple[str, ...], bool, str]] = {}
    history: list[Materialized] = []
    current: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in _manifest_paths(home / "materializations"):
        try:
            row = _materialization_row(home, read_manifest(path), int(path.name[:16]))
        except (StorageError, KeyError, TypeError, ValueError) as error:
            problems.append(_problem(path, error))
            continue
        identity = (row["table_name"], row["fingerprint"])
        if identity not in data:
            data[identity] = _inspect_data(Path(row["data_path"]), problems)
        history.append(Materialized(row, *data[identity]))
        key = asset_key(row["asset"], row["iteration"])
        if plans.get(row["experiment"], {}).get(key) == row["fingerprint"]:
            current[row["experiment"], key, row["table_name"]] = row
    for row in current.values():
        row["is_current"] = True
    return history, problems


def _manifest_paths(root: Path) -> list[Path]:
    found = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(".json") and not name.startswith(".")
    ]
    return [Path(path) for path in sorted(found, key=os.path.basename)]


def _registration_row(body: dict[str, Any], micros: int) -> dict[str, Any]:
    config = body["config"]
    task = config.get("task")
    return {
        "experiment": body["experiment"],
        "hypothesis": config.get("hypothesis"),
        "model": _model_name(config.get("model")),
        "task": task.get("name") if isinstance(task, dict) else task,
        "iterations": config.get("iterations"),
        "config": json.dumps(config, ensure_ascii=False),
        "registered_at": micros,
        "run_id": body["run_id"],
        "is_current": False,
        "fingerprints": body["fingerprints"],
    }


def _model_name(model: Any) -> str | None:
    """A short name: ``builtin:countdown/s``, ``folder:/path``, ``hub:org/name@revision``."""
    if not isinstance(model, dict):
        return model
    kind = model.get("kind")
    names = {
        "builtin": f"{model.get('recipe')}/{model.get('size')}",
        "recorded": model.get("label"),
        "folder": str(model.get("path")),
        "hub": f"{model.get('id')}@{model.get('revision')}",
        "registry": f"{model.get('name')}@{model.get('version')}",
    }
    return f"{kind}:{names[kind]}" if kind in names else json.dumps(model, ensure_ascii=False)


def _materialization_row(home: Path, body: dict[str, Any], micros: int) -> dict[str, Any]:
    columns = ("experiment", "asset", "iteration", "fingerprint", "code_version", "run_id", "seed", "reused")
    return {
        **{name: body[name] for name in columns},
        "table_name": body["table"],
        "n_rows": body["n_rows"],
        "seconds": body["seconds"],
        "created_at": micros,
        "is_current": False,
        "metadata": json.dumps(body["metadata"], ensure_ascii=False),
        "data_path": str(table_folder(home, body["table"], body["fingerprint"]) / "data.parquet"),
    }


def _inspect_data(path: Path, problems: list[str]) -> tuple[tuple[str, ...], bool, str]:
    """(columns, usable, sha256) of a data file; what is wrong with it goes to ``problems``."""
    remedy = f"remove {path.parent} and run the experiment again"
    try:
        manifest = read_manifest(path.parent / "manifest.json")
        size = path.stat().st_size
        if size != manifest["n_bytes"]:
            raise StorageError(str(path), f"damaged: {size} bytes, expected {manifest['n_bytes']}", remedy=remedy)
        return tuple(manifest["columns"]), True, manifest["sha256"]
    except FileNotFoundError:
        problems.append(str(StorageError(str(path), "the data file is missing", remedy=remedy)))
    except (StorageError, KeyError, TypeError) as error:
        problems.append(_problem(path.parent / "manifest.json", error))
    return (), False, ""


def _problem(path: Path, error: Exception) -> str:
    if isinstance(error, StorageError):
        return str(error)
    return str(StorageError(str(path), f"damaged manifest: {error!r}", remedy=f"remove {path} and run again"))
