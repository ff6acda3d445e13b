"""Stage results as Dagster metadata: rounded numbers, gaps with their intervals, small plots as images."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from ops.lab import home_folder
from ops.reporting.asset_plots import asset_plot
from ops.types import StageResult

MAX_PLOT_WIDTH = 1100
"""Pixels that the dialogue of the UI shows without scrolling."""

MAX_PLOT_BYTES = 300_000
"""Larger plots are linked, not embedded: the event log keeps every version."""

SMALL_PLOT_BYTES = 25_000
"""Plots of assets are smaller, and made in the size in which they are shown."""

REPORTS = ("report", "study_report", "arms_report", "exploration_report")
"""Assets that write a page."""

UNREADABLE = (OSError, SyntaxError, ValueError)
"""What Pillow raises of an empty or damaged picture: ``UnidentifiedImageError`` is an OSError, a broken chunk not."""

LOGGER = logging.getLogger("mindgap")


def shown(result: StageResult, gpu_numbers: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Metadata of one materialization. A plot that cannot be read is a warning: it is no reason to lose a result.

    Args:
        gpu_numbers: what the GPU op in front reported, e.g. tokens per second.
    """
    numbers = dict(gpu_numbers or {}) | dict(result.metadata)
    plot = _plot(result, numbers.pop("plot", None))
    report = numbers.pop("path", None) if result.asset in REPORTS else None
    metadata: dict[str, Any] = {"reused": dg.MetadataValue.bool(result.reused)}
    if report is not None:
        metadata["report"] = dg.MetadataValue.url(_at_home(report).resolve().as_uri())
    metadata |= _intervals(numbers)
    for key, value in numbers.items():
        if key not in ("reused", "seconds") and isinstance(value, bool | int | float | str):
            metadata[key] = _rounded(value)
    if plot is not None:
        metadata["plot"] = plot
    metadata["seconds"] = round(result.seconds + float(numbers.get("seconds") or 0.0), 3)
    metadata["rows"] = result.n_rows
    metadata["fingerprint"] = result.fingerprint
    return metadata


def interval_text(value: float, low: float, high: float) -> str:
    """``+0.204 [+0.171, +0.240]``."""
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _intervals(numbers: dict[str, Any]) -> dict[str, str]:
    """Take every ``x``, ``x_low``, ``x_high`` out of ``numbers`` and give them back as one text each."""
    texts = {}
    for key in [name for name in numbers if f"{name}_low" in numbers and f"{name}_high" in numbers]:
        value, low, high = (numbers.pop(name) for name in (key, f"{key}_low", f"{key}_high"))
        known = all(isinstance(item, int | float) and math.isfinite(item) for item in (value, low, high))
        texts[key] = interval_text(value, low, high) if known else "undefined"
    return texts


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return "undefined"
    return round(value, 4) if abs(value) < 1000 else round(value)


def _at_home(path: str) -> Path:
    """A path that a table's metadata names: relative to the home, or absolute as earlier versions wrote it."""
    return home_folder() / path


def _plot(result: StageResult, named: str | None) -> Any:
    """The result's own picture, or the asset's small one, which is drawn anew where its file is damaged."""
    path = _at_home(named) if named else asset_plot(home_folder(), result)
    if path is None:
        return None
    try:
        try:
            return _image(path)
        except UNREADABLE:
            if named:
                raise
            path.unlink(missing_ok=True)
            again = asset_plot(home_folder(), result)
            return None if again is None else _image(again)
    except UNREADABLE as error:
        LOGGER.warning("no plot of %s of %s: %s: %s", result.asset, result.experiment, type(error).__name__, error)
        return None


def _image(path: Path) -> Any:
    from PIL import Image  # comes with matplotlib, which drew the plot

    with Image.open(path) as image:
        image.load()  # a file that was cut off says so here, also where it is embedded as it is
        if image.width <= MAX_PLOT_WIDTH and path.stat().st_size < SMALL_PLOT_BYTES:
            return _embedded(path.read_bytes())
        image.thumbnail((MAX_PLOT_WIDTH, MAX_PLOT_WIDTH))
        small = io.BytesIO()
        image.save(small, "PNG", optimize=True)
    if small.tell() > MAX_PLOT_BYTES:
        return dg.MetadataValue.path(path)
    return _embedded(small.getvalue())


def _embedded(png: bytes) -> Any:
    data = base64.b64encode(png).decode("ascii")
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{data})")
