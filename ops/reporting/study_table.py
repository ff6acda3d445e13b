"""A study on the terminal: the gap of every check by model, and the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ops.reporting.numbers import interval_of
from ops.reporting.study_data import StudyData
from ops.reporting.study_words import ORGANISMS, study_answer
from ops.reporting.words import interval
from ops.study_findings import FAILS, HOLDS

if TYPE_CHECKING:
    from rich.console import Group

STYLES = {HOLDS: "green", FAILS: "red"}


def terminal_findings(data: StudyData) -> Group:
    """A Rich renderable: a table of gaps per task, the findings, the answer."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts = [_gaps(data, task) for task in data.tasks]
    parts += [_findings(data), Padding(Text(study_answer(data)), (1, 0, 1, 0))]
    if any(row.is_builtin for row in data.rows):
        parts.append(Text(ORGANISMS, style="dim"))
    return Group(*parts)


def _table(title: str):
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def _gaps(data: StudyData, task: str):
    from rich.text import Text

    models = data.models(task)
    table = _table(f"{task}: gap [{100 * data.confidence:g} %]")
    table.add_column("check")
    for model in models:
        table.add_column(model, justify="right")
    accuracies = {row.model: interval(row.accuracy) for row in data.rows if row.task == task}
    table.add_row("accuracy", *(accuracies[model].replace(" [", "\n[") for model in models), style="dim")
    points = data.tables["scaling_points"].filter(pl.col("task") == task)
    for (rule,), part in points.group_by("rule", maintain_order=True):
        found = {row["model"]: interval(interval_of(row, "gap"), sign=True) for row in part.iter_rows(named=True)}
        table.add_row(Text(str(rule)), *(Text(found.get(model, "").replace(" [", "\n[")) for model in models))
    return table


def _findings(data: StudyData):
    from rich.text import Text

    table = _table("Findings of arXiv 2412.02674, decided here")
    for name in ("", "task", "finding", "outcome", "value"):
        table.add_column(name)
    for row in data.tables["findings"].iter_rows(named=True):
        outcome = Text(row["outcome"], style=STYLES.get(row["outcome"], "dim"))
        rule = row["evidence"].partition(",")[0].partition(":")[0]
        words = f"{row['statement']} ({rule})" if len(rule) < 40 else row["statement"]
        table.add_row(
            row["finding"], row["task"], Text(words), outcome, Text(interval(interval_of(row, "value"), sign=True))
        )
    return table
