"""Cells of tables as numbers: NULL is an undefined number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ops.types import Interval


def number_of(value: float | None) -> float:
    """NULL in a table is an undefined number."""
    return math.nan if value is None else float(value)


def interval_of(row: Mapping[str, Any], name: str | None = None) -> Interval:
    """The columns ``name``, ``name_low`` and ``name_high`` of a row; without a name value, low and high."""
    columns = ("value", "low", "high") if name is None else (name, f"{name}_low", f"{name}_high")
    return Interval(*(number_of(row[column]) for column in columns))
