"""The summary as an aligned table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ops.reporting import exploration_words, win_rate_words
from ops.reporting.exploration_summary import ExplorationSummary
from ops.reporting.exploration_table import evaluation_table, terminal_exploration
from ops.reporting.summary import IterationSummary, Summary
from ops.reporting.win_rate_summary import WinRateSummary
from ops.reporting.win_rate_table import terminal_evaluation, win_rate_table
from ops.reporting.words import NOTHING, ORGANISM, interval, number, percent
from ops.types import Interval

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
    from rich.table import Table

WIDE_COLUMNS = 94
"""Narrower terminals get the intervals below the values."""


AnySummary = Summary | ExplorationSummary | WinRateSummary

ORGANISMS = {
    Summary: ORGANISM,
    ExplorationSummary: exploration_words.ORGANISM,
    WinRateSummary: win_rate_words.ORGANISM,
}
"""What is said of models that this lab pretrained, by kind of experiment."""


def terminal_table(summaries: Sequence[AnySummary]) -> Group:
    """A Rich renderable: one table per experiment, a row per iteration (or evaluated model), the answer below it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list = []
    for summary in summaries:
        parts.append(_main_table(summary))
        parts.append(Padding(Text(summary.answer), (0, 0, 1, 0)))
    for kind, words in ORGANISMS.items():
        if any(summary.builtin for summary in summaries if isinstance(summary, kind)):
            parts.append(Text(words, style="dim"))
    return Group(*parts)


def _main_table(summary: AnySummary) -> RenderableType:
    if isinstance(summary, ExplorationSummary):
        return evaluation_table(summary)
    return win_rate_table(summary) if isinstance(summary, WinRateSummary) else _Fitting(summary)


def terminal_report(summary: AnySummary) -> Group:
    """Everything about one experiment: its question and answer, then a compact table for each question."""
    if isinstance(summary, ExplorationSummary):
        return terminal_exploration(summary)
    if isinstance(summary, WinRateSummary):
        return terminal_evaluation(summary)
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from ops.reporting.sections import sections
    from ops.reporting.words import progress

    parts: list = [Padding(Text(f"Hypothesis: {summary.hypothesis}"), (0, 0, 1, 0)), _Fitting(summary)]
    parts.append(Padding(Text(summary.answer), (0, 0, 1, 0)))
    if summary.stopped is not None or not summary.is_finished:
        parts.append(Padding(Text(f"Iterations: {progress(summary)}"), (0, 0, 1, 0)))
    parts += [Padding(section, (0, 0, 1, 0)) for section in sections(summary)]
    if summary.builtin:
        parts.append(Text(ORGANISM, style="dim"))
    return Group(*parts)


class _Fitting:
    """A summary's table, laid out for the width it is printed at."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _table(self.summary, stacked=options.max_width < WIDE_COLUMNS)


def _table(summary: Summary, stacked: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    level = f"[{100 * summary.confidence:g} %]"
    k = summary.largest_k
    last_k = f"@{k}" if k else "@k"
    headers = [
        ("it", ""),
        ("accuracy", level),
        ("strict", "acc."),
        ("gap", level),
        ("rel.", "gap"),
        ("kept", ""),
        ("pass", "@1"),
        ("pass", last_k),
        ("distinct", f"in {k}" if k else ""),
        ("tuning", "rows"),
    ]
    shown = summary.trajectory.label if summary.iterations else ""
    title = Text.assemble((summary.name, "bold"), f": {summary.arm}", (f"   gap of {shown}" if shown else "", "dim"))
    table = Table(
        title=title,
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0 if stacked else 1, 0, 0),
        show_edge=False,
    )
    for top, below in headers:
        table.add_column(Text(f"{top}\n{below}" if below else top), justify="right", no_wrap=True)
    for item in summary.iterations:
        cells = [cell.replace(" [", "\n[") if stacked else cell for cell in _row(item, k)]
        table.add_row(*(Text(cell, justify="right") for cell in cells))
    return table


def _row(item: IterationSummary, k: int | None) -> list[str]:
    passed = item.pass_at_k
    distinct = item.distinct_in_k.get(k) if k else None
    return [
        str(item.iteration),
        interval(item.accuracy),
        number(item.strict_accuracy),
        interval(item.primary.gap, sign=True),
        number(item.primary.relative_gap.value, sign=True),
        percent(item.primary.kept_fraction),
        _value(passed.get(1)),
        _value(passed.get(k) if k else None),
        _value(distinct, 1),
        NOTHING if item.finetune_rows is None else f"{item.finetune_rows:,}",
    ]


def _value(item: Interval | None, digits: int = 3) -> str:
    return NOTHING if item is None else number(item.value, digits)
