"""A study on the terminal: the gap of every check by model, and the findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ops.reporting.numbers import interval_of
from ops.reporting.rich_tables import findings_table, new_table
from ops.reporting.study_data import StudyData
from ops.reporting.study_words import ORGANISMS, study_answer
from ops.reporting.words import interval

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def terminal_findings(data: StudyData) -> Group:
    """A Rich renderable: a table of gaps per task, the findings, the answer."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list = [_gaps(data, task) for task in data.tasks]
    parts += [_findings(data), Padding(Text(study_answer(data)), (1, 0, 1, 0))]
    if any(row.is_builtin for row in data.rows):
        parts.append(Text(ORGANISMS, style="dim"))
    return Group(*parts)


def _gaps(data: StudyData, task: str) -> Table:
    from rich.text import Text

    models = data.models(task)
    table = new_table(f"{task}: gap [{100 * data.confidence:g} %]")
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


def _findings(data: StudyData) -> Table:
    from rich.text import Text

    return findings_table(
        "Findings of arXiv 2412.02674, decided here",
        data.tables["findings"],
        ("task", "finding"),
        lambda row: (row["task"], Text(_statement(row))),
    )


def _statement(row: Mapping[str, Any]) -> str:
    """With the rule that decided it, where it is short."""
    rule = row["evidence"].partition(",")[0].partition(":")[0]
    return f"{row['statement']} ({rule})" if len(rule) < 40 else row["statement"]
