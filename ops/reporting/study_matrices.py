"""Matrices of a study as heat maps: gaps by generator and verifier, correlations of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ops.reporting.numbers import interval_of
from ops.reporting.plots import new_figure
from ops.reporting.study_data import StudyData
from ops.reporting.words import number
from ops.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEGATIVE, MIDDLE, POSITIVE = "#b8572a", "#f4f2ee", "#1f6fa8"
DARK_TEXT, LIGHT_TEXT = "#15181b", "#fdfdfd"
MISSING = "#8a8f96"


def draw_cross(data: StudyData) -> Figure | None:
    """Gap of every (generator, verifier) pair, both ordered by FLOPs; a panel per task and check."""
    cells = data.tables["cross_verification"]
    rules = list(dict.fromkeys(cells["rule"])) if cells.height else []
    if not rules:
        return None
    tasks = [task for task in data.tasks if task in set(cells["task"])]
    widest = max(len(data.models(task)) for task in tasks)
    size = (0.6 + len(rules) * (0.55 + 0.62 * widest), 0.5 + len(tasks) * (0.7 + 0.48 * widest))
    figure, axes = new_figure(len(rules), size, rows=len(tasks))
    largest = max((abs(value) for value in cells["gap"].drop_nulls()), default=0.0)
    for r, task in enumerate(tasks):
        for c, rule in enumerate(rules):
            panel = axes[r * len(rules) + c]
            part = cells.filter((pl.col("task") == task) & (pl.col("rule") == rule))
            generators = _ordered(data, task, part["generator"].to_list())
            verifiers = _ordered(data, task, part["verifier_model"].to_list())
            found = {
                (row["generator"], row["verifier_model"]): interval_of(row, "gap") for row in part.iter_rows(named=True)
            }
            matrix = [[found.get((generator, verifier)) for verifier in verifiers] for generator in generators]
            draw_matrix(panel, matrix, generators, verifiers, largest or 1.0)
            panel.set_title(f"{task}: {rule}", loc="left", fontweight="bold")
            panel.set_xlabel("verifier" if r == len(tasks) - 1 else "")
            panel.set_ylabel("generator" if c == 0 else "")
    return figure


def _ordered(data: StudyData, task: str, names: Sequence[str]) -> list[str]:
    known = [model for model in data.models(task) if model in names]
    return [*known, *(name for name in dict.fromkeys(names) if name not in known)]


def draw_correlations(data: StudyData) -> Figure | None:
    """Pearson correlation of scores within each task: the mean over models (intervals per model are in the table)."""
    means = correlation_means(data)
    if means.is_empty():
        return None
    tasks = [task for task in data.tasks if task in set(means["task"])]
    labels = [label for label in data.own if label in {*means["verifier_a"], *means["verifier_b"]}]
    side = 0.4 * len(labels)
    figure, axes = new_figure(len(tasks), (len(tasks) * (1.4 + side), 1.2 + 0.75 * side))
    for panel, task in zip(axes, tasks, strict=True):
        found = {}
        for row in means.filter(pl.col("task") == task).iter_rows(named=True):
            value = Interval(math.nan if row["pearson"] is None else row["pearson"], math.nan, math.nan)
            found[row["verifier_a"], row["verifier_b"]] = found[row["verifier_b"], row["verifier_a"]] = value
        matrix = [[found.get((a, b)) if i > j else None for j, b in enumerate(labels)] for i, a in enumerate(labels)]
        draw_matrix(panel, [row[:-1] for row in matrix[1:]], labels[1:], labels[:-1], 1.0, blank=True)
        panel.set_title(task, loc="left", fontweight="bold")
        panel.tick_params(axis="x", rotation=40)
        for label in panel.get_xticklabels():
            label.set_horizontalalignment("right")
    return figure


def correlation_means(data: StudyData) -> pl.DataFrame:
    """Mean over models of the correlation of each pair of own checks: task, verifier_a, verifier_b, pearson."""
    pairs = data.tables["verifier_pairs"]
    if pairs.is_empty():
        return pairs
    own = pl.col("verifier_a").is_in(data.own) & pl.col("verifier_b").is_in(data.own) & (pl.col("split") == "eval")
    return (
        pairs.filter(own)
        .group_by("task", "verifier_a", "verifier_b", maintain_order=True)
        .agg(pl.col("pearson").mean())
    )


def draw_matrix(
    axes: Axes,
    matrix: Sequence[Sequence[Interval | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    largest: float,
    *,
    blank: bool = False,
) -> None:
    """Cells coloured by value from -largest to largest, with the value and its interval written in them.

    ``blank``: cells without a value stay empty (a triangle); otherwise they are hatched.
    """
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.patches import Rectangle

    colormap = LinearSegmentedColormap.from_list("gap", [NEGATIVE, MIDDLE, POSITIVE])
    scale = Normalize(-largest, largest)
    for i, line in enumerate(matrix):
        for j, item in enumerate(line):
            corner = (j - 0.5, i - 0.5)
            if item is None or math.isnan(item.value):
                if not blank:
                    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=MISSING, hatch="///", linewidth=0.5))
                continue
            color = colormap(scale(item.value))
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="none"))
            luminance = float(np.dot(color[:3], (0.299, 0.587, 0.114)))
            ink = DARK_TEXT if luminance > 0.55 else LIGHT_TEXT
            has_ends = not math.isnan(item.low)
            style: Any = {"ha": "center", "va": "center", "color": ink}
            axes.text(
                j,
                i - (0.14 if has_ends else 0),
                number(item.value, 2, sign=True),
                fontsize=9.5 if has_ends else 7.5,
                **style,
            )
            if has_ends:
                ends = f"{number(item.low, 2, sign=True)}, {number(item.high, 2, sign=True)}"
                axes.text(j, i + 0.24, ends, fontsize=6.5, **style)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
