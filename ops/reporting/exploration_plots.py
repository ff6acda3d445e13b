"""What training did to a policy, one panel a question; every function says whether it found anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.reporting.exploration_summary import ExplorationSummary
from ops.reporting.numbers import interval_of
from ops.reporting.plots import GREY, MARKERS, SERIES, STYLE, doublings, ramp
from ops.reporting.trajectory_plots import Line, draw_lines, legend_above, spread
from ops.storage.atomic import atomic_file
from ops.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def level(found: ExplorationSummary) -> str:
    """``95 % intervals``."""
    return f"{100 * found.confidence:g} % intervals"


def pass_at_k(axes: Axes, found: ExplorationSummary) -> bool:
    """Base model and trained policy with bands, snapshots as thin lines, against k on a logarithmic axis."""
    ks = found.ks
    for step in found.evaluated:
        y = [found.value(step, "pass_at_k", k) for k in ks]
        known = [(k, item) for k, item in zip(ks, y, strict=True) if item is not None and not math.isnan(item.value)]
        if not known:
            continue
        x, items = [k for k, _ in known], [item for _, item in known]
        is_end = step in (0, found.final)
        color = GREY if step == 0 else SERIES[0] if step == found.final else ramp(step / found.final)
        style = {"linewidth": 1.6, "marker": "s" if step == 0 else "o"} if is_end else {"linewidth": 0.8, "alpha": 0.7}
        axes.plot(x, [item.value for item in items], color=color, label=step_words(found, step), **style)
        if is_end:
            axes.fill_between(
                x, [item.low for item in items], [item.high for item in items], color=color, alpha=0.15, linewidth=0
            )
    if not ks:
        return False
    doublings(axes, ks)
    axes.set_xlabel(f"k, responses drawn (bands: {level(found)})")
    axes.set_ylabel("pass@k")
    legend_above(axes)
    return True


def step_words(found: ExplorationSummary, step: int) -> str:
    """``base model``, ``step 25``, ``trained (step 100)``."""
    return "base model" if step == 0 else f"trained (step {step:,})" if step == found.final else f"step {step:,}"


def pass_at_some_k(axes: Axes, found: ExplorationSummary) -> bool:
    """pass@k over training, for the smallest, a middle and the largest k."""
    return _over_evaluations(axes, found, {f"k = {k}": ("pass_at_k", k) for k in spread(found.ks)}, "pass@k")


def distinct(axes: Axes, found: ExplorationSummary) -> bool:
    """Distinct answers in the largest k, and the correct ones among them."""
    if not found.ks:
        return False
    k = found.ks[-1]
    named = {"distinct answers": ("distinct_answers_in_k", k), "distinct and correct": ("distinct_correct_in_k", k)}
    return _over_evaluations(axes, found, named, f"expected number in {k} responses")


def answer_entropy(axes: Axes, found: ExplorationSummary) -> bool:
    """Of the answers to one evaluation problem."""
    return _over_evaluations(axes, found, {"": ("answer_entropy_nats", None)}, "answer entropy (nats)")


def unparseable(axes: Axes, found: ExplorationSummary) -> bool:
    """Evaluation responses whose answer cannot be read."""
    return _over_evaluations(axes, found, {"": ("unparseable_fraction", None)}, "share of responses")


def _over_evaluations(
    axes: Axes, found: ExplorationSummary, metrics: Mapping[str, tuple[str, int | None]], what: str
) -> bool:
    """Metrics of ``policy_evaluation`` against steps, by label, with error bars."""
    lines = []
    for label, (metric, k) in metrics.items():
        points: list[tuple[int, Interval]] = []
        for step in found.evaluated:
            item = found.value(step, metric, k)
            if item is not None and not math.isnan(item.value):
                points.append((step, item))
        lines.append(Line(label, points))
    return draw_lines(axes, lines, what, found.confidence, "step")


def rollout_accuracy(axes: Axes, found: ExplorationSummary) -> bool:
    """Of the responses drawn in training, and how many of their groups teach nothing."""
    named = (
        Trained("accuracy", "accuracy", "accuracy"),
        Trained("groups all right", "all_correct_fraction"),
        Trained("groups all wrong", "all_wrong_fraction"),
    )
    return _over_training(axes, found, named, "share")


def policy_entropy(axes: Axes, found: ExplorationSummary) -> bool:
    """Of the next-token distributions: of right responses, of the others, and of all."""
    named = (
        Trained("right", None, "entropy_nats_correct"),
        Trained("others", None, "entropy_nats_incorrect"),
        Trained("all", "entropy_nats"),
    )
    return _over_training(axes, found, named, "entropy (nats per token)")


def kl(axes: Axes, found: ExplorationSummary) -> bool:
    """To the base model, k3 estimator."""
    return _over_training(axes, found, (Trained("", "kl_to_base_nats"),), "KL to the base model (nats per token)")


def bonus(axes: Axes, found: ExplorationSummary) -> bool:
    """Mean reward and mean bonus of the step's responses, the bonus before its coefficient."""
    named = (Trained("reward", "mean_reward"), Trained("bonus", "mean_bonus"))
    return _over_training(axes, found, named, "mean over responses")


