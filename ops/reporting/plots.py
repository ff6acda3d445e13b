"""Plots for paper and page: accuracy and gap per iteration with intervals, and pass@k curves."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.reporting.summary import IterationSummary, Summary
from ops.storage.atomic import atomic_file
from ops.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: told apart by colour-blind readers and in grey by their markers."""
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, GRID = "#1a1a1b", "#d8d8d9"
GREY = "#767677"
"""Of references: chance, perfect calibration, where an arm began; visible on white and on near-black."""
MIN_SHARE_OF_BIN = 0.005
"""Calibration bins with fewer of a check's responses are not drawn: a handful says nothing. The table holds them."""
PANEL_INCHES = (3.8, 2.9)
PANEL_MARGINS = {"left": 0.19, "right": 0.985, "bottom": 0.16}
"""Fixed, so that the panels of a page stand in line (and are drawn in half the time of a fitted layout)."""
LEGEND_ROW = 0.068
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


def plot_png(summaries: Summary | Sequence[Summary], path: Path) -> Path:
    """Draw accuracy, gap and pass@k side by side; several summaries are compared as arms. Returns ``path``.

    With one summary, pass@k has a curve per iteration; with several, the first iteration of the first arm and the
    last of each.
    """
    import matplotlib

    arms = [summaries] if isinstance(summaries, Summary) else list(summaries)
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(3, (10.8, 3.3))
        _draw_accuracy(axes[0], arms)
        _draw_gap(axes[1], arms)
        _draw_pass_at_k(axes[2], arms)
        if len(arms) > 1:
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=len(arms))
        with atomic_file(Path(path)) as staging:
            figure.savefig(staging, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return Path(path)


def figure_svg(draw: Callable[[Axes], None], name: str, salt: str) -> str:
    """One panel of the size that all figures of a page share, as inline SVG; the same drawing gives the same text.

    Args:
        name: unique on the page; its ids begin with it.
        salt: what the ids are made from.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {**STYLE, "svg.hashsalt": f"mindgap {salt} {name}", "figure.constrained_layout.use": False}
    ):
        figure = Figure(figsize=PANEL_INCHES)
        figure.subplots_adjust(**PANEL_MARGINS, top=panel_top(1))
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return inline_svg(text.getvalue(), name)


def panel_top(legend_rows: int) -> float:
    """Where the panel ends below a legend of so many rows, as a share of the figure's height."""
    return 0.985 - LEGEND_ROW * legend_rows


def new_figure(panels: int, inches: tuple[float, float], rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure without pyplot, so that nothing global is left behind; ``panels`` columns, axes row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches)
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.05)  # type: ignore[union-attr,call-arg]
    return figure, list(figure.subplots(rows, panels, squeeze=False).flat)


def _level(arms: Sequence[Summary]) -> str:
    return f"{100 * arms[0].confidence:g} % intervals"


def _draw_accuracy(axes: Axes, arms: Sequence[Summary]) -> None:
    _draw_iterations(axes, arms, lambda item: item.accuracy)
    axes.set_title("Accuracy", loc="left", fontweight="bold")
    axes.set_ylabel("accuracy = pass@1")


def _draw_gap(axes: Axes, arms: Sequence[Summary]) -> None:
    _draw_iterations(axes, arms, lambda item: item.primary.gap)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    labels = {arm.trajectory.label for arm in arms if arm.iterations}
    axes.set_title("Gap" + (f" of {labels.pop()}" if len(labels) == 1 else ""), loc="left", fontweight="bold")
    axes.set_ylabel("filtered accuracy − accuracy")


def _draw_iterations(axes: Axes, arms: Sequence[Summary], value: Callable[[IterationSummary], Interval]) -> None:
    from matplotlib.ticker import MaxNLocator

    shift = 0.05 if len(arms) > 1 else 0.0
    for place, arm in enumerate(arms):
        color, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
        x = [item.iteration + shift * (place - (len(arms) - 1) / 2) for item in arm.iterations]
        y = [value(item) for item in arm.iterations]
        bars = [[distance(item.value, item.low) for item in y], [distance(item.high, item.value) for item in y]]
        axes.errorbar(
            x,
            [item.value for item in y],
            yerr=bars,
            color=color,
            marker=marker,
            capsize=2.5,
            elinewidth=1.0,
            label=arm.name,
        )
    axes.set_xlabel(f"iteration ({_level(arms)})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.08)


def distance(high: float, low: float) -> float:
    """Length of an error bar; undefined ends have none."""
    return max(high - low, 0.0) if math.isfinite(high - low) else 0.0


def _draw_pass_at_k(axes: Axes, arms: Sequence[Summary]) -> None:
    curves: list[tuple[IterationSummary, str, str, str]] = []
    if len(arms) == 1:
        items = arms[0].iterations
        colors = [ramp(i / max(len(items) - 1, 1)) for i in range(len(items))]
        curves = [
            (item, color, MARKERS[i % len(MARKERS)], f"iteration {item.iteration}")
            for i, (item, color) in enumerate(zip(items, colors, strict=True))
        ]
    else:
        first = next((arm.iterations[0] for arm in arms if arm.iterations), None)
        if first is not None:
            shared = all(arm.iterations[0].pass_at_k == first.pass_at_k for arm in arms if arm.iterations)
            label = f"iteration {first.iteration}" + ("" if shared else f" of {arms[0].name}")
            curves = [(first, GREY, "x", label)]
        for place, arm in enumerate(arms):
            if len(arm.iterations) > 1:
                last = arm.iterations[-1]
                curves.append((last, SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)], arm.name))
    for item, color, marker, label in curves:
        ks = sorted(item.pass_at_k)
        axes.plot(ks, [item.pass_at_k[k].value for k in ks], color=color, marker=marker, label=label)
        if len(arms) == 1 and item in (arms[0].iterations[0], arms[0].iterations[-1]):
            low, high = ([getattr(item.pass_at_k[k], end) for k in ks] for end in ("low", "high"))
            axes.fill_between(ks, low, high, color=color, alpha=0.15, linewidth=0)
    ticks = sorted({k for item, *_ in curves for k in item.pass_at_k})
    if ticks:
        doublings(axes, ticks)
    ending = "" if len(arms) == 1 else ", last iteration"
    axes.set_title(f"Diversity: pass@k{ending}", loc="left", fontweight="bold")
    axes.set_xlabel("k (responses drawn)")
    axes.set_ylabel("pass@k")
    if curves:
        axes.legend(loc="lower right")


def doublings(axes: Axes, values: Sequence[int]) -> None:
    """A logarithmic axis that names the values themselves."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [str(value) for value in values])
    axes.minorticks_off()


def ramp(share: float) -> str:
    """From orange through magenta to blue: ordered, and visible on white and on near-black."""
    stops = ((0xE6, 0x9F, 0x00), (0xC7, 0x4E, 0x86), (0x2F, 0x7F, 0xC4))
    place = min(int(share * 2), 1)
    rest = share * 2 - place
    pairs = zip(stops[place], stops[place + 1], strict=True)
    return "#" + "".join(f"{round(a + rest * (b - a)):02x}" for a, b in pairs)


def inline_svg(svg: str, name: str) -> str:
    """An <svg> element for inlining: no XML head, responsive, ids of its own, colours by CSS."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", svg)
    svg = svg.replace(INK, "var(--ink)").replace(GRID, "var(--grid)").replace(SERIES[0], "var(--series)")
    for place, color in enumerate(SERIES[1:], 1):  # pages that do not name these show them as they are
        svg = svg.replace(color, f"var(--series-{place}, {color})")
    return svg
