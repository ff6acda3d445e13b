"""What labels and judges say of the models, one panel a question; every function says whether it found anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.reporting.numbers import interval_of
from ops.reporting.plots import GREY, INK, MARKERS, SERIES, STYLE, distance
from ops.reporting.trajectory_plots import legend_above
from ops.reporting.win_rate_summary import WinRateSummary
from ops.reporting.win_rate_words import EVEN, QUANTITIES
from ops.storage.atomic import atomic_file
from ops.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_MODELS = 12
"""So many models fit into one panel; the table has all."""
NAME_CHARS = 22
MOST_TICKS = 6
FEWEST_FOR_THEORY = 30
"""Labels below which theory's price of the coefficients is too low (docs/science/control-variates-planning.md)."""
ERRORS = {"human": "human labels", "control_variate": "control variate"}
"""Estimators of the curves of squared error."""


def level(found: WinRateSummary) -> str:
    """``95 % intervals``."""
    return f"{100 * found.confidence:g} % intervals"


def win_rates(axes: Axes, found: WinRateSummary) -> bool:
    """Of each model: human labels alone, with the judges as control variates, and each judge alone (biased)."""
    by_model = {name: items for name in found.judged if (items := _estimates(found, name))}
    models = list(by_model)[:MOST_MODELS]
    if not models:
        return False
    series = list(dict.fromkeys(label for name in models for label in by_model[name]))
    step = min(0.8 / len(series), 0.22)
    for at, label in enumerate(series):
        known = [(row, by_model[name][label]) for row, name in enumerate(models) if label in by_model[name]]
        y = [row + step * (at - (len(series) - 1) / 2) for row, _ in known]
        _dots(axes, y, [item for _, item in known], at, label, label.endswith("(biased)"))
    if found.quantity == "win_rate":
        axes.axvline(EVEN, color=INK, linewidth=0.8)
    _name_rows(axes, models)
    against = f" against {_short(found.reference)}" if found.quantity == "win_rate" else ""
    axes.set_xlabel(f"{QUANTITIES[found.quantity]}{against} ({level(found)})", loc="right")
    legend_above(axes)
    return True


def _estimates(found: WinRateSummary, model: str) -> dict[str, Interval]:
    """Estimates of one model by their label in the legend, in its order."""
    human, quoted = found.row(model, "human"), found.quoted(model)
    rows = {"human labels": human, "control variate": quoted if quoted and quoted["judge"] else None}
    rows |= {f"{judge} alone (biased)": found.row(model, "synthetic", judge) for judge in found.judges}
    return {label: interval_of(row) for label, row in rows.items() if row is not None and row["value"] is not None}


def _dots(axes: Axes, y: Sequence[float], items: Sequence[Interval], place: int, label: str, hollow: bool) -> None:
    """Estimates with horizontal error bars; hollow: not to be trusted."""
    ends = [[distance(item.value, item.low) for item in items], [distance(item.high, item.value) for item in items]]
    color = SERIES[place % len(SERIES)]
    axes.errorbar(
        [item.value for item in items],
        y,
        xerr=ends,
        color=color,
        marker=MARKERS[place % len(MARKERS)],
        markerfacecolor="none" if hollow else color,
        linestyle="",
        capsize=2.0,
        elinewidth=1.0,
        label=label,
    )


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """One row for each name, from top to bottom, with room for the names on the left."""
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    figure = axes.get_figure()
    assert figure is not None  # for the type checker: axes of a panel have one
    longest = max(len(_short(name)) for name in names)
    figure.subplots_adjust(left=min(0.06 + 0.0155 * longest, 0.40))


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"


def curve_models(found: WinRateSummary) -> list[str]:
    """Models that have enough labels for a curve of squared error."""
    curves = found.tables["label_curves"].filter(quantity=found.quantity)
    return [name for name in found.judged if not curves.filter(model=name).is_empty()]


