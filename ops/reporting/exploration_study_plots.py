"""What the figures of a study of exploration draw into their panels; ``exploration_study_figures`` makes them.

An arm has one colour and one marker in all of them, by its place in the study; the base model is grey and dashed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.exploration_study import BASE
from ops.reporting.arms_data import Cell
from ops.reporting.dynamics_plots import DASHES, DISTINCT, ENTROPIES, PER_QUESTION, SOLVED, STEPS, UNSOLVED, Curve
from ops.reporting.exploration_study_curves import BASE_MODEL, seed_curve
from ops.reporting.exploration_study_data import ExplorationData, TaskShown
from ops.reporting.plots import GREY, INK, MARKERS, SERIES, distance, doublings
from ops.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALL_LABEL = 8
"""Points: of small multiples, which are narrower than a longer label."""
SPREAD = 0.14
"""Arms beside each other at one place: of the distance between two places, to either side."""
ROWS = (
    (SOLVED, "solved questions\n(share)"),
    (DISTINCT, "distinct answers\n(per visited question)"),
    (UNSOLVED, "distinct answers,\nunsolved (per question)"),
)
"""Of the small multiples, with labels that fit beside them."""


def color_of(data: ExplorationData, arm: str) -> str:
    """The same in every figure and, as CSS, on the page."""
    return GREY if arm == BASE else SERIES[list(data.arms).index(arm) % len(SERIES)]


def look_of(data: ExplorationData, arm: str) -> dict[str, Any]:
    """Colour, marker and dash of an arm, or of the base model."""
    if arm == BASE:
        return {"color": GREY, "linestyle": "--", "marker": "x", "label": BASE_MODEL}
    place = list(data.arms).index(arm)
    dash = DASHES[place // len(SERIES) % len(DASHES)]
    return {"color": color_of(data, arm), "linestyle": dash, "marker": MARKERS[place % len(MARKERS)], "label": arm}


def _beside(data: ExplorationData, arm: str) -> float:
    """Where an arm stands between -SPREAD and SPREAD."""
    labels = [BASE, *data.arms]
    return SPREAD * (2 * labels.index(arm) / (len(labels) - 1) - 1)


def _points(
    axes: Axes, look: dict[str, Any], x: Iterable[float], cells: Sequence[Cell], *, of_problems: bool = False
) -> bool:
    """A line with bars: a standard error over seeds, or an interval over problems where that is asked or all there is.

    Says whether a value was defined.
    """
    low, high = [], []
    for cell in cells:
        value, error = cell.interval.value, cell.standard_error
        is_seeds = not of_problems and not math.isnan(error)
        low.append(distance(value, value - error if is_seeds else cell.interval.low))
        high.append(distance(value + error if is_seeds else cell.interval.high, value))
    y = [cell.interval.value for cell in cells]
    if not any(math.isfinite(value) for value in y):
        return False
    axes.errorbar(list(x), y, yerr=[low, high], capsize=1.8, elinewidth=0.9, capthick=0.9, **look)
    return True


def draw_passed(axes: Sequence[Axes], data: ExplorationData, _: pl.DataFrame, *, tasks: Sequence[TaskShown]) -> bool:
    """A column for each task: pass@k, and below it what it changed against the base model."""
    drawn = False
    for place, task in enumerate(tasks):
        above, below = axes[place], axes[len(tasks) + place]
        for arm in (BASE, *task.arms):
            look, ks = look_of(data, arm), list(task.ks)
            cells = {k: cell for k in ks if (cell := data.cell(task.label, arm, "pass_at_k", k)) is not None}
            x = [k * 2 ** _beside(data, arm) for k in cells]
            drawn |= _points(above, look, x, list(cells.values()))
            if arm != BASE:
                found = {
                    k: cell for k in ks if (cell := data.difference(task.label, arm, BASE, "pass_at_k", k)) is not None
                }
                x = [k * 2 ** _beside(data, arm) for k in found]
                _points(below, look, x, list(found.values()), of_problems=True)
        below.axhline(0.0, color=GREY, linestyle="--", linewidth=1.2)
        for panel, words, title in (
            (above, "pass@k", task.label),
            (below, "pass@k − base model's", f"{task.label}: change"),
        ):
            doublings(panel, task.ks)
            panel.set_xlabel("k (responses drawn)")
            panel.set_ylabel(words)
            panel.set_title(title, loc="left", fontweight="bold")
    return drawn


def draw_over_steps(
    axes: Sequence[Axes], data: ExplorationData, _: pl.DataFrame, *, tasks: Sequence[TaskShown]
) -> bool:
    """A column for each task: pass@1 over the steps, and below it pass@k at the largest k."""
    drawn = False
    for place, task in enumerate(tasks):
        for row, k in enumerate((task.ks[0], task.ks[-1])):
            panel, steps = axes[row * len(tasks) + place], {0}
            for arm in task.arms:
                curve = data.curve(task.label, arm, "pass_at_k", k)
                gap = task.steps / max(len(curve) - 1, 1)
                x = [step + gap * _beside(data, arm) * (step > 0) for step in curve]
                cells = [cell if step else _without_bar(cell) for step, cell in curve.items()]
                drawn |= _points(panel, look_of(data, arm), x, cells)
                steps |= set(curve)
            base = data.cell(task.label, BASE, "pass_at_k", k)
            if base is not None:
                panel.axhline(base.interval.value, color=GREY, linestyle="--", linewidth=1.2)
                _points(panel, {**look_of(data, BASE), "zorder": 4}, [0], [base])
            panel.set_xticks(sorted(steps), [str(step) for step in sorted(steps)])
            panel.set_xlabel("training steps")
            panel.set_ylabel(f"pass@{k}")
            panel.set_title(f"{task.label}: pass@{k}", loc="left", fontweight="bold")
    return drawn


def _without_bar(cell: Cell) -> Cell:
    """Of the base model, where all arms begin: its bar is drawn once."""
    return Cell(Interval(cell.interval.value, math.nan, math.nan), math.nan, cell.n_seeds)


def draw_sampling(axes: Sequence[Axes], data: ExplorationData, training: pl.DataFrame, *, task: TaskShown) -> bool:
    """A row for each quantity, a column for each arm; a row shares its y axis, so the base model can be compared."""
    from matplotlib.ticker import MaxNLocator

    drawn, n = False, len(task.arms)
    for row, (panel, words) in enumerate(ROWS):
        for column, arm in enumerate(task.arms):
            one = axes[row * n + column]
            one.sharey(axes[row * n])
            for sampler in ("base", "policy"):
                of = (training, task.label, arm, sampler, panel.metric, panel.questions)
                drawn |= _band(one, data, arm, seed_curve(*of, x=PER_QUESTION))
            one.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            one.margins(x=0.02)
            if column:
                one.tick_params(labelleft=False)
            else:
                one.set_ylabel(words, fontsize=SMALL_LABEL)
            if row == 0:
                one.set_title(arm, loc="left", fontweight="bold", color=color_of(data, arm))
            if row == len(ROWS) - 1:
                one.set_xlabel(PER_QUESTION, fontsize=SMALL_LABEL)
        axes[row * n].set_ylim(bottom=0)
    return drawn


def draw_entropies(axes: Sequence[Axes], data: ExplorationData, training: pl.DataFrame) -> bool:
    """A column for each task: entropy over the steps of right responses, below it of all others."""
    drawn, n = False, max(len(data.tasks), 1)
    for place, task in enumerate(data.tasks):
        for row, (words, metric) in enumerate(ENTROPIES.items()):
            panel, found = axes[row * n + place], False
            for arm in task.arms:
                curve = seed_curve(training, task.label, arm, "policy", metric, x=STEPS)
                found |= _band(panel, data, arm, curve)
            if found:
                panel.set_ylim(bottom=0)
            else:
                panel.text(0.5, 0.5, "not defined at any step", ha="center", transform=panel.transAxes, color=INK)
            panel.set_xlabel("training steps")
            panel.set_ylabel("entropy (nats per token)")
            panel.set_title(f"{task.label}: {words}", loc="left", fontweight="bold")
            drawn |= found
    return drawn


def _band(axes: Axes, data: ExplorationData, arm: str, curve: Curve) -> bool:
    """A curve with its band, without markers: there are many steps. A single value is a marker."""
    if not curve.value:
        return False
    look = look_of(data, BASE if curve.is_base else arm)
    axes.plot(curve.x, curve.value, **(look | {"marker": look["marker"] if len(curve.value) == 1 else ""}))
    axes.fill_between(curve.x, curve.low, curve.high, color=look["color"], alpha=0.18, linewidth=0)
    return True
