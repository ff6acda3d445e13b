"""Training as sampling in pictures: what policies and the base model have found at equal numbers of responses, and
how entropy and diversity move with the steps. Every ``draw_...`` says whether it found anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.reporting.asset_drawings import titled
from ops.reporting.plots import GREY, SERIES, STYLE, figure_svg, new_figure
from ops.reporting.trajectory_plots import legend_above
from ops.storage.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ops.reporting.asset_plots import Source

PER_QUESTION = "responses so far ÷ training questions"
STEPS = "steps"
BANDS = "bands: intervals"
DASHES = ("-", "--", ":")
"""After each lap through the colours the next: with ``SERIES`` 18 curves can be told apart."""
COLUMNS = ["sampler", "step", "n_responses", "questions", "metric", "value", "low", "high", "n_problems"]


@dataclass(frozen=True)
class Curve:
    """A labelled curve with its band; NaN is left out. Its place among the curves that are not of the base model
    chooses the colour.

    Attributes:
        low, high: ends of the band: an interval over problems, or a mean of seeds minus and plus its standard error.
        is_base: of the base model: grey and dashed.
        reference: what the base model had, a thin dotted line in the curve's colour; NaN: none.
    """

    label: str
    x: Sequence[float]
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    is_base: bool = False
    reference: float = math.nan


@dataclass(frozen=True)
class Panel:
    """What is drawn: rows of ``training_dynamics`` by metric and questions.

    Attributes:
        unit: label of the y axis.
    """

    name: str
    title: str
    unit: str
    metric: str
    questions: str = "all"


SOLVED = Panel("solved_questions", "Solved questions", "share of the training questions", "solved_questions")
DISTINCT = Panel("distinct_answers", "Distinct answers", "answers per visited question so far", "distinct_answers")
UNSOLVED = Panel(
    "distinct_answers_unsolved",
    "Distinct answers, unsolved",
    "answers per unsolved question so far",
    "distinct_answers",
    "unsolved",
)
CORRECT = Panel(
    "distinct_correct_answers",
    "Distinct correct answers",
    "correct answers per visited question so far",
    "distinct_correct_answers",
)
ENTROPY = Panel("token_entropy", "Token entropy", "entropy (nats per token)", "entropy_nats_correct")
PER_GROUP = Panel(
    "distinct_answers_per_group", "Distinct answers per group", "answers per group", "distinct_answers_per_group"
)
SAMPLING_PANELS = (SOLVED, DISTINCT, UNSOLVED)
"""Of ``sampling_plot``."""
ENTROPIES = {"correct": "entropy_nats_correct", "not correct": "entropy_nats_incorrect"}
GROUPS = ("all", "solved", "unsolved")


def curves_of(frame: pl.DataFrame, panel: Panel, label: str = "policy", *, x: str = PER_QUESTION) -> list[Curve]:
    """Policy and base model of one experiment.

    Args:
        frame: ``training_dynamics``.
        label: of the policy, the arm's say.
        x: ``PER_QUESTION``, responses so far over all training questions; or ``STEPS``, steps done.
    """
    found = []
    for sampler, words in (("policy", label), ("base", "base model")):
        rows = frame.filter(sampler=sampler, metric=panel.metric, questions=panel.questions)
        if rows.height:
            found.append(_curve(rows, words, _places(frame, rows, x), is_base=sampler == "base"))
    return found


def _places(frame: pl.DataFrame, rows: pl.DataFrame, x: str) -> list[float]:
    """Along the x axis, of rows in the order of their steps."""
    if x == STEPS:
        return [float(step) for step in rows["step"].sort()]
    n_questions = frame.filter(metric="solved_questions")["n_problems"].max()
    return [n / n_questions for n in rows["n_responses"].sort()]


def _curve(rows: pl.DataFrame, label: str, x: Sequence[float], *, is_base: bool = False) -> Curve:
    ends = rows.sort("step").select(pl.col("value", "low", "high").fill_null(math.nan))
    value, low, high = (ends[name].to_list() for name in ends.columns)
    return Curve(label, x, value, low, high, is_base)


def draw_curves(axes: Axes, curves: Sequence[Curve], x: str, y: str, band: str = "") -> bool:
    """Lines with bands; the base model grey and dashed, whatever its place.

    Args:
        x, y: labels of the axes, with their units.
        band: what the bands are, said below the x axis.
    """
    place, drawn = 0, False
    for curve in curves:
        color = GREY if curve.is_base else SERIES[place % len(SERIES)]
        dash = "--" if curve.is_base else DASHES[place // len(SERIES) % len(DASHES)]
        place += not curve.is_base
        if not any(math.isfinite(value) for value in curve.value):
            continue
        marker = "o" if sum(math.isfinite(value) for value in curve.value) == 1 else ""
        axes.plot(curve.x, curve.value, color=color, linestyle=dash, marker=marker, label=curve.label)
        axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
        if math.isfinite(curve.reference):
            words = f"{curve.label}, base model"
            axes.axhline(curve.reference, color=color, linestyle=":", linewidth=0.8, label=words)
        drawn = True
    if drawn:
        axes.set_xlabel(f"{x} ({band})" if band else x)
        axes.set_ylabel(y)
        axes.margins(x=0.02)
    return drawn


def draw_panel(axes: Axes, panel: Panel, curves: Sequence[Curve], *, x: str = PER_QUESTION, band: str = BANDS) -> bool:
    """One panel of a page, with its legend above it: for ``figure_svg``."""
    if not draw_curves(axes, curves, x, panel.unit, band):
        return False
    legend_above(axes)
    return True


def sampling_svgs(
    curves: Mapping[Panel, Sequence[Curve]], salt: str, *, x: str = PER_QUESTION, band: str = BANDS
) -> dict[str, str]:
    """Panels as inline SVG for a page, by the panel's name; '' where there is nothing to draw.

    Args:
        salt: what the ids are made from, for example the experiment's name.
    """
    found = {}
    for panel, drawn in curves.items():
        answers: list[bool] = []
        draw = partial(_asked, answers, panel, drawn, x, band)
        svg = figure_svg(draw, panel.name, salt)
        found[panel.name] = svg if answers[-1] else ""
    return found


def _asked(answers: list[bool], panel: Panel, curves: Sequence[Curve], x: str, band: str, axes: Axes) -> None:
    answers.append(draw_panel(axes, panel, curves, x=x, band=band))


def sampling_plot(
    curves: Mapping[Panel, Sequence[Curve]], path: Path, *, x: str = PER_QUESTION, band: str = BANDS
) -> Path:
    """A PNG with a panel for each entry, side by side, and one legend: an experiment's policy, or several arms, against
    the base model. Returns ``path``.

    Args:
        curves: by panel, ``SAMPLING_PANELS`` say; the same labels in the same order in each.
        x: label of the x axis, with its unit.
        band: what the bands are.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(len(curves), (3.6 * len(curves), 3.4))
        labels: dict[str, Any] = {}
        for one, (panel, drawn) in zip(axes, curves.items(), strict=True):
            _titled_panel(one, panel, drawn, x, band)
            handles, words = one.get_legend_handles_labels()
            labels |= dict(zip(words, handles, strict=True))
        if labels:
            figure.legend(labels.values(), labels, loc="outside lower center", ncols=min(len(labels), 6))
        return _saved(figure, path)


