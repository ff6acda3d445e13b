"""Figures of a study of arms: every metric over iterations, and pass@k before and after."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ops.reporting.arms_data import ArmsData, Metric
from ops.reporting.arms_words import OF_VERIFIERS
from ops.reporting.plots import (
    GREY,
    INK,
    MARKERS,
    PANEL_INCHES,
    SERIES,
    STYLE,
    distance,
    doublings,
    figure_svg,
    new_figure,
)
from ops.stages.arm_values import TRAINING_FILTER
from ops.storage.atomic import atomic_file
from ops.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = "pass_at_k_curves"
OVERVIEW = ("accuracy", "gap_of_training_filter", CURVES)
"""Figures side by side in ``arms.png``."""

TITLE_LETTERS = 38
"""So many of them fit above a panel."""

Draw = Callable[["Axes"], None]


def figures(data: ArmsData) -> dict[str, tuple[str, Draw]]:
    """Title and drawing of every figure, by name."""

    def over(metric: Metric) -> Draw:
        return lambda axes: draw_over_iterations(axes, data, metric)

    found: dict[str, tuple[str, Draw]] = {}
    for item in data.metrics:
        found[file_name(item)] = (title_of(item), over(item))
        if item.name == "pass_at_k":
            found[CURVES] = ("pass@k, first and last iteration", lambda axes: draw_pass_at_k(axes, data))
    return found


def title_of(metric: Metric) -> str:
    """The words, if they fit above a panel; else the caption has to say what of."""
    return metric.words if len(metric.words) <= TITLE_LETTERS else metric.quantity


def file_name(metric: Metric) -> str:
    """``gap_of_training_filter``; of what all arms have ``gap_of_shared_filter``, ``auroc_of_shared_verifier``."""
    if metric.rule is None:
        return metric.name
    whose = "training" if metric.rule == TRAINING_FILTER else "shared"
    return f"{metric.name}_of_{whose}_{'verifier' if metric.name in OF_VERIFIERS else 'filter'}"


def arms_svgs(data: ArmsData) -> dict[str, tuple[str, str]]:
    """Title and inline SVG of every figure in the page's colours; the page has the legend."""

    def titled(title: str, draw: Draw) -> Draw:
        def drawn(axes: Axes) -> None:
            draw(axes)
            axes.set_title(capital(title), loc="left", fontweight="bold")

        return drawn

    return {
        name: (title, figure_svg(titled(title, draw), name.replace("_", "-"), f"arms {data.name}"))
        for name, (title, draw) in figures(data).items()
    }


def arms_pngs(data: ArmsData, folder: Path) -> list[Path]:
    """The same figures as PNG files with legends, one by one, and ``arms.png`` with the main ones side by side."""
    known = figures(data)
    groups = {name: (name,) for name in known} | {"arms": tuple(name for name in OVERVIEW if name in known)}
    return [_png(data, [known[name] for name in names], folder / f"{file}.png") for file, names in groups.items()]


def _png(data: ArmsData, drawn: list[tuple[str, Draw]], path: Path) -> Path:
    import matplotlib

    with matplotlib.rc_context(STYLE):
        size = (PANEL_INCHES[0] * len(drawn), PANEL_INCHES[1] + 0.4)
        figure, panels = new_figure(len(drawn), size)
        for axes, (title, draw) in zip(panels, drawn, strict=True):
            draw(axes)
            axes.set_title(capital(title), loc="left", fontweight="bold")
        handles = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=max(len(handles), 1))
        with atomic_file(path) as staging:
            figure.savefig(staging, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return path


def capital(text: str) -> str:
    """The first letter only: ``KL`` and ``pass@k`` stay as they are."""
    return text if text.startswith("pass@") else text[:1].upper() + text[1:]


def draw_over_iterations(axes: Axes, data: ArmsData, metric: Metric) -> None:
    """Mean over seeds with its interval over problems as a band, and each seed as a thin line.

    Where nothing is known of problems, bars of one standard error over seeds stand for the band.
    """
    from matplotlib.ticker import MaxNLocator

    for place, arm in enumerate(data.arms):
        color, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
        curve, lines = data.curve(arm.label, metric), data.lines(arm.label, metric)
        if not curve and not lines:
            continue
        for line in lines.values() if len(lines) > 1 else ():
            axes.plot(list(line), [item.value for item in line.values()], color=color, linewidth=0.7, alpha=0.45)
        x = list(curve)
        axes.plot(x, [cell.interval.value for cell in curve.values()], color=color, marker=marker, label=arm.label)
        known = {k: cell.interval for k, cell in curve.items() if not math.isnan(cell.interval.low)}
        _band(axes, known, color)
        rest = {k: cell for k, cell in curve.items() if k not in known and not math.isnan(cell.standard_error)}
        bars = [distance(cell.standard_error, 0.0) for cell in rest.values()]
        if rest:
            y = [cell.interval.value for cell in rest.values()]
            axes.errorbar(list(rest), y, yerr=bars, color=color, capsize=2.5, elinewidth=1.0, linestyle="none")
    if metric.is_signed:
        axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xlabel("update after iteration" if metric.shift else "iteration")
    axes.set_ylabel(metric.quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.05)


def _band(axes: Axes, items: dict[int, Interval], color: str) -> None:
    low, high = ([getattr(item, end) for item in items.values()] for end in ("low", "high"))
    axes.fill_between(list(items), low, high, color=color, alpha=0.15, linewidth=0)


def draw_pass_at_k(axes: Axes, data: ArmsData) -> None:
    """Iteration 0 in grey, shared by arms that differ only in what they train on; the last iteration of each arm."""
    rows = data.tables["arm_metrics"].filter((pl.col("metric") == "pass_at_k") & pl.col("seed").is_null())
    ks = sorted(set(rows["k"]))
    firsts = rows.filter(pl.col("arm_iteration") == 0).group_by("k").agg(pl.col("value").n_unique())
    start = "iteration 0" if firsts["value"].max() == 1 else f"iteration 0 of {data.arms[0].label}"
    curves = [(data.arms[0].label, 0, GREY, "x", start)]
    for place, arm in enumerate(data.arms):
        if arm.last > 0:
            look = (SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)])
            curves.append((arm.label, arm.last, *look, f"{arm.label}, iteration {arm.last}"))
    for label, iteration, color, marker, words in curves:
        part = rows.filter((pl.col("arm") == label) & (pl.col("arm_iteration") == iteration)).sort("k")
        x = part["k"].to_list()
        axes.plot(x, part["value"].to_list(), color=color, marker=marker, label=words)
        low, high = (part[end].cast(pl.Float64).fill_null(math.nan).to_list() for end in ("low", "high"))
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    doublings(axes, ks)
    axes.set_xlabel("k (responses drawn)")
    axes.set_ylabel("pass@k")
    axes.legend(loc="lower right")