def label_curve(axes: Axes, found: WinRateSummary, model: str) -> bool:
    """Squared error against the number of labels on logarithmic axes: points measured by redraws, lines theory."""
    from matplotlib.ticker import LogLocator

    curves = found.tables["label_curves"].filter(model=model, quantity=found.quantity)
    drawn: list[int] = []
    for at, (label, part) in enumerate(_curves(curves, found).items()):
        known = part.filter(pl.col("squared_error") > 0.0).sort("n_labels")
        x = known["n_labels"].to_list()
        items = [interval_of(row, "squared_error") for row in known.iter_rows(named=True)]
        ends = [[distance(item.value, item.low) for item in items], [distance(item.high, item.value) for item in items]]
        style: dict[str, Any] = {"color": SERIES[at], "marker": MARKERS[at], "linestyle": "", "capsize": 2.0}
        axes.errorbar(x, [item.value for item in items], yerr=ends, elinewidth=1.0, label=label, **style)
        theory = part.filter(pl.col("predicted") > 0.0).sort("n_labels")
        axes.plot(theory["n_labels"], theory["predicted"], color=SERIES[at], linewidth=1.2)
        drawn += x
    if not drawn:
        return False
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted(set(drawn))
    ticks = ticks[:: 1 + len(ticks) // MOST_TICKS]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(f"human labels ({level(found)}; lines: theory)")
    axes.set_ylabel(f"squared error of the {QUANTITIES[found.quantity]}")
    axes.text(0.03, 0.04, _short(model), transform=axes.transAxes, fontsize=8)  # curves fall: the corner is free
    legend_above(axes)
    return True


def _curves(curves: pl.DataFrame, found: WinRateSummary) -> dict[str, pl.DataFrame]:
    """Human labels, and the control variate of all judges at once, else of the first one, by label in the legend."""
    judges = curves.filter(estimator="control_variate")["judge"].drop_nulls().unique(maintain_order=True).to_list()
    most = max(judges, key=lambda name: name.count(" + ")) if judges else None
    chosen = {"human": curves.filter(estimator="human")}
    chosen |= {"control_variate": curves.filter(estimator="control_variate", judge=most)} if most else {}
    return {ERRORS[name]: part for name, part in chosen.items() if part.height}


def realised_savings(axes: Axes, found: WinRateSummary) -> bool:
    """Share of labels saved in redraws against what theory predicts: a point for each model and judge.

    Each at the first number of labels of its curve that is not below ``FEWEST_FOR_THEORY``, else at the last.
    """
    curves = found.tables["label_curves"].filter(pl.col("saving").is_not_null(), estimator="control_variate")
    by_judge: dict[str, list[Mapping[str, Any]]] = {}
    for (_, judge), part in curves.sort("n_labels").group_by("model", "judge", maintain_order=True):
        enough = part.filter(pl.col("n_labels") >= FEWEST_FOR_THEORY)
        by_judge.setdefault(str(judge), []).append(
            (enough.head(1) if enough.height else part.tail(1)).row(0, named=True)
        )
    return _savings(axes, by_judge, "saving predicted by theory (%)", f"saving in redraws (%, {level(found)})")


def estimated_savings(axes: Axes, found: WinRateSummary) -> bool:
    """Share of labels saved as estimated against what the correlation predicts: a point for each model and judge."""
    by_judge: dict[str, list[Mapping[str, Any]]] = {}
    for model in found.judged:
        for row in found.control_variates(model):
            if row["saving"] is not None and row["predicted_saving"] is not None:
                by_judge.setdefault(row["judge"], []).append(row)
    return _savings(axes, by_judge, "predicted saving (%)", f"estimated saving (%, {level(found)})")


def _savings(axes: Axes, by_judge: Mapping[str, Sequence[Mapping[str, Any]]], x: str, y: str) -> bool:
    if not by_judge:
        return False
    for at, (judge, rows) in enumerate(by_judge.items()):
        items = [interval_of(row, "saving") for row in rows]
        ends = [[100 * distance(i.value, i.low) for i in items], [100 * distance(i.high, i.value) for i in items]]
        axes.errorbar(
            [100 * row["predicted_saving"] for row in rows],
            [100 * item.value for item in items],
            yerr=ends,
            color=SERIES[at % len(SERIES)],
            marker=MARKERS[at % len(MARKERS)],
            linestyle="",
            capsize=2.0,
            elinewidth=1.0,
            label=judge,
        )
    predicted = [100 * row["predicted_saving"] for rows in by_judge.values() for row in rows]
    low, high = min(0.0, *predicted), max(predicted) or 1.0
    axes.plot([low, high], [low, high], color=GREY, linewidth=1.0, label="as predicted")
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    legend_above(axes)
    return True


def position_bias(axes: Axes, found: WinRateSummary) -> bool:
    """How much each judge prefers the response that it sees first; 0 is none."""
    return _by_judge(axes, found, "position_bias", f"preference for what is shown first ({level(found)})", zero=True)


def correlations(axes: Axes, found: WinRateSummary) -> bool:
    """Of each judge's judgements and the labels: its square is the share of labels that it can save."""
    return _by_judge(axes, found, "correlation", f"correlation with labels ({level(found)})", zero=True)


def _by_judge(axes: Axes, found: WinRateSummary, metric: str, what: str, *, zero: bool) -> bool:
    """A metric of ``judge_metrics`` over all models, a row for each judge."""
    by_judge = {name: item for name, item in found.metrics(metric).items() if not math.isnan(item.value)}
    names = [name for name in found.judges if name in by_judge]
    if not names:
        return False
    for place, name in enumerate(names):
        _dots(axes, [place], [by_judge[name]], 0, "", False)
    if zero:
        axes.axvline(0.0, color=INK, linewidth=0.8)
    _name_rows(axes, names)
    axes.set_xlabel(what, loc="right")  # there is room for it below the names
    return True


def _realised_or_estimated(axes: Axes, found: WinRateSummary) -> bool:
    """Realised savings, or estimated ones where there are too few labels to redraw; the axes say which."""
    return realised_savings(axes, found) or estimated_savings(axes, found)


def win_rates_png(found: WinRateSummary, path: Path) -> Path:
    """Win rates, squared error and savings side by side, for the UI and for papers. Returns ``path``."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = curve_models(found)
    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(11.4, 3.3))
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(1, 3)
        panels = [figure.add_subfigure(grid[0, place]) for place in range(3)]
        draws = (
            win_rates,
            lambda axes, each: bool(models) and label_curve(axes, each, models[0]),
            _realised_or_estimated,
        )
        for panel, draw in zip(panels, draws, strict=True):
            panel.subplots_adjust(left=0.17, right=0.97, bottom=0.15)
            axes = panel.subplots()
            if not draw(axes, found):
                axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)
        top = min(panel.subplotpars.top for panel in panels)  # of the highest legend
        for panel in panels:
            panel.subplots_adjust(top=top)
        with atomic_file(Path(path)) as staging:
            options: Any = {"format": "png", "dpi": 200, "facecolor": "white", "metadata": {"Software": None}}
            figure.savefig(staging, bbox_inches="tight", **options)
    return Path(path)
