"""The figure of a bandit simulation: regret over rounds beside the bounds, and the final regret by number of arms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ops.bandits import LEARNERS
from ops.bandits.settings import Bandits
from ops.reporting.plots import GREY, MARKERS, PANEL_INCHES, SERIES, STYLE, distance, figure_svg, new_figure
from ops.storage.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOUNDED = {"arm_ucb": "√(KT log T)", "outcome_ucb": "√(mT log T)"}
"""Algorithms whose bound is drawn, dashed in their colour."""

Draw = Callable[["Axes"], None]


def place_of(algorithm: str) -> int:
    """Of its colour and marker."""
    return list(LEARNERS).index(algorithm)


def panels(frame: pl.DataFrame, settings: Bandits) -> dict[str, tuple[str, Draw]]:
    """Title and drawing of both panels, by name."""
    most = f"{max(settings.arms):,} arms, {settings.outcomes} outcomes"
    return {
        "over-rounds": (f"Regret: {most}", lambda axes: draw_over_rounds(axes, frame, settings)),
        "over-arms": (
            f"After {settings.rounds:,} rounds: {settings.outcomes} outcomes",
            lambda axes: draw_over_arms(axes, frame, settings),
        ),
    }


def bandit_svgs(frame: pl.DataFrame, settings: Bandits) -> list[tuple[str, str]]:
    """Title and inline SVG of both panels in the page's colours; the page has the legend."""

    def titled(title: str, draw: Draw) -> Draw:
        def drawn(axes: Axes) -> None:
            draw(axes)
            axes.set_title(title, loc="left", fontweight="bold")

        return drawn

    return [
        (title, figure_svg(titled(title, draw), f"bandits-{name}", f"bandits {settings.name}"))
        for name, (title, draw) in panels(frame, settings).items()
    ]


def bandit_png(frame: pl.DataFrame, settings: Bandits, path: Path) -> Path:
    """Both panels side by side with a legend, as PNG. Returns ``path``."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(2, (2 * PANEL_INCHES[0] + 1.0, PANEL_INCHES[1] + 0.7))
        for panel, (title, draw) in zip(axes, panels(frame, settings).values(), strict=True):
            draw(panel)
            panel.set_title(title, loc="left", fontweight="bold")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        with atomic_file(path) as staging:
            figure.savefig(staging, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return path


def draw_over_rounds(axes: Axes, frame: pl.DataFrame, settings: Bandits) -> None:
    """Regret with its interval as a band, at the most arms; dashed: the bound, up to a constant."""
    most = frame.filter(pl.col("n_arms") == max(settings.arms))
    for name in LEARNERS:
        rows = most.filter(algorithm=name).sort("round")
        color, marker = SERIES[place_of(name)], MARKERS[place_of(name)]
        x = rows["round"].to_list()
        axes.plot(x, rows["regret"].to_list(), color=color, marker=marker, markevery=(place_of(name), 6), label=name)
        low, high = rows["regret_low"].to_list(), rows["regret_high"].to_list()
        axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    for name, words in BOUNDED.items():
        rows = most.filter(algorithm=name).sort("round")
        axes.plot(
            rows["round"].to_list(),
            rows["bound"].to_list(),
            color=SERIES[place_of(name)],
            linestyle=(0, (4, 2)),
            linewidth=1.1,
            label=f"{words}, up to a constant",
        )
    _log_log(axes, "rounds T (arms pulled)", settings)


def draw_over_arms(axes: Axes, frame: pl.DataFrame, settings: Bandits) -> None:
    """The last round by the number of arms, with intervals; dotted: never finding the good outcome."""
    last = frame.filter(pl.col("round") == pl.col("round").max())
    for name in LEARNERS:
        rows = last.filter(algorithm=name).sort("n_arms")
        color, marker = SERIES[place_of(name)], MARKERS[place_of(name)]
        bars = [
            [distance(value, low) for value, low in rows.select("regret", "regret_low").iter_rows()],
            [distance(high, value) for value, high in rows.select("regret", "regret_high").iter_rows()],
        ]
        x, y = rows["n_arms"].to_list(), rows["regret"].to_list()
        axes.errorbar(x, y, yerr=bars, color=color, marker=marker, capsize=2.5, elinewidth=1.0)
        if name in BOUNDED:
            bound = rows["bound"].to_list()
            axes.plot(x, bound, color=color, linestyle=(0, (4, 2)), linewidth=1.1)
    never = settings.rounds * max(settings.gaps)
    axes.axhline(never, color=GREY, linewidth=1.0, linestyle=":")
    axes.annotate(
        "never the good one: T × largest gap",
        (0.02, never),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=7,
        color=GREY,
    )
    _log_log(axes, "arms K (responses)", settings)


def _log_log(axes: Axes, x_label: str, settings: Bandits) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"{x_label}; {100 * settings.confidence:g} % intervals")
    axes.set_ylabel("cumulative regret, worst gap")
