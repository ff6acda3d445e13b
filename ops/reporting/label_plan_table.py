"""What labels will be worth, as ``mindgap evaluate plan`` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ops.reporting.rich_tables import add_texts, compact_table
from ops.reporting.win_rate_words import share_words
from ops.reporting.words import interval
from ops.stages.label_plans import LabelPlan

if TYPE_CHECKING:
    from rich.table import Table

HUMAN = "– (human labels)"


def needed_table(plans: Sequence[LabelPlan], width: float, confidence: float) -> Table:
    """What judges save, and labels for a half-width with and without them."""
    title = f"Labels for ±{width:g} at {confidence:.0%}"
    headers = ("model", "judge", "labels", "pairs", "correlation", "saved", "human\nalone", "with\njudge")
    table = compact_table(title, headers, left=2)
    for item in plans:
        supposed = f"{item.correlation.value:.2f} supposed"
        correlation = "" if item.judge is None else supposed if item.is_supposed else interval(item.correlation)
        judge = item.judge or HUMAN
        cells = [item.model, judge, f"{item.n_labelled:,}", f"{item.n_pairs:,}", correlation]
        cells.append("" if item.judge is None else f"{share_words(item.saving)} at n = {item.n:,}")
        needed = item.needed
        human = None if needed is None else needed.human
        judged = None if needed is None or item.judge is None else needed.control_variate
        add_texts(table, [*cells, _count(human), "" if item.judge is None else _count(judged)])
    return table


def width_table(plans: Sequence[LabelPlan]) -> Table:
    """Half-widths that are expected with more and more labels."""
    marks = sorted({mark for item in plans for mark in item.half_widths})
    table = compact_table(
        "Expected half-width with n labels", ("model", "judge", *(f"{mark:,}" for mark in marks)), left=2
    )
    for item in plans:
        judge = item.judge or HUMAN
        judge = f"{judge}, {item.correlation.value:.2f}" if item.is_supposed and item.judge else judge
        widths = (item.half_widths.get(mark) for mark in marks)
        add_texts(table, [item.model, judge, *("" if value is None else f"±{value:.3f}" for value in widths)])
    return table


def _count(value: int | None) -> str:
    """None: not with all pairs labelled."""
    return "out of reach" if value is None else f"{value:,}"