@dataclass(frozen=True)
class Trained:
    """One curve over training.

    Attributes:
        column: of ``policy_steps``, drawn as faint points; None: nothing is known of single steps.
        metric: of ``training_dynamics``, drawn as a line with a band; None: the line is the points' mean over a pass.
    """

    label: str
    column: str | None
    metric: str | None = None


def _over_training(axes: Axes, found: ExplorationSummary, curves: Sequence[Trained], what: str) -> bool:
    """Lines over the pass before each step; only those of ``training_dynamics`` have problems to resample."""
    drawn = has_bands = has_points = False
    for place, curve in enumerate(curves):
        color = SERIES[place]
        points = found.over_steps(curve.column) if curve.column else []
        if points:
            axes.plot(*zip(*points, strict=True), color=color, linestyle="", marker=".", markersize=3, alpha=0.3)
        rows = found.dynamics("policy", curve.metric) if curve.metric else []
        means = [(row["step"], row["value"]) for row in rows]
        if not curve.metric and curve.column:
            means = found.means_over_pass(curve.column)
        if means:
            marker = MARKERS[place] if len(means) == 1 else None
            axes.plot(*zip(*means, strict=True), color=color, marker=marker, linewidth=1.4, label=curve.label)
            items = [interval_of(row) for row in rows]
            low, high = [item.low for item in items], [item.high for item in items]
            axes.fill_between([row["step"] for row in rows], low, high, color=color, alpha=0.15, linewidth=0)
        drawn |= bool(points or means)
        has_bands, has_points = has_bands or bool(rows), has_points or bool(points)
    if not drawn:
        return False
    marks = [f"bands: {level(found)}"] * has_bands + ["points: steps"] * has_points
    axes.set_xlabel(f"step ({'; '.join(marks)})")
    axes.set_ylabel(what)
    if axes.get_legend_handles_labels()[1] and len(curves) > 1:
        legend_above(axes)
    return True


def exploration_png(found: ExplorationSummary, path: Path) -> Path:
    """pass@k, accuracy and entropy in training side by side, for the UI and for papers. Returns ``path``."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(10.8, 3.3))
        FigureCanvasAgg(figure)
        figure.subplots_adjust(left=0.06, right=0.99, bottom=0.15, wspace=0.28)
        for panel, draw in zip(figure.subplots(1, 3), (pass_at_k, rollout_accuracy, policy_entropy), strict=True):
            if not draw(panel, found):
                panel.text(0.5, 0.5, "not measured", ha="center", va="center", transform=panel.transAxes)
        with atomic_file(Path(path)) as staging:  # tight: legends stand above the panels, of as many rows as they need
            options: Any = {"format": "png", "dpi": 200, "facecolor": "white", "metadata": {"Software": None}}
            figure.savefig(staging, bbox_inches="tight", **options)
    return Path(path)
