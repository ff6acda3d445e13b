"""How the tables of an experiment with ``exploration`` are drawn on their assets' pages; see ``asset_drawings``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ops.reporting.asset_drawings import some_doublings, titled
from ops.reporting.plots import GREY, MARKERS, SERIES, ramp

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ops.reporting.asset_plots import Source

LEFT, RIGHT = (0.135, 0.18, 0.33, 0.70), (0.635, 0.18, 0.35, 0.70)
"""Two panels side by side."""


def policy_steps(axes: Axes, source: Source) -> bool:
    """Accuracy of the responses drawn in training; beside it entropy and, where it is measured, KL."""
    rows = source.rows(["step", "accuracy", "entropy_nats", "kl_to_base_nats"]).sort("step")
    if rows.is_empty():
        return False
    axes.set_position(LEFT)
    axes.plot(rows["step"], rows["accuracy"], color=SERIES[0], linewidth=1.1)
    titled(axes, "Accuracy", "step", "share right")
    other = axes.figure.add_axes(RIGHT)
    for place, (name, label) in enumerate((("entropy_nats", "entropy"), ("kl_to_base_nats", "KL to base")), 1):
        known = rows.filter(pl.col(name).is_not_null())
        if known.height:
            other.plot(known["step"], known[name], color=SERIES[place], linewidth=1.1, label=label)
    return titled(other, "Policy", "step", "nats per token", legend=True)


def rollouts(axes: Axes, source: Source) -> bool:
    """Accuracy of each group in the first and in the second half; beside it how long right and wrong responses are."""
    rows = source.rows(["step", "problem_id", "verdict", "n_tokens"])
    if rows.is_empty():
        return False
    right = pl.col("verdict") == "correct"
    accuracy = rows.group_by("step", "problem_id").agg(right.mean().alias("accuracy"))
    is_late = pl.col("step") >= (pl.col("step").max() + 1) / 2
    halves = [accuracy.filter(~is_late)["accuracy"].to_numpy(), accuracy.filter(is_late)["accuracy"].to_numpy()]
    axes.set_position(LEFT)
    axes.hist(halves, bins=10, range=(0, 1), color=[SERIES[5], SERIES[0]], label=["first half", "second half"])
    titled(axes, "Accuracy per group", "share right", "groups", legend=True)
    lengths = axes.figure.add_axes(RIGHT)
    parts = [rows.filter(right)["n_tokens"].to_numpy(), rows.filter(~right)["n_tokens"].to_numpy()]
    lengths.hist(parts, bins=24, stacked=True, color=[SERIES[2], SERIES[1]], label=["right", "wrong"])
    return titled(lengths, "Length", "tokens", "responses", legend=True)


def policy_evaluation(axes: Axes, source: Source) -> bool:
    """pass@k of the base model (grey) and of every snapshot, the last one the trained policy."""
    rows = source.rows(["step", "metric", "k", "value", "low", "high"])
    rows = rows.filter(pl.col("metric") == "pass_at_k", pl.col("value").is_not_null()).sort("step", "k")
    if rows.is_empty():
        return False
    steps = rows["step"].unique().sort().to_list()
    shown = [step for i, step in enumerate(steps) if i % (1 + len(steps) // 6) == 0 or step == steps[-1]]
    for place, step in enumerate(shown):
        part = rows.filter(pl.col("step") == step)
        color = GREY if step == 0 else ramp(place / max(len(shown) - 1, 1))
        label = "base model" if step == 0 else f"step {step:,}"
        axes.plot(part["k"], part["value"], color=color, marker=MARKERS[place % len(MARKERS)], label=label)
        if step in (shown[0], shown[-1]):
            axes.fill_between(part["k"], part["low"], part["high"], color=color, alpha=0.15, linewidth=0)
    some_doublings(axes, rows["k"])
    return titled(axes, "pass@k", "k, responses drawn", "pass@k", legend=True)
