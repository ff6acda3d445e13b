"""The figures of the page of an experiment with ``evaluation``: which question each answers, and made of what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ops.reporting import win_rate_plots as plots
from ops.reporting.figures import Drawn
from ops.reporting.plots import figure_svg
from ops.reporting.win_rate_summary import ASSET, WinRateSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CURVES = 4
"""Models whose curves of squared error are drawn; the table has all."""


@dataclass(frozen=True)
class Panel:
    """One figure.

    Attributes:
        guide: how to read it.
        draw: draws into the axes and says whether it found anything.
        undefined: why there may be nothing although the tables are there.
    """

    name: str
    title: str
    guide: str
    draw: Callable[[Axes, WinRateSummary], bool]
    undefined: str


BETTER, SAVED, WORTH = ("Which model is better?", "How many labels did judges save?", "What are the judges worth?")

RATES = Panel(
    "win_rates",
    "Estimates by method",
    "Control variates lie near the human estimate and their intervals are narrower where the judge is of use. Judges "
    "alone (hollow) have narrow intervals around a value that may be wrong: their intervals say nothing of their bias.",
    plots.win_rates,
    "nothing was estimated",
)
REALISED = Panel(
    "savings",
    "Saving, predicted and realised",
    "A point for each model and judge, of the squared errors below. Realised: labels are drawn again and again, and it "
    "is counted how many more of them people alone need for the same squared error. On the grey line that is what "
    "theory says of these labels; below 0 the judge cost precision.",
    plots.realised_savings,
    "there are too few labels to draw some of them again",
)
ESTIMATED = Panel(
    "estimated_savings",
    "Saving, estimated",
    "A point for each model and judge: from the variances that the estimate has, against what the correlation of the "
    "same labels and judgements predicts. On the grey line both agree; nothing was realised here.",
    plots.estimated_savings,
    "there are too few labels",
)
BIAS = Panel(
    "position_bias",
    "Position bias",
    "At 0 the order in which a judge sees the two responses does not matter to it.",
    plots.position_bias,
    "no judge sees two responses at once",
)
CORRELATION = Panel(
    "correlation",
    "Correlation with labels",
    "Over all models. Its square is the share of labels that the judge can save, with unlabelled pairs without end.",
    plots.correlations,
    "there are too few labels",
)


def _curve(place: int, model: str) -> Panel:
    guide = (
        "Labels are drawn again and again from those that are there, and each estimate is compared with the one from "
        "all of them. Points: measured; lines: what theory gives. The lower curve needs fewer labels for the same "
        "error."
    )
    draw = partial(plots.label_curve, model=model)
    return Panel(f"label_curve_{place}", f"Squared error of {model}", guide, draw, "there are too few labels")


def draw_panels(found: WinRateSummary) -> dict[str, list[Drawn]]:
    """All figures by question."""
    curves = [_curve(place, name) for place, name in enumerate(plots.curve_models(found)[:MOST_CURVES])]
    panels = {BETTER: [RATES], SAVED: [REALISED, ESTIMATED, *curves], WORTH: [CORRELATION, BIAS]}
    return {question: [_drawn(panel, found) for panel in each] for question, each in panels.items()}


def _drawn(panel: Panel, found: WinRateSummary) -> Drawn:
    answer: list[bool] = []
    svg = figure_svg(lambda axes: answer.append(panel.draw(axes, found)), panel.name, found.name)
    waits = f"Not measured: {panel.undefined}." if found.is_measured else "Not measured: no table win_rates yet."
    made_from = tuple(row for row in found.provenance if row.asset == ASSET)
    is_drawn = answer[-1]
    return Drawn(panel.name, panel.title, panel.guide, svg if is_drawn else "", "" if is_drawn else waits, made_from)
