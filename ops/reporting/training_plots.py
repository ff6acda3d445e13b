"""What the model was trained on, and how that went: selection and loss curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ops.reporting.numbers import number_of
from ops.reporting.plots import MARKERS, ramp
from ops.reporting.trajectory import Trajectory
from ops.reporting.trajectory_plots import Line, draw_lines, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXIS = "trained after iteration"


def balance(axes: Axes, found: Trajectory) -> bool:
    """The balance score of 2412.17256."""
    points = found.metric("balance_score", table="selection_metrics")
    return draw_lines(axes, [Line("", points)], "balance score", found.confidence, AXIS)


def selected(axes: Axes, found: Trajectory) -> bool:
    """How many of the kept responses are right, and of how many problems one is kept."""
    named = {"precision": "kept that are right", "kept_problem_fraction": "problems with one kept"}
    lines = [Line(words, found.metric(name, table="selection_metrics")) for name, words in named.items()]
    return draw_lines(axes, lines, "share", found.confidence, AXIS)


def kept(axes: Axes, found: Trajectory) -> bool:
    """Kept responses of a problem, and distinct correct ones among them."""
    named = {"kept_per_problem": "all kept", "distinct_correct_kept": "distinct and right"}
    lines = [Line(words, found.metric(name, table="selection_metrics")) for name, words in named.items()]
    return draw_lines(axes, lines, "responses per problem", found.confidence, AXIS)


def loss(axes: Axes, found: Trajectory) -> bool:
    """Training loss (lines) and validation loss (markers) of every fine-tuning."""
    rows = found.rows("training_steps")
    iterations = sorted({row["iteration"] for row in rows})
    drawn = False
    for place, iteration in enumerate(iterations):
        part = sorted((row for row in rows if row["iteration"] == iteration), key=lambda row: row["step"])
        color = ramp(place / max(len(iterations) - 1, 1))
        train, held_out = _curve(part, "loss"), _curve(part, "validation_loss")
        if train:
            axes.plot(*zip(*train, strict=True), color=color, linewidth=1.1, label=f"iteration {iteration}")
            drawn = True
        if held_out:
            style: dict[str, Any] = {"marker": MARKERS[place % len(MARKERS)], "linestyle": ":", "linewidth": 1.0}
            axes.plot(
                *zip(*held_out, strict=True), color=color, label=None if train else f"iteration {iteration}", **style
            )
            drawn = True
    if drawn:
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss (nats per token)")
        legend_above(axes)
    return drawn


def _curve(rows: list[dict[str, Any]], column: str) -> list[tuple[int, float]]:
    points = [(row["step"], number_of(row[column])) for row in rows]
    return [(step, value) for step, value in points if math.isfinite(value)]
