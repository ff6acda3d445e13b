"""Which experiment files are new: what the sensor ``new_experiment_files`` remembers from tick to tick."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

LAUNCH_VARIABLE = "MINDGAP_LAUNCH_NEW"
"""``0``: new files become partitions only."""

PAUSE_SECONDS = 600.0
"""A longer time between two ticks: no daemon ran. What appeared meanwhile came with a checkout or a copy, and starting
a run of each would surprise."""

SETTLE_SECONDS = 2.0
"""A file that was changed less long ago may be half-written; it is looked at by the next tick."""


def launches_new() -> bool:
    """Whether new files are run, or become partitions only."""
    return os.environ.get(LAUNCH_VARIABLE) != "0"


def read_cursor(cursor: str | None, files: Collection[str], now: float) -> set[str]:
    """Files that are never started by themselves: those that were there at the first tick, or after a pause.

    Args:
        files: names of the experiment files that are there now.
        now: Unix time.
    """
    known = json.loads(cursor) if cursor else {}
    is_first = not known or now - float(known["ticked_at"]) > PAUSE_SECONDS
    return set(files) if is_first else set(known["waiting"]) & set(files)


def write_cursor(waiting: Collection[str], now: float) -> str:
    """The cursor that ``read_cursor`` reads."""
    return json.dumps({"ticked_at": round(now, 1), "waiting": sorted(waiting)})


def is_settled(path: Path, now: float) -> bool:
    """Whether the file's writer is done, as far as its time says; a time in the future says nothing."""
    return not 0.0 <= now - path.stat().st_mtime < SETTLE_SECONDS
