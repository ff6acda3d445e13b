"""The responses drawn so far in a training that is not finished: Parquet files beside its checkpoint.

A file covers the steps between two checkpoints and is written before the second one. A resumed run keeps the files up
to its checkpoint and drops those behind it, whose steps it draws again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from ops.errors import StorageError
from ops.storage.atomic import atomic_file
from ops.storage.schemas import conform

_NAME = re.compile(r"rollouts-(\d{8})-(\d{8})\.parquet")


def write_steps(work: Path, first: int, after: int, frames: Sequence[pl.DataFrame]) -> None:
    """Write the rows of the steps ``first`` .. ``after`` - 1, whole or not at all."""
    with atomic_file(work / f"rollouts-{first:08d}-{after:08d}.parquet") as staging:
        conform("rollouts", pl.concat(frames)).write_parquet(staging, compression="zstd")


def keep_until(work: Path, step: int) -> None:
    """Drop what was drawn from ``step`` on.

    Raises:
        StorageError: when a file of an earlier step is missing.
    """
    reached = 0
    for first, after, path in _files(work):
        if first >= step:
            path.unlink()
        elif first == reached and after <= step:
            reached = after
    if reached != step:
        raise StorageError(
            str(work),
            f"the responses of steps {reached}..{step - 1} are missing beside their checkpoint",
            remedy="remove the folder and run the experiment again: training starts from its first step",
        )


def read_steps(work: Path, steps: int) -> Iterator[pl.DataFrame]:
    """All rows of the steps 0 .. ``steps`` - 1 in their order, in one frame for each file.

    Raises:
        StorageError: when a step is missing, or is there twice.
    """
    files = _files(work)
    firsts = [*(first for first, _, _ in files), steps]
    ends = [0, *(after for _, after, _ in files)]
    for first, reached in zip(firsts, ends, strict=True):
        if first != reached:
            raise StorageError(
                str(work),
                f"the responses of the steps {reached}..{steps - 1} are not there, or there twice",
                remedy="remove the folder and run the experiment again: training starts from its first step",
            )
    for _, _, path in files:
        yield pl.read_parquet(path)


def _files(work: Path) -> list[tuple[int, int, Path]]:
    """(first step, step behind the last, path), by first step."""
    found = [(match, path) for path in work.glob("rollouts-*.parquet") if (match := _NAME.fullmatch(path.name))]
    return sorted((int(match[1]), int(match[2]), path) for match, path in found)
