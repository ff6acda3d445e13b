"""``mindgap report``: an experiment's numbers on the terminal, and where to look next."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ops.errors import StorageError
from ops.lab import PROJECT, home_folder, named_experiment
from ops.plan import make_plan
from ops.storage.store import Store

PIPE_WIDTH = 120
"""Columns when the output is not a terminal."""


def show_report(names: list[str], *, next_steps: bool = True) -> None:
    """Print the table of one or more experiments, from what is stored.

    Raises:
        ExperimentError: when a file cannot be used.
        StorageError: when nothing is measured yet.
    """
    from rich.console import Console

    from ops.reporting.summary import summarise
    from ops.reporting.table import terminal_table

    store, summaries = Store(home_folder()), []
    for name in names:
        experiment = named_experiment(name)
        summary = summarise(experiment, make_plan(experiment), store)
        if not summary.iterations:
            raise StorageError(f"experiment {name}", "has no results yet", remedy=f"mindgap run {name}")
        summaries.append(summary)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(terminal_table(summaries))
    if next_steps:
        click.echo("\n".join(_next_steps(names)))


def _next_steps(names: list[str]) -> list[str]:
    home = home_folder()
    lines = ["", "Where to look next:"]
    for name in names:
        page = home / "reports" / f"{name}.html"
        if page.is_file():
            lines.append(f"  {_short(page):<50} the page: plots, examples, where each number comes from")
    places = {
        "make ui": "the asset graph on http://127.0.0.1:3000",
        "make mlflow": "metrics over iterations, model versions",
        'mindgap sql "FROM gap_metrics"': f"all of it by SQL (docs/sql.md), from {_short(home / 'mindgap.duckdb')}",
    }
    return [*lines, *(f"  {place:<50} {what}" for place, what in places.items())]


def _short(path: Path) -> str:
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
