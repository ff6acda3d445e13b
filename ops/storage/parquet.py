"""Tables as Parquet files: whole frames, or frames one after the other in row groups of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from ops.storage.schemas import conform, polars_schema

ROW_GROUP_ROWS = 131_072


def write_frames(path: Path, table: str, frames: Iterable[pl.DataFrame]) -> int:
    """Write the rows of ``frames`` in their order; returns how many. What is in memory is one row group.

    The file depends on the rows only, not on how they were cut into frames.

    Raises:
        StorageError: when the columns of a frame differ from the contract.
    """
    empty = pl.DataFrame(schema=polars_schema(table)).to_arrow()
    n_rows = 0
    with pq.ParquetWriter(path, empty.schema, compression="zstd") as writer:
        for group in _groups(conform(table, frame) for frame in frames):
            writer.write_table(group.to_arrow().cast(empty.schema), row_group_size=ROW_GROUP_ROWS)
            n_rows += group.height
        if not n_rows:
            writer.write_table(empty)
    return n_rows


def _groups(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    waiting: list[pl.DataFrame] = []
    held = 0
    for frame in frames:
        waiting.append(frame)
        held += frame.height
        if held < ROW_GROUP_ROWS:
            continue
        whole = pl.concat(waiting)
        full = held - held % ROW_GROUP_ROWS
        for start in range(0, full, ROW_GROUP_ROWS):
            yield whole.slice(start, ROW_GROUP_ROWS)
        waiting, held = [whole.slice(full)], held - full
    if held:
        yield pl.concat(waiting)


def read_whole_groups(path: Path, columns: list[str], by: str, rows: int) -> Iterator[pl.DataFrame]:
    """Rows of a file in their order, in frames of about ``rows``; neighbours of the same ``by`` are never parted."""
    rest: pl.DataFrame | None = None
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            frame = pl.DataFrame(pl.from_arrow(batch)).select(columns)
            frame = frame if rest is None else pl.concat([rest, frame])
            open_ = frame[by].rle_id()
            rest = frame.filter(open_ == open_[-1])
            whole = frame.head(frame.height - rest.height)
            if whole.height:
                yield whole
    if rest is not None and rest.height:
        yield rest
