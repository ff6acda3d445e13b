"""Recorded rows that tests make files of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ops.engines.replay import ReplaySettings
from ops.recorded import RecordedResponse, read_recorded
from ops.tasks.base import Task
from ops.tasks.jsonl import Jsonl

NUMERIC = Jsonl(name="jsonl", grader="numeric")
ROW: dict[str, Any] = {"problem_id": "p1", "problem": "What is 6 * 3?", "answer": "18", "response": "#### 18"}
OTHER = ROW | {"problem_id": "p2", "problem": "What is 6 * 4?", "answer": "24"}
LEFT_OUT = object()


def row(**changes: Any) -> dict[str, Any]:
    """ROW with other fields, or without some."""
    return {key: value for key, value in (ROW | changes).items() if value is not LEFT_OUT}


def line(content: Any) -> bytes:
    """One line of JSONL: bytes and text are taken as they are."""
    raw = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
    return (raw.encode() if isinstance(raw, str) else raw) + b"\n"


def write_jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.write_bytes(b"".join(line(item) for item in rows))
    return path


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], **columns: Any) -> Path:
    """``columns``: Polars types of columns that differ from what the values say."""
    import polars as pl

    pl.DataFrame(list(rows), infer_schema_length=None, schema_overrides=columns).write_parquet(path)
    return path


def read(path: Path, task: Task = NUMERIC, **settings: Any) -> list[RecordedResponse]:
    return read_recorded(ReplaySettings(name="replay", path=str(path), **settings), task)
