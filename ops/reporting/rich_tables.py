"""Empty tables for the terminal, in the two styles of all reports, and the table of findings of every study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.reporting.numbers import interval_of
from ops.reporting.words import interval
from ops.study_findings import FAILS, HOLDS

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

STYLES = {HOLDS: "green", FAILS: "red"}


def new_table(title: str) -> Table:
    """In the style of all studies, without columns."""
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def compact_table(title: str, headers: Iterable[str], left: int = 0, vertical: str = "bottom") -> Table:
    """In the style of one experiment: columns to the right, but for the first ``left`` ones; no cell is wrapped.

    Args:
        vertical: where the shorter ones of a row's cells stand.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for place, header in enumerate(headers):
        side = "left" if place < left else "right"
        table.add_column(Text(header), justify=side, no_wrap=True, vertical=vertical)  # type: ignore[arg-type]
    return table


def add_texts(table: Table, cells: Iterable[str]) -> None:
    """A row of plain texts: brackets in them are no markup."""
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells))


def findings_table(
    title: str,
    findings: pl.DataFrame,
    columns: Sequence[str],
    words: Callable[[Mapping[str, Any]], Sequence[str | Text]],
) -> Table:
    """A row for each finding: its number, ``words`` of it under ``columns``, the outcome and its value."""
    from rich.text import Text

    table = new_table(title)
    for name in ("", *columns, "outcome", "value"):
        table.add_column(name)
    for row in findings.iter_rows(named=True):
        outcome = Text(row["outcome"], style=STYLES.get(row["outcome"], "dim"))
        value = Text(interval(interval_of(row, "value"), sign=True))
        table.add_row(row["finding"], *words(row), outcome, value)
    return table
