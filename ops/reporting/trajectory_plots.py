"""What one experiment does over its iterations, one panel a question; every function says whether it found anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.reporting.numbers import interval_of
from ops.reporting.plots import INK, MARKERS, SERIES, distance, doublings, panel_top, ramp
from ops.reporting.trajectory import Points, Trajectory
from ops.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DODGE = 0.07
"""Iterations between the error bars of neighbouring series."""
LEGEND_COLUMNS = ((4, 8), (3, 13), (2, 24), (1, 10_000))
"""How many columns a legend has, by the length of its longest label."""


@dataclass(frozen=True)
class Line:
    """A labelled series; its place in the legend chooses colour and marker."""

    label: str
    points: Points
    dashed: bool = False


def draw_lines(
    axes: Axes, lines: Sequence[Line], what: str, confidence: float, x: str = "iteration", *, zero: bool = False
) -> bool:
    """Series with error bars against iterations; a legend above them where there are several.

    Args:
        what: label of the y axis, with the unit.
        zero: draw the line at 0, where the sign means something.
    """
    from matplotlib.ticker import MaxNLocator

    places = [place for place, line in enumerate(lines) if line.points]
    for place in places:
        line = lines[place]
        shift = DODGE * (place - (len(lines) - 1) / 2) if len(places) > 1 else 0.0
        errorbars(
            axes, [k + shift for k, _ in line.points], [y for _, y in line.points], place, line.label, line.dashed
        )
    if not places:
        return False
    if zero:
        axes.axhline(0.0, color=INK, linewidth=0.8)
    has_bars = any(not math.isnan(item.low) for line in lines for _, item in line.points)
    axes.set_xlabel(f"{x} ({100 * confidence:g} % intervals)" if has_bars else x)
    axes.set_ylabel(what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.08)
    shown = sorted({k for line in lines for k, _ in line.points})
    if len(shown) == 1:
        axes.set_xlim(shown[0] - 0.5, shown[0] + 0.5)
    if len(places) > 1:
        legend_above(axes)
    return True


def errorbars(
    axes: Axes, x: Sequence[float], y: Sequence[Interval], place: int, label: str, dashed: bool = False
) -> None:
    """One series; colours repeat after six, then with other markers and dashes."""
    ends = [[distance(item.value, item.low) for item in y], [distance(item.high, item.value) for item in y]]
    lap = place // len(SERIES)
    axes.errorbar(
        x,
        [item.value for item in y],
        yerr=ends,
        color=SERIES[place % len(SERIES)],
        marker=MARKERS[(place + lap) % len(MARKERS)],
        linestyle="--" if dashed or lap % 2 else "-",
        capsize=2.5,
        elinewidth=1.0,
        label=label,
    )


def legend_above(axes: Axes) -> None:
    """A legend between the panel's top, which makes room for it, and the figure's edge: it covers no data.

    What was measured comes before lines that only guide the eye.
    """
    from matplotlib.container import Container

    found = sorted(
        zip(*axes.get_legend_handles_labels(), strict=True), key=lambda each: not isinstance(each[0], Container)
    )
    columns = min(
        next(n for n, longest in LEGEND_COLUMNS if max(len(label) for _, label in found) <= longest), len(found)
    )
    rows = math.ceil(len(found) / columns)
    figure = axes.get_figure()
    assert figure is not None  # for the type checker: axes of a panel have one
    figure.subplots_adjust(top=panel_top(rows))
    axes.legend(
        *zip(*found, strict=True),
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=math.ceil(len(found) / rows),
        borderaxespad=0.2,
        handlelength=1.6,
        columnspacing=1.0,
        handletextpad=0.5,
    )


def accuracy(axes: Axes, found: Trajectory) -> bool:
    """Flexible and strict extraction."""
    flexible = found.metric("accuracy") or found.gaps("accuracy")
    strict = found.metric("strict_accuracy") or found.gaps("strict_accuracy")
    lines = [Line("flexible", flexible), Line("strict", strict, dashed=True)]
    return draw_lines(axes, lines, "accuracy = pass@1", found.confidence)


def votes(axes: Axes, found: Trajectory) -> bool:
    """One response, the majority of all, and at least one of all."""
    ks = found.ks("pass_at_k")
    vote = found.metric("majority_vote_accuracy")
    if not vote:
        return False
    single = found.metric("accuracy") or found.gaps("accuracy")
    lines = [Line("one response", single), Line("majority vote", vote)]
    lines += [Line(f"pass@{ks[-1]}", found.metric("pass_at_k", ks[-1]))] if ks else []
    return draw_lines(axes, lines, "accuracy", found.confidence)


def pass_at_k(axes: Axes, found: Trajectory) -> bool:
    """A curve for each iteration; bands at the first and the last."""
    ks = found.ks("pass_at_k")
    curves = {k: dict(found.metric("pass_at_k", k)) for k in ks}
    iterations = sorted({iteration for points in curves.values() for iteration in points})
    for place, iteration in enumerate(iterations):
        known = [k for k in ks if iteration in curves[k]]
        y = [curves[k][iteration] for k in known]
        color = ramp(place / max(len(iterations) - 1, 1))
        marker = MARKERS[place % len(MARKERS)]
        axes.plot(known, [item.value for item in y], color=color, marker=marker, label=f"iteration {iteration}")
        if iteration in (iterations[0], iterations[-1]):
            axes.fill_between(
                known, [item.low for item in y], [item.high for item in y], color=color, alpha=0.15, linewidth=0
            )
    if not iterations:
        return False
    doublings(axes, ks)
    axes.set_xlabel(f"k, responses drawn (bands: {100 * found.confidence:g} % intervals)")
    axes.set_ylabel("pass@k")
    axes.legend(loc="lower right")
    return True


def pass_at_some_k(axes: Axes, found: Trajectory) -> bool:
    """pass@k over the iterations, for the smallest, a middle and the largest k."""
    lines = [Line(f"k = {k}", found.metric("pass_at_k", k)) for k in spread(found.ks("pass_at_k"))]
    return draw_lines(axes, lines, "pass@k", found.confidence)


def spread(ks: Sequence[int]) -> list[int]:
    """The smallest, the middle one of the powers, and the largest."""
    return sorted({ks[0], ks[len(ks) // 2], ks[-1]}) if ks else []


def distinct(axes: Axes, found: Trajectory) -> bool:
    """Distinct answers in the largest k."""
    return _at_largest_k(axes, found, "distinct_answers_in_k", "expected distinct answers in")


def distinct_correct(axes: Axes, found: Trajectory) -> bool:
    """Distinct correct answers in the largest k."""
    return _at_largest_k(axes, found, "distinct_correct_in_k", "distinct correct answers in")


def _at_largest_k(axes: Axes, found: Trajectory, metric: str, what: str) -> bool:
    ks = found.ks(metric)
    points = found.metric(metric, ks[-1]) if ks else []
    return draw_lines(axes, [Line("", points)], f"{what} {ks[-1] if ks else 'k'}", found.confidence)


def entropy(axes: Axes, found: Trajectory) -> bool:
    """Of the answers to one problem."""
    return draw_lines(axes, [Line("", found.metric("answer_entropy_nats"))], "answer entropy (nats)", found.confidence)


def self_bleu(axes: Axes, found: Trajectory) -> bool:
    """How alike the texts of one problem's responses are."""
    return draw_lines(axes, [Line("", found.metric("self_bleu"))], "self-BLEU (1: all the same)", found.confidence)


