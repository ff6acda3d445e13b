"""Figures of a study: scaling, thresholds, reliability and test-time curves. Matrices are in ``study_matrices``."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.reporting.numbers import interval_of, number_of
from ops.reporting.plots import (
    GREY,
    INK,
    MARKERS,
    MIN_SHARE_OF_BIN,
    SERIES,
    STYLE,
    distance,
    doublings,
    inline_svg,
    new_figure,
    ramp,
)
from ops.reporting.study_data import StudyData
from ops.reporting.study_matrices import draw_correlations, draw_cross
from ops.storage.atomic import atomic_file
from ops.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTTED = ("logit", "binary_cot", "score_cot", "tournament")
"""Mechanisms in the figures: the paper's four. The tables hold every check."""
SWEPT = ("logit", "score_cot", "tournament")
SELECTED = ("logit", "score_cot", "tournament", "majority")

Draw = Callable[[StudyData], "Figure | None"]


def study_svgs(data: StudyData) -> dict[str, str]:
    """Every figure that has data, by name, as inline SVG in the page's colours."""
    import matplotlib

    done = {}
    for name, draw in FIGURES.items():
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"mindgap study {data.name} {name}"}):
            figure = draw(data)
            if figure is None:
                continue
            text = io.StringIO()
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        done[name] = inline_svg(text.getvalue(), name)
    return done


def study_pngs(data: StudyData, folder: Path) -> list[Path]:
    """The same figures as PNG files for a paper, one by one."""
    import matplotlib

    paths = []
    for name, draw in FIGURES.items():
        with matplotlib.rc_context(STYLE):
            figure = draw(data)
            if figure is None:
                continue
            path = folder / f"{name}.png"
            with atomic_file(path) as staging:
                figure.savefig(staging, format="png", dpi=200, facecolor="white", metadata={"Software": None})
        paths.append(path)
    return paths


def level(data: StudyData) -> str:
    """``95 % intervals``."""
    return f"{100 * data.confidence:g} % intervals"


def model_colors(data: StudyData) -> dict[str, str]:
    """From orange (least pretraining) to blue (most)."""
    models = data.models()
    return {model: ramp(i / max(len(models) - 1, 1)) for i, model in enumerate(models)}


def legend_below(figure: Figure, axes: Iterable[Axes], columns: int = 6) -> None:
    """One legend for all panels, each label once."""
    handles: dict[str, Any] = {}
    for each in axes:
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(columns, len(handles)))


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontweight="bold")


def _bars(axes: Axes, x: Sequence[float], y: Sequence[Interval], **style: Any) -> None:
    ends = [[distance(item.value, item.low) for item in y], [distance(item.high, item.value) for item in y]]
    axes.errorbar(x, [item.value for item in y], yerr=ends, capsize=2.5, elinewidth=1.0, **style)


def _draw_scaling(data: StudyData) -> Figure | None:
    """Relative and absolute gap against FLOPs, per task, with the least-squares lines."""
    points = data.tables["scaling_points"].filter(
        pl.col("mechanism").is_in(PLOTTED) & pl.col("pretraining_flops").is_not_null()
    )
    tasks = [task for task in data.tasks if task in set(points["task"])]
    if not tasks:
        return None
    figure, axes = new_figure(len(tasks), (1.0 + 3.6 * len(tasks), 6.0), rows=2)
    words = {"relative_gap": "relative gap", "gap": "gap (filtered accuracy − accuracy)"}
    for r, metric in enumerate(words):
        for c, task in enumerate(tasks):
            panel = axes[r * len(tasks) + c]
            for place, mechanism in enumerate(PLOTTED):
                part = points.filter((pl.col("task") == task) & (pl.col("mechanism") == mechanism))
                for (rule,), rows in part.group_by("rule", maintain_order=True):
                    _scaling_series(panel, data, rows, metric, str(rule), place)
            panel.axhline(0.0, color=INK, linewidth=0.8)
            _log_axis(panel)
            if r == 0:
                _title(panel, task)
            else:
                panel.set_xlabel(f"pretraining FLOPs ({level(data)})")
            if c == 0:
                panel.set_ylabel(words[metric])
    legend_below(figure, axes, 2 * len(tasks))
    return figure


