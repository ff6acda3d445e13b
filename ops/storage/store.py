"""The store: immutable Parquet per materialization, and a JSON manifest as its commit.

Nothing here takes a lock that a reader could hold: readers open the catalog or the Parquet
files, which never change once their manifest is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from ops.errors import StorageError
from ops.storage import layout
from ops.storage.atomic import atomic_file, atomic_folder, exclusive, file_digest
from ops.storage.parquet import read_whole_groups, write_frames
from ops.storage.pool import Pool
from ops.storage.schemas import COLUMNS, conform

__all__ = ["Pool", "Provenance", "Store"]


@dataclass(frozen=True)
class Provenance:
    """How a materialization came to be.

    Attributes:
        run_id: the Dagster run, or '' outside of one.
        code_version: version of the step's code, part of the fingerprint.
        seconds: wall time of the step.
        reused: True when the data existed already.
        metadata: numbers and short texts for people (JSON values).
        seed: the seed that the step drew from, where it has one.
    """

    run_id: str
    code_version: str
    seconds: float
    reused: bool
    metadata: Mapping[str, Any]
    seed: int | None = None


class Store:
    """Everything under one ``MINDGAP_HOME``. Safe to use from many processes at once."""

    def __init__(self, home: Path) -> None:
        """Nothing is created before the first write."""
        self.home = Path(home).expanduser().resolve()
        self._verified: set[tuple[str, int, int]] = set()  # files whose checksum was right, by size and time of change

    def register_experiment(
        self, name: str, config: dict[str, Any], fingerprints: Mapping[str, str], *, run_id: str
    ) -> None:
        """Record the configuration and the plan of an experiment, if they differ from the latest recorded ones.

        The latest registration decides which materializations are current.

        Raises:
            StorageError: when ``config`` holds something that is not JSON.
        """
        folder = self.home / "experiments" / layout.safe(name, "experiment")
        content = {"config": layout.plain(config, f"config of {name}"), "fingerprints": dict(fingerprints)}
        with exclusive(layout.lock_file(self.home, "experiment", name)):
            latest = layout.latest_manifest(folder)
            if latest is not None:
                known = layout.read_manifest(latest)
                if known["config"] == content["config"] and known["fingerprints"] == content["fingerprints"]:
                    return
            stamp = layout.next_stamp(folder)
            body = {"experiment": name, "run_id": run_id, "registered_at": layout.stamp_time(int(stamp)), **content}
            layout.write_manifest(folder / f"{stamp}.json", body)

    def has(self, table: str, fingerprint: str) -> bool:
        """Whether the data is committed: its manifest exists."""
        return (layout.table_folder(self.home, table, fingerprint) / "manifest.json").is_file()

    def read(self, table: str, fingerprint: str, columns: list[str] | None = None) -> pl.DataFrame:
        """Read a committed table, its checksum verified.

        Raises:
            StorageError: when it is missing or damaged, naming the path and the remedy.
        """
        path = self._checked(table, fingerprint)
        remedy = f"remove {path.parent} and run the experiment again"
        try:
            return pl.read_parquet(path, columns=columns, glob=False, hive_partitioning=False)
        except pl.exceptions.ColumnNotFoundError as error:
            raise StorageError(f"table {table}", f"no such column: {error}") from None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StorageError(str(path), f"not readable as Parquet: {error}", remedy=remedy) from error

    def _checked(self, table: str, fingerprint: str) -> Path:
        """The data file of a committed table, its checksum verified."""
        folder = layout.table_folder(self.home, table, fingerprint)
        manifest = layout.read_manifest(folder / "manifest.json")
        path = folder / "data.parquet"
        remedy = f"remove {folder} and run the experiment again"
        try:
            state = path.stat()
            seen = str(path), state.st_size, state.st_mtime_ns
            digest = manifest["sha256"] if seen in self._verified else file_digest(path)
        except OSError as error:
            raise StorageError(str(path), f"cannot be read: {error.strerror or error}", remedy=remedy) from None
        if digest != manifest["sha256"]:
            raise StorageError(str(path), "damaged: its checksum is not its manifest's", remedy=remedy)
        self._verified.add(seen)
        return path

    def read_in_groups(
        self, table: str, fingerprint: str, columns: list[str], by: str, rows: int
    ) -> Iterator[pl.DataFrame]:
        """``read`` in frames of about ``rows`` rows, in which neighbours of the same ``by`` are never parted.

        Raises:
            StorageError: as ``read``, with the first frame.
        """
        yield from read_whole_groups(self._checked(table, fingerprint), columns, by, rows)

    def commit_table(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        experiment: str,
        asset: str,
        iteration: int | None,
        fingerprint: str,
        provenance: Provenance,
    ) -> None:
        """Write a table and its manifests; the data manifest is the commit.

        Where another process has committed the same fingerprint meanwhile, its data stays and
        this materialization points to it.

        Raises:
            StorageError: when the columns differ from the contract or the metadata is not JSON.
        """
        _check_name(table)
        frame = conform(table, frame)
        metadata = layout.plain(provenance.metadata, f"metadata of {asset}")

        def write(path: Path) -> tuple[int, Any]:
            frame.write_parquet(path, compression="zstd", statistics=True)
            return frame.height, metadata

        self._write_data(table, fingerprint, provenance, write)
        self._materialize(table, experiment, asset, iteration, fingerprint, provenance)

    def commit_stream(
        self,
        table: str,
        frames: Callable[[], Iterable[pl.DataFrame]],
        describe: Callable[[pl.LazyFrame], Mapping[str, Any]],
        *,
        experiment: str,
        asset: str,
        iteration: int | None,
        fingerprint: str,
        provenance: Provenance,
        started: float,
    ) -> Mapping[str, Any]:
        """``commit_table`` of frames that come one after the other, for tables larger than memory.

        Args:
            frames: called where the data is not there yet.
            describe: numbers for people from the written rows, kept with the data; ``provenance.metadata`` is
                recorded beside them with this materialization only.
            started: ``time.monotonic()`` of when the work began; what has passed since is recorded as its seconds.

        Returns:
            the metadata.
        """
        _check_name(table)

        def write(path: Path) -> tuple[int, Any]:
            n_rows = write_frames(path, table, frames())
            shown = describe(pl.scan_parquet(path, glob=False, hive_partitioning=False))
            return n_rows, layout.plain(shown, f"metadata of {asset}")

        self._write_data(table, fingerprint, provenance, write)
        metadata = self.about(table, fingerprint)["metadata"]
        shown = {**metadata, **provenance.metadata}
        provenance = replace(provenance, metadata=shown, seconds=time.monotonic() - started)
        self._materialize(table, experiment, asset, iteration, fingerprint, provenance)
        return metadata

    def _write_data(
        self, table: str, fingerprint: str, provenance: Provenance, write: Callable[[Path], tuple[int, Any]]
    ) -> None:
        """Data and data manifest, unless they are there. ``write``: writes the file; rows and metadata of it."""
        folder = layout.table_folder(self.home, table, fingerprint)
        with exclusive(layout.lock_file(self.home, "table", f"{table}/{fingerprint}")):
            if self.has(table, fingerprint):
                return
            with atomic_file(folder / "data.parquet") as staging:
                n_rows, metadata = write(staging)
                sizes = {"n_bytes": staging.stat().st_size, "sha256": file_digest(staging)}
            body = {
                "table": table,
                "fingerprint": fingerprint,
                "n_rows": n_rows,
                "columns": list(COLUMNS[table]),
                **sizes,
                "code_version": provenance.code_version,
                "seed": provenance.seed,
                "run_id": provenance.run_id,
                "created_at": layout.stamp_time(layout.now_micros()),
                "metadata": metadata,
            }
            layout.write_manifest(folder / "manifest.json", body)

    def about(self, table: str, fingerprint: str) -> dict[str, Any]:
        """The manifest of a committed table: ``n_rows``, ``metadata`` and where it came from. Reads no data.

        Raises:
            StorageError: when the table is not there, or its file is missing or of another size.
        """
        folder = layout.table_folder(self.home, table, fingerprint)
        manifest = layout.read_manifest(folder / "manifest.json")
        path = folder / "data.parquet"
        size = path.stat().st_size if path.is_file() else None
        if size != manifest["n_bytes"]:
            problem = (
                "missing" if size is None else f"damaged: {size:,} bytes, its manifest says {manifest['n_bytes']:,}"
            )
            raise StorageError(str(path), problem, remedy=f"remove {folder} and run the experiment again")
        return manifest

    def link(
        self,
        table: str,
        *,
        experiment: str,
        asset: str,
        iteration: int | None,
        fingerprint: str,
        provenance: Provenance,
    ) -> None:
        """Adopt data that exists already; nothing is written if it is the latest one of this asset and table.

        Raises:
            StorageError: when the data does not exist.
        """
        if not self.has(table, fingerprint):
            path = layout.table_folder(self.home, table, fingerprint) / "manifest.json"
            raise StorageError(str(path), "cannot be adopted: it does not exist", remedy="run the experiment again")
        folder = layout.materialization_folder(self.home, experiment, asset, iteration)
        latest = layout.latest_manifest(folder, table)
        if latest is None or latest.stem[17:] != fingerprint:
            self._materialize(table, experiment, asset, iteration, fingerprint, provenance)

    def _materialize(
        self,
        table: str,
        experiment: str,
        asset: str,
        iteration: int | None,
        fingerprint: str,
        provenance: Provenance,
    ) -> None:
        data = layout.read_manifest(layout.table_folder(self.home, table, fingerprint) / "manifest.json")
        folder = layout.materialization_folder(self.home, experiment, asset, iteration)
        stamp = layout.next_stamp(folder)
        body = {
            "experiment": experiment,
            "asset": asset,
            "iteration": iteration,
            "table": table,
            "fingerprint": fingerprint,
            "code_version": provenance.code_version,
            "run_id": provenance.run_id,
            "seed": provenance.seed,
            "reused": provenance.reused,
            "n_rows": data["n_rows"],
            "seconds": layout.plain(provenance.seconds, f"seconds of {asset}"),
            "created_at": layout.stamp_time(int(stamp)),
            "metadata": layout.plain(provenance.metadata, f"metadata of {asset}"),
        }
        layout.write_manifest(folder / f"{stamp}-{fingerprint}.json", body)

    def model_folder(self, fingerprint: str) -> Path:
        """Final place of a checkpoint, whether or not it is there yet."""
        return self.home / "models" / layout.safe(fingerprint, "model fingerprint")

    def has_model(self, fingerprint: str) -> bool:
        """Whether the checkpoint is committed: its folder appears whole, by one rename."""
        return self.model_folder(fingerprint).is_dir()

    @contextmanager
    def new_model(self, fingerprint: str) -> Iterator[Path]:
        """Yield an empty folder; on a clean exit it becomes the checkpoint, on an error it is removed."""
        with atomic_folder(self.model_folder(fingerprint)) as staging:
            yield staging

    def work_folder(self, kind: str, fingerprint: str) -> Path:
        """Place for resumable checkpoints of unfinished work (not made here); the caller removes it when done."""
        return self.home / "work" / layout.safe(kind, "kind") / layout.safe(fingerprint, "fingerprint")

    def pool(self, kind: str, fingerprint: str, schema: Mapping[str, pl.DataType], key: str = "response_id") -> Pool:
        """The pool of single samples of one kind (``samples``, ``verifications``) and fingerprint."""
        folder = self.home / "pools" / layout.safe(kind, "kind") / layout.safe(fingerprint, "fingerprint")
        return Pool(folder, layout.lock_file(self.home, "pool", f"{kind}/{fingerprint}"), schema, key)


def _check_name(table: str) -> None:
    if table not in COLUMNS:
        raise StorageError(f"table {table}", f"unknown; expected one of {', '.join(COLUMNS)}")