def _titled_panel(axes: Axes, panel: Panel, curves: Sequence[Curve], x: str, band: str) -> None:
    """A panel of a figure; where nothing is defined it says so."""
    if not draw_curves(axes, curves, x, panel.unit, band):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "not defined at any step", ha="center", transform=axes.transAxes)
    axes.set_title(panel.title, loc="left", fontweight="bold")


def _saved(figure: Figure, path: Path) -> Path:
    with atomic_file(Path(path)) as staging:
        figure.savefig(staging, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return Path(path)


def entropy_curves(frame: pl.DataFrame) -> list[Curve]:
    """Token entropy of the policy's correct and other responses over the steps, from ``training_dynamics``.

    For reference that of the first step, whose responses the base model drew: it comes before the first update.
    """
    curves = [_of_policy(frame, label, "all", metric) for label, metric in ENTROPIES.items()]
    return [replace(curve, reference=dict(zip(curve.x, curve.value, strict=True)).get(1, math.nan)) for curve in curves]


def group_curves(frame: pl.DataFrame) -> list[Curve]:
    """Distinct answers per group of the policy: all, and groups that it solved or not, as published figures divide."""
    metric = "distinct_answers_per_group"
    return [_of_policy(frame, name, name, metric if name == "all" else f"{metric}_own") for name in GROUPS]


def _of_policy(frame: pl.DataFrame, label: str, questions: str, metric: str) -> Curve:
    rows = frame.filter(sampler="policy", questions=questions, metric=metric)
    return _curve(rows, label, _places(frame, rows, STEPS))


def entropy_plot(frame: pl.DataFrame, path: Path, *, band: str = BANDS) -> Path:
    """A PNG of entropy and distinct answers per group over the steps, side by side. Returns ``path``.

    Args:
        frame: ``training_dynamics``.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(2, (7.6, 3.2))
        for one, panel, curves in zip(axes, (ENTROPY, PER_GROUP), (entropy_curves, group_curves), strict=True):
            _titled_panel(one, panel, curves(frame), STEPS, band)
            if one.get_legend_handles_labels()[1]:
                one.legend()
        return _saved(figure, path)


def training_dynamics(axes: Axes, source: Source) -> bool:
    """For the asset's own page: the share of solved questions, policy against base model."""
    drawn = draw_curves(axes, curves_of(source.rows(COLUMNS), SOLVED), PER_QUESTION, SOLVED.unit)
    return drawn and titled(axes, SOLVED.title, PER_QUESTION, SOLVED.unit, legend=True)