def _log_axis(axes: Axes) -> None:
    """Labels at powers of ten; where fewer than two of them fit in, at three times a power as well."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.margins(x=0.08)
    low, high = axes.get_xlim()
    decades = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if decades < 2 else (1.0,)))
    axes.xaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(math.inf, math.inf)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _scaling_series(axes: Axes, data: StudyData, rows: pl.DataFrame, metric: str, rule: str, place: int) -> None:
    laws = data.tables["scaling_laws"].filter(
        (pl.col("task") == rows["task"][0]) & (pl.col("rule") == rule) & (pl.col("metric") == metric)
    )
    shift = 1.0 + 0.025 * (place - 1.5)
    for family, part in rows.sort("pretraining_flops").group_by("family", maintain_order=True):
        style = {"color": SERIES[place], "marker": MARKERS[place], "linestyle": "none"}
        x = part["pretraining_flops"].to_list()
        y = [interval_of(row, metric) for row in part.iter_rows(named=True)]
        _bars(axes, [value * shift for value in x], y, label=rule, **style)
        for law in laws.filter(pl.col("family") == family[0]).iter_rows(named=True):
            if law["slope"] is not None:
                ends = [min(x), max(x)]
                line = [law["intercept"] + law["slope"] * math.log10(value) for value in ends]
                axes.plot(ends, line, color=SERIES[place], linewidth=1.0, alpha=0.7)


def _draw_thresholds(data: StudyData) -> Figure | None:
    """Gap against the global threshold; a star marks what is best on train, at its value on the evaluation problems."""
    sweeps = data.tables["threshold_sweeps"]
    labels = [label for mechanism in SWEPT for label in data.labels_of(mechanism)]
    if sweeps.is_empty() or not labels:
        return None
    sweeps = sweeps.filter((pl.col("split") == "eval") & (pl.col("filter") == "threshold"))
    colors = model_colors(data)
    size = (1.0 + 3.0 * len(labels), 0.6 + 2.5 * len(data.tasks))
    figure, axes = new_figure(len(labels), size, rows=len(data.tasks))
    for r, task in enumerate(data.tasks):
        for c, label in enumerate(labels):
            panel = axes[r * len(labels) + c]
            for model in data.models(task):
                chosen = (pl.col("task") == task) & (pl.col("model") == model) & (pl.col("verifier") == label)
                _threshold_series(panel, sweeps.filter(chosen).sort("value"), model, colors[model])
            panel.axhline(0.0, color=INK, linewidth=0.8)
            _title(panel, f"{task}: {label}")
            panel.set_xlabel(f"{label} threshold" if r == len(data.tasks) - 1 else "")
            panel.set_ylabel("gap" if c == 0 else "")
    legend_below(figure, axes)
    return figure


def _threshold_series(axes: Axes, rows: pl.DataFrame, model: str, color: str) -> None:
    if rows.is_empty():
        return
    x = rows["value"].to_list()
    axes.plot(x, rows["gap"].to_list(), color=color, label=model, linewidth=1.3)
    low, high = ([number_of(value) for value in rows[f"gap{end}"]] for end in ("_low", "_high"))
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    best = rows.filter(pl.col("best_on_train"))
    if best.height:
        axes.plot(best["value"][0], best["gap"][0], marker="*", markersize=9, color=color, markeredgecolor=INK)


def _draw_reliability(data: StudyData) -> Figure | None:
    """Share of responses that are right against the mean score, per bin."""
    bins = data.tables["calibration_bins"]
    if bins.is_empty():
        return None
    share = pl.col("n_responses") / pl.col("n_responses").sum().over("experiment", "verifier")
    bins = bins.filter((pl.col("split") == "eval") & (pl.col("n_responses") > 0)).filter(share >= MIN_SHARE_OF_BIN)
    labels = [label for label in data.own if data.mechanisms[label] in (*PLOTTED, "p_true")]
    labels = [label for label in labels if label in set(bins["verifier"])]
    if not labels:
        return None
    colors = model_colors(data)
    size = (0.8 + 2.3 * len(labels), 0.6 + 2.4 * len(data.tasks))
    figure, axes = new_figure(len(labels), size, rows=len(data.tasks))
    for r, task in enumerate(data.tasks):
        for c, label in enumerate(labels):
            panel = axes[r * len(labels) + c]
            panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
            for i, model in enumerate(data.models(task)):
                chosen = (pl.col("task") == task) & (pl.col("model") == model) & (pl.col("verifier") == label)
                rows = bins.filter(chosen).sort("bin").rows(named=True)
                y = [interval_of(row, "accuracy") for row in rows]
                x = [number_of(row["mean_probability"]) for row in rows]
                _bars(panel, x, y, color=colors[model], marker=MARKERS[i % len(MARKERS)], label=model, linewidth=0.9)
            panel.set_xlim(-0.03, 1.03)
            panel.set_ylim(-0.03, 1.03)
            _title(panel, f"{task}: {label}")
            panel.set_xlabel("score, scaled to 0..1" if r == len(data.tasks) - 1 else "")
            panel.set_ylabel("share right" if c == 0 else "")
    legend_below(figure, axes)
    return figure


def _draw_best_of_n(data: StudyData) -> Figure | None:
    return _draw_test_time(data, "best_of_n", "best of n by")


def _draw_weighted_vote(data: StudyData) -> Figure | None:
    return _draw_test_time(data, "weighted_vote", "vote weighted by")


def _draw_test_time(data: StudyData, method: str, words: str) -> Figure | None:
    """Accuracy of one method by each check against the number of responses drawn, beside majority vote and oracle."""
    curves = data.tables["test_time_metrics"]
    if curves.is_empty():
        return None
    labels = [label for mechanism in SELECTED for label in data.labels_of(mechanism)][: len(SERIES) - 1]
    models = data.models()
    size = (0.8 + 2.6 * len(models), 0.6 + 2.5 * len(data.tasks))
    figure, axes = new_figure(len(models), size, rows=len(data.tasks))
    for r, task in enumerate(data.tasks):
        for c, model in enumerate(models):
            panel = axes[r * len(models) + c]
            part = curves.filter((pl.col("task") == task) & (pl.col("model") == model))
            if part.is_empty():
                panel.set_axis_off()
                continue
            _test_time_panel(panel, part, [(method, label, f"{words} {label}") for label in labels])
            _title(panel, f"{task}: {model}")
            panel.set_xlabel("n (responses drawn)" if r == len(data.tasks) - 1 else "")
            panel.set_ylabel("accuracy" if c == 0 else "")
    legend_below(figure, axes, 4 if len(models) > 2 else 2)
    return figure


def _test_time_panel(axes: Axes, rows: pl.DataFrame, checks: Sequence[tuple[str, str, str]]) -> None:
    """``checks``: (method, label of the check, words)."""
    series: list[tuple[str, str | None, str, Mapping[str, Any]]] = [
        ("oracle", None, "one of n is right (oracle)", {"color": GREY, "linestyle": ":"}),
        ("majority_vote", None, "majority vote", {"color": SERIES[0], "linestyle": "--"}),
    ]
    for i, (method, label, words) in enumerate(checks):
        style: dict[str, Any] = {"color": SERIES[i + 1], "marker": MARKERS[i + 1], "markersize": 3.0}
        series.append((method, label, words, style))
    for method, verifier, words, look in series:
        same = pl.col("verifier").is_null() if verifier is None else pl.col("verifier") == verifier
        part = rows.filter((pl.col("method") == method) & same).sort("n")
        x = part["n"].to_list()
        axes.plot(x, part["accuracy"].to_list(), label=words, linewidth=1.2, **look)
        low, high = ([number_of(value) for value in part[f"accuracy{end}"]] for end in ("_low", "_high"))
        axes.fill_between(x, low, high, color=look["color"], alpha=0.1, linewidth=0)
    doublings(axes, sorted({n for n in rows["n"].to_list() if n & (n - 1) == 0}))


FIGURES: dict[str, Draw] = {
    "scaling": _draw_scaling,
    "thresholds": _draw_thresholds,
    "cross": draw_cross,
    "correlations": draw_correlations,
    "reliability": _draw_reliability,
    "test_time": _draw_best_of_n,
    "weighted_vote": _draw_weighted_vote,
}
