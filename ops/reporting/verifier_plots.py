"""Whether an experiment can still tell right from wrong, iteration by iteration: gaps, drift, ranking, calibration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ops.reporting.numbers import interval_of, number_of
from ops.reporting.plots import GREY, MIN_SHARE_OF_BIN, SERIES, distance
from ops.reporting.trajectory import Points, Trajectory
from ops.reporting.trajectory_plots import Line, draw_lines, errorbars, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST_EXPONENT = 30.0
"""Beyond it a fitted curve has reached its limit before the next iteration, and its start is not known."""
MAX_VERIFIERS = 6


def gap(axes: Axes, found: Trajectory) -> bool:
    """The gap with the exponential fit of its decay and the predicted limit."""
    return _decay(axes, found, "gap", "filtered accuracy − accuracy")


def relative_gap(axes: Axes, found: Trajectory) -> bool:
    """The same of the relative gap."""
    return _decay(axes, found, "relative_gap", "relative gap")


def _decay(axes: Axes, found: Trajectory, quantity: str, what: str) -> bool:
    points = found.gaps(quantity)
    if not draw_lines(axes, [Line("measured", points)], what, found.confidence, zero=True):
        return False
    fits = found.rows("saturation", quantity=quantity, rule=found.label)
    if fits:
        _fit(axes, fits[0], points)
    return True


def _fit(axes: Axes, row: dict[str, Any], points: Points) -> None:
    """limit + (y(0) − limit) exp(−rate t), from the table's limit, rate and next value (2507.00075).

    A curve without a limit in sight (rate 0, limit NULL) is the straight line through the points; an end of the limit's
    interval that is NULL is beyond the panel, both of them where the curve does not show a limit at all.
    """
    import numpy as np

    limit, following = interval_of(row, "limit"), interval_of(row, "next_value")
    rate, reach, color = number_of(row["rate"]), points[-1][0] + 1, SERIES[1]
    if not math.isfinite(following.value):
        return
    t = np.linspace(points[0][0], reach, 60)
    dashed: dict[str, Any] = {"color": color, "linestyle": "--", "linewidth": 1.2, "label": "fit"}
    if rate == 0.0:
        line = np.polyfit([k for k, _ in points], [item.value for _, item in points], 1)
        axes.plot(t, np.polyval(line, t), **dashed)
    elif 0 < rate * reach < LARGEST_EXPONENT:
        axes.plot(t, limit.value + (following.value - limit.value) * np.exp(rate * (reach - t)), **dashed)
    ends = [[distance(following.value, following.low)], [distance(following.high, following.value)]]
    hollow: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "capsize": 2.5, "elinewidth": 1.0}
    axes.errorbar([reach], [following.value], yerr=ends, color=color, linestyle="none", label="predicted", **hollow)
    low, high = axes.get_ylim()
    room = 0.6 * (high - low)  # the band of a limit that is hardly known is far wider than the data: it is cut
    if math.isfinite(limit.value) and low - room <= limit.value <= high + room:
        low, high = min(low, limit.value), max(high, limit.value)
        axes.axhline(limit.value, color=color, linewidth=0.8, linestyle=":", label="limit")
    if rate != 0.0 or not (math.isnan(limit.low) and math.isnan(limit.high)):
        edges = {"low": low, "high": high}
        known = [
            edges[end] if math.isnan(value) else value for end, value in (("low", limit.low), ("high", limit.high))
        ]
        bottom, top = (min(max(value, low - room / 2), high + room / 2) for value in known)
        if bottom < top:
            axes.axhspan(bottom, top, color=color, alpha=0.12, linewidth=0)
            low, high = min(low, bottom), max(high, top)
    axes.set_ylim(low, high)
    legend_above(axes)


def update_error(axes: Axes, found: Trajectory) -> bool:
    """gap(t) − (J(t+1) − J(t)) of what was trained on at t."""
    points = sorted(found.update_errors().items())
    return draw_lines(
        axes, [Line("", points)], "gap − rise in accuracy", found.confidence, "update after iteration", zero=True
    )


def of_verifiers(axes: Axes, found: Trajectory, column: str, what: str, *, zero: bool = False) -> bool:
    """One estimate of the training filter's verifier and of the next ones; a legend of more would hide the panel."""
    names = found.verifiers()
    if found.verifier in names:
        names = [found.verifier, *(name for name in names if name != found.verifier)]
    left_out, names = len(names) - MAX_VERIFIERS, names[:MAX_VERIFIERS]
    if left_out > 0:
        axes.plot([], [], color="none", label=f"{left_out} more: tables")
    lines = [Line(name, found.column("verifier_metrics", column, verifier=name)) for name in names]
    return draw_lines(axes, lines, what, found.confidence, zero=zero)


def drift(axes: Axes, found: Trajectory) -> bool:
    """Mean score minus accuracy."""
    return of_verifiers(axes, found, "score_drift", "mean score − accuracy", zero=True)


def auroc(axes: Axes, found: Trajectory) -> bool:
    """How well scores rank right above wrong responses."""
    done = of_verifiers(axes, found, "auroc", "AUROC")
    if done and axes.get_ylim()[0] < 0.5:
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle="--")
    return done


def ece(axes: Axes, found: Trajectory) -> bool:
    """How far scores lie from being right as often as they say."""
    return of_verifiers(axes, found, "ece", "expected calibration error", zero=True)


def reliability(axes: Axes, found: Trajectory) -> bool:
    """Share of right responses against the score, first and last iteration, of the verifier that trains."""
    rows = found.rows("calibration_bins", verifier=found.verifier)
    iterations = sorted({row["iteration"] for row in rows})
    ends = iterations if len(iterations) < 2 else [iterations[0], iterations[-1]]
    drawn = False
    for place, iteration in enumerate(ends):
        part = [row for row in rows if row["iteration"] == iteration]
        least = MIN_SHARE_OF_BIN * sum(row["n_responses"] for row in part)
        part = [row for row in part if row["n_responses"] >= max(least, 1) and row["mean_probability"] is not None]
        x = [row["mean_probability"] for row in part]
        y = [interval_of(row, "accuracy") for row in part]
        keep = [i for i, item in enumerate(y) if not math.isnan(item.value)]
        if keep:
            errorbars(axes, [x[i] for i in keep], [y[i] for i in keep], place, f"iteration {iteration}")
            drawn = True
    if not drawn:
        return False
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="calibrated")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(f"score, mean of a bin ({100 * found.confidence:g} % intervals)")
    axes.set_ylabel("share that is right")
    legend_above(axes)
    return True
