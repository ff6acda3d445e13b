"""A study of arms on the terminal: the main metrics by arm and iteration, differences, and the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.reporting.arms_data import ArmsData, Cell, Metric
from ops.reporting.arms_words import ORGANISM, arm_in, arms_answer, left_out
from ops.reporting.rich_tables import findings_table, new_table
from ops.reporting.words import interval, number

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

SHOWN = ("accuracy", "gap", "pass_at_k")


def terminal_arms(data: ArmsData) -> Group:
    """A Rich renderable: a table per main metric, differences to the reference, the findings, the answer."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    shown = [metric for metric in data.metrics if metric.name in SHOWN]
    parts: list = [_over_iterations(data, metric) for metric in shown]
    if data.reference is not None:
        parts.append(_against(data, data.reference))
    parts += [_findings(data), *(Text(f"left out: {sentence}", style="dim") for sentence in left_out(data))]
    parts.append(Padding(Text(arms_answer(data)), (1, 0, 1, 0)))
    if data.is_builtin:
        parts.append(Text(ORGANISM, style="dim"))
    return Group(*parts)


def _over_iterations(data: ArmsData, metric: Metric) -> Table:
    from rich.text import Text

    seeds = f", mean of {len(data.seeds)} seeds ± standard error" if len(data.seeds) > 1 else ""
    table = new_table(f"{metric.words} [{100 * data.confidence:g} % over problems]{seeds}")
    table.add_column("arm")
    for k in range(data.last + 1):
        table.add_column(f"iteration {k}", justify="right")
    for arm in data.arms:
        curve = data.curve(arm.label, metric)
        cells = [_cell(curve.get(k), metric.is_signed) for k in range(data.last + 1)]
        table.add_row(Text(arm.label), *(Text(cell, justify="right") for cell in cells))
    return table


def _cell(cell: Cell | None, sign: bool) -> str:
    """The value with its standard error, below it the interval."""
    if cell is None:
        return ""
    value, dash, ends = interval(cell.interval, sign).partition(" [")
    error = f" ±{number(cell.standard_error)}" if cell.standard_error == cell.standard_error else ""
    return f"{value}{error}" + (f"\n[{ends}" if dash else "")


def _against(data: ArmsData, reference: str) -> Table:
    from rich.text import Text

    table = new_table(f"minus {reference}, paired by seed and problem, at the last iteration of both")
    others = [arm for arm in data.arms if arm.label != reference]
    table.add_column("metric")
    for arm in others:
        table.add_column(f"{arm.label}\niteration {min(arm.last, data.arm(reference).last)}", justify="right")
    for metric in data.metrics:
        found = [
            data.difference(arm.label, reference, metric, min(arm.last, data.arm(reference).last)) for arm in others
        ]
        if any(cell is not None for cell in found):
            words = f"{metric.words} of the last update" if metric.shift else metric.words
            table.add_row(Text(words), *(Text(_cell(cell, True), justify="right") for cell in found))
    return table


def _findings(data: ArmsData) -> Table:
    from rich.text import Text

    return findings_table(
        "Findings 5 and 6 of arXiv 2412.02674, decided here",
        data.tables["findings"],
        ("finding", "arm"),
        lambda row: (Text(row["statement"]), Text(arm_in(row["evidence"], data) or "")),
    )
