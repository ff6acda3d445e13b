"""What the tests of both kinds of study, and of experiment files, write down: data with changes, and tables by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from ops.lab import Lab
from ops.plan import CODE_VERSIONS, asset_name
from ops.storage.schemas import polars_schema
from ops.storage.store import Provenance

REMOVED = object()


def changed_copy(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with fields replaced, by dotted name (``sampling__top_p``), or removed."""
    data = copy.deepcopy(dict(base))
    for name, value in changes.items():
        *path, last = name.split("__")
        place: Any = data
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return data


def study_writer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changed: Callable[..., dict[str, Any]]
) -> Callable[..., Path]:
    """Write ``studies/NAME.yaml`` in a folder of the test's own; MINDGAP_* point there."""
    (folder / "experiments").mkdir()
    (folder / "studies").mkdir()
    monkeypatch.setenv("MINDGAP_HOME", str(folder / "home"))
    monkeypatch.setenv("MINDGAP_EXPERIMENTS", str(folder / "experiments"))
    monkeypatch.delenv("MINDGAP_STUDIES", raising=False)

    def write(name: str = "tiny", **changes: Any) -> Path:
        path = folder / "studies" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**changed(**changes), "name": name}, sort_keys=False))
        return path

    return write


def commit_rows(
    lab: Lab,
    table: str,
    asset: str,
    iteration: int | None,
    rows: Sequence[Mapping[str, Any]],
    provenance: Provenance | None = None,
) -> None:
    """Commit hand-written rows as a table of the lab's plan; columns that a row lacks are NULL."""
    schema = polars_schema(table)
    frame = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)
    lab.store.commit_table(
        table,
        frame,
        experiment=lab.experiment.name,
        asset=asset,
        iteration=iteration,
        fingerprint=lab.plan.fingerprints[asset_name(asset, iteration)],
        provenance=provenance or Provenance("test", CODE_VERSIONS[asset.rpartition("/")[2]], 0.0, False, {}),
    )