def length(axes: Axes, found: Trajectory) -> bool:
    """Tokens of a response."""
    return draw_lines(axes, [Line("", found.metric("response_tokens"))], "tokens per response", found.confidence)


def kl(axes: Axes, found: Trajectory) -> bool:
    """Sampled KL divergence from the base model."""
    lines = [
        Line(words, found.metric(name, table="policy_shift"))
        for name, words in (("kl_to_base_nats", "mean log ratio"), ("kl_to_base_k3_nats", "k3 estimator"))
    ]
    return draw_lines(axes, lines, "KL to the base model (nats)", found.confidence, zero=True)


def flips(axes: Axes, found: Trajectory) -> bool:
    """Learned upwards and forgotten downwards at every update, as shares of the problems."""
    rows = found.rows("problem_flips", reference="previous")
    criteria = sorted({row["criterion"] for row in rows}, key=lambda name: ("half", "majority", "any").index(name))
    rows = [row for row in rows if criteria and row["criterion"] == criteria[0]]
    for name, sign, place in (("learned", 1.0, 2), ("forgotten", -1.0, 1)):
        items = [(row["iteration"], interval_of(row, name)) for row in rows]
        items = [(k, item) for k, item in items if not math.isnan(item.value)]
        ends = [[distance(i.value, i.low) for _, i in items], [distance(i.high, i.value) for _, i in items]]
        ends = ends if sign > 0 else ends[::-1]
        values = [sign * item.value for _, item in items]
        style: dict[str, Any] = {"ecolor": INK, "capsize": 2.5, "error_kw": {"elinewidth": 0.9}}
        axes.bar([k for k, _ in items], values, 0.55, color=SERIES[place], yerr=ends, label=name, **style)
    if not rows:
        return False
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xticks([row["iteration"] for row in rows])
    axes.set_xlim(min(row["iteration"] for row in rows) - 0.6, max(row["iteration"] for row in rows) + 0.6)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(100 * value):.3g} %")
    axes.set_xlabel(f"iteration, against the one before ({100 * found.confidence:g} % intervals)")
    axes.set_ylabel("share of the problems")
    legend_above(axes)
    return True
