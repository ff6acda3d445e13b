"""Frames as aligned text tables."""

from __future__ import annotations

import polars as pl

MAX_ROWS = 1000
MAX_CELL_CHARS = 60


def aligned(frame: pl.DataFrame) -> str:
    """Columns aligned, numbers to the right, long cells cut; a last line counts the rows."""
    shown = frame.head(MAX_ROWS)
    columns = []
    for series in shown.iter_columns():
        right = series.dtype.is_numeric()
        cells = [series.name, *(_cell(value) for value in series.to_list())]
        width = max(len(cell) for cell in cells)
        columns.append([cell.rjust(width) if right else cell.ljust(width) for cell in cells])
    lines = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
    rule = "  ".join("-" * len(column[0]) for column in columns)
    more = f", {frame.height - MAX_ROWS:,} not shown: use --output" if frame.height > MAX_ROWS else ""
    count = f"({frame.height:,} row{'' if frame.height == 1 else 's'}{more})"
    return "\n".join([*lines[:1], rule, *lines[1:], count])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", "\\n")
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..."
