"""Pools: single samples and verifications, committed chunk by chunk, so a killed step resumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl

from ops.errors import StorageError
from ops.storage.atomic import exclusive, fsync_file, fsync_folder, make_folder, temporary_sibling
from ops.storage.keys import KeySet

CHUNKS_AT_ONCE = 256
"""Files whose keys are read together."""


class Pool:
    """A growing set of rows by key; each append is one immutable Parquet chunk.

    Chunks are numbered in the order they were committed. Where two processes computed the same
    key, the row of the first chunk counts, for every reader and for ever.
    """

    def __init__(self, folder: Path, lock_file: Path, schema: Mapping[str, pl.DataType], key: str) -> None:
        if key not in schema:
            raise StorageError(f"pool {folder.name}", f"key {key!r} is not a column of it: {', '.join(schema)}")
        self.folder, self._lock_file, self.schema, self.key = folder, lock_file, dict(schema), key

    def keys(self) -> set[str]:
        """Keys of all committed rows."""
        return {key for column in self._key_columns() for key in column}

    def key_set(self) -> KeySet:
        """Keys of all committed rows in 16 bytes each, for pools of many millions."""
        return KeySet(self._key_columns())

    def chunks(self) -> list[Path]:
        """The committed Parquet files in the order they were committed.

        Those of an earlier version may lack columns that were added since: to be read as null.
        """
        return sorted(self.folder.glob("[0-9]*.parquet"))

    def _key_columns(self) -> Iterator[pl.Series]:
        chunks = self.chunks()
        for start in range(0, len(chunks), CHUNKS_AT_ONCE):
            yield self._collect(self._scan(chunks[start : start + CHUNKS_AT_ONCE]).select(self.key))[self.key]

    def append(self, frame: pl.DataFrame) -> None:
        """Commit ``frame`` as one chunk: afterwards every row of it is there, before that none.

        Raises:
            StorageError: for missing, extra or uncastable columns, and for rows without a key.
        """
        frame = self._conform(frame)
        if frame.is_empty():
            return
        make_folder(self.folder)
        staging = temporary_sibling(self.folder / "chunk.parquet")
        try:
            frame.write_parquet(staging, compression="zstd")
            fsync_file(staging)
            with exclusive(self._lock_file):
                chunks = self.chunks()
                number = int(chunks[-1].stem) + 1 if chunks else 0
                staging.rename(self.folder / f"{number:08d}.parquet")
        finally:
            staging.unlink(missing_ok=True)
        fsync_folder(self.folder)

    def read(self, keys: pl.Series | Iterable[str] | None = None) -> pl.DataFrame:
        """Committed rows, one per key, in the order they were committed; those of ``keys`` only where given.

        Keys that are not in the pool are left out. The first chunk that holds a key wins.

        Raises:
            StorageError: when a chunk is damaged, naming it.
        """
        chunks = self.chunks()
        if not chunks:
            return pl.DataFrame(schema=self.schema)
        scan = self._scan(chunks)
        if keys is not None:
            wanted = keys if isinstance(keys, pl.Series) else pl.Series(list(keys), dtype=pl.String)
            scan = scan.join(
                wanted.unique().alias(self.key).to_frame().lazy(), on=self.key, how="semi", maintain_order="left"
            )
        return self._collect(scan).unique(subset=self.key, keep="first", maintain_order=True)

    def _scan(self, chunks: list[Path]) -> pl.LazyFrame:
        return pl.scan_parquet(
            chunks, schema=self.schema, glob=False, hive_partitioning=False, missing_columns="insert"
        )

    def _collect(self, scan: pl.LazyFrame) -> pl.DataFrame:
        try:
            return scan.collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._damage(error) from error

    def _damage(self, error: Exception) -> StorageError:
        """Find the chunk that cannot be read and say so."""
        for path in self.chunks():
            try:
                found = dict(pl.read_parquet(path, glob=False, hive_partitioning=False).schema)
            except (pl.exceptions.PolarsError, OSError) as reason:
                return StorageError(
                    str(path), f"damaged chunk: {reason}", remedy=f"remove {path}; what it held is computed again"
                )
            if any(self.schema.get(name) != kind for name, kind in found.items()) or self.key not in found:
                return StorageError(
                    str(path),
                    f"its columns are {found}, expected {self.schema}",
                    remedy=f"bump the step's code version, or remove {self.folder}",
                )
        return StorageError(str(self.folder), f"cannot be read: {error}", remedy="try again")

    def _conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        where = f"pool {self.folder.parent.name}/{self.folder.name}"
        missing = [name for name in self.schema if name not in frame.columns]
        extra = [name for name in frame.columns if name not in self.schema]
        if missing or extra:
            raise StorageError(where, f"columns differ from its schema: missing {missing}, unexpected {extra}")
        try:
            frame = frame.select(pl.col(name).cast(kind, strict=True) for name, kind in self.schema.items())
        except pl.exceptions.PolarsError as error:
            raise StorageError(where, f"a column has the wrong type: {error}") from error
        if frame[self.key].null_count():
            raise StorageError(where, f"{frame[self.key].null_count()} rows have no {self.key}")
        return frame
