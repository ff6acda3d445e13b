"""``mindgap report`` and ``mindgap compare``: numbers on the terminal, pages to send, and where to look next."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ops.errors import ExperimentError, StorageError
from ops.kinds import Kind, kind_of
from ops.lab import PROJECT, Lab, home_folder, named_experiment
from ops.plan import make_plan
from ops.storage.atomic import write_text_atomically
from ops.storage.store import Store

PIPE_WIDTH = 120
"""Columns when the output is not a terminal."""


def show_report(names: list[str], *, next_steps: bool = True) -> None:
    """Print one experiment in full, or the progress tables of several, from what is stored.

    Raises:
        ExperimentError: when a file cannot be used.
        StorageError: when nothing is measured yet.
    """
    from ops.reporting.table import terminal_report, terminal_table
    from ops.stages.report import summary_of

    labs = [_bench(name) for name in names]
    summaries = [summary_of(lab) for lab in labs]
    for name, summary in zip(names, summaries, strict=True):
        if not summary.is_measured:
            raise StorageError(f"experiment {name}", "has no results yet", remedy=f"mindgap run {name}")
    _console().print(terminal_report(summaries[0]) if len(summaries) == 1 else terminal_table(summaries))
    if next_steps:
        click.echo("\n".join(_next_steps(names, [kind_of(lab.experiment) for lab in labs])))


def write_page(name: str, path: Path) -> None:
    """Draw an experiment's page afresh from what is stored, into a file of the user's.

    Raises:
        ExperimentError: when its file cannot be used.
        StorageError: when nothing is measured yet, or the file cannot be written.
    """
    from ops.stages.report import page_of

    lab = _bench(name)
    summary, html = page_of(lab)
    if not summary.is_measured:
        raise StorageError(f"experiment {name}", "has no results yet", remedy=f"mindgap run {name}")
    _write(path, html)


def show_comparison(names: list[str], iteration: int | None, html: Path | None) -> None:
    """Print the comparison of two or more experiments; with ``html`` write its page as well.

    Raises:
        ExperimentError: when a file cannot be used, when fewer than two experiments are named, or some that cannot be
            compared (docs/reports.md).
        StorageError: when there is no iteration at which all are measured, or one is not evaluated.
    """
    from ops.reporting.compare import compare
    from ops.reporting.compare_page import comparison_page
    from ops.reporting.compare_table import sentence, terminal_comparison
    from ops.reporting.summary import summarise

    labs = [_bench(name) for name in names]
    for lab in labs:
        if kind_of(lab.experiment) == "evaluation":
            problem = f"{lab.experiment.name} compares models itself: it has no iterations to compare with others"
            remedy = f"leave it out; `mindgap report {lab.experiment.name}` shows its models side by side"
            raise ExperimentError("mindgap compare", problem, remedy=remedy)
    if any(lab.experiment.exploration is not None for lab in labs):
        _show_policies(labs, iteration, html)
        return
    found = compare(labs, iteration)
    console = _console()
    console.print(terminal_comparison(found))
    console.print(sentence(found))
    if html is not None:
        summaries = [summarise(lab.experiment, lab.plan, lab.store) for lab in labs]
        _write(html, comparison_page(found, summaries))
        click.echo(f"\n{html}: one file, needs no network")


def _show_policies(labs: list[Lab], iteration: int | None, html: Path | None) -> None:
    """Print the comparison of experiments with exploration, at the end of their trainings.

    Raises:
        ExperimentError: when an iteration or a page is asked for, or they cannot be compared.
    """
    from ops.reporting.compare_exploration import compare_policies
    from ops.reporting.compare_exploration_table import policies_sentence, terminal_policies

    if iteration is not None:
        problem = "experiments with exploration have no iterations"
        raise ExperimentError("mindgap compare", problem, field="--iteration", remedy="leave it out")
    if html is not None:
        problem = "there is no page of a comparison of experiments with exploration"
        remedy = "leave it out, or make them arms of a study of exploration, which has a page"
        raise ExperimentError("mindgap compare", problem, field="--html", remedy=remedy)
    found = compare_policies(labs)
    console = _console()
    console.print(terminal_policies(found))
    console.print(policies_sentence(found))


def open_pages(names: list[str], html: Path | None) -> None:
    """Open the experiments' pages in a browser, or the one at ``html``; say where they are if there is none."""
    for name in names:
        page = html or home_folder() / "reports" / f"{name}.html"
        if not page.is_file():
            raise StorageError(
                str(page), "no page yet", remedy=f"mindgap run {name}, or `mindgap report {name} --html`"
            )
        if click.launch(page.resolve().as_uri()) != 0:
            click.echo(f"no browser could be started; the page is {page.resolve()}", err=True)


def _bench(name: str) -> Lab:
    """A lab to read from: it registers nothing."""
    experiment = named_experiment(name)
    return Lab(experiment, make_plan(experiment), Store(home_folder()))


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def _write(path: Path, text: str) -> None:
    try:
        write_text_atomically(path, text)
    except OSError as error:
        raise StorageError(
            str(path), f"cannot be written: {error.strerror or error}", remedy="name another file"
        ) from None


WHERE: dict[Kind, tuple[str, str]] = {
    "loop": ("iterations", "gap_metrics"),
    "exploration": ("steps", "policy_evaluation"),
    "evaluation": ("labels", "win_rates"),
}
"""By kind of experiment: what MLflow draws its metrics over, and the table to look at first."""


def _next_steps(names: list[str], of: list[Kind]) -> list[str]:
    """``of``: the kind of each."""
    home = home_folder()
    lines = ["", "Where to look next:"]
    for name, kind in zip(names, of, strict=True):
        page = home / "reports" / f"{name}.html"
        if page.is_file():
            examples = "" if kind == "evaluation" else " examples,"
            lines.append(f"  {_short(page):<50} the page: plots,{examples} where each number comes from")
    kinds = [where for kind, where in WHERE.items() if kind in of]
    over, tables = " and ".join(words for words, _ in kinds), [table for _, table in kinds]
    places = {
        "make ui": "the asset graph on http://127.0.0.1:3000",
        "make mlflow": f"metrics over {over}, model versions",
    }
    by_sql = f"all of it by SQL (docs/sql.md), from {_short(home / 'mindgap.duckdb')}"
    places |= {f'mindgap sql "FROM {table}"': by_sql for table in tables}
    return [*lines, *(f"  {place:<50} {what}" for place, what in places.items())]


def _short(path: Path) -> str:
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
