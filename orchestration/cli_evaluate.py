"""``mindgap evaluate``: plan, export, import and use human labels of an experiment with ``evaluation``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from ops.lab import Lab
    from ops.stages.label_imports import Imported

PIPE_WIDTH = 120
"""Columns when the output is not a terminal."""
ALLOWED = "unknown, out-of-range, duplicate, unrequested"


def _named(command: Callable[..., None]) -> Callable[..., None]:
    return click.argument("name", metavar="NAME")(command)


class _InOrder(click.Group):
    """Commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, no_args_is_help=True)
def evaluate() -> None:
    """Honest win rates from few human labels and a cheap judge (2502.10563).

    A judge, such as a model that compares responses, judges all N pairs, and people label n of them, drawn at random.
    The mean label is corrected by how much the judge's mean over the labelled pairs differs from its mean over all
    pairs, which is unbiased whatever the judge is worth: a useless one costs next to nothing
    (about one label for each judge), a good one makes the interval narrower. What it saves of the labels is
    rho^2 (1 - n/N), where rho is the correlation of labels and judgements.

    \b
    In turn: mindgap run NAME                        pairs and judgements
             mindgap evaluate plan NAME              how many labels?
             mindgap evaluate export NAME to-label.csv
             mindgap evaluate import NAME to-label.csv --annotator WHO
             mindgap evaluate estimate NAME
    """


def _between(low: float, high: float) -> Callable[[click.Context, click.Parameter, float | None], float | None]:
    """An option's value is between the two, both excluded; NaN is not."""

    def check(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
        if value is not None and not low < value < high:
            raise click.BadParameter(f"expected a number between {low:g} and {high:g}, both excluded, got {value:g}")
        return value

    return check


@evaluate.command()
@_named
@click.option(
    "--width",
    default=0.05,
    show_default=True,
    callback=_between(0, 0.5),
    help="Half-width of the interval that is wished for.",
)
@click.option(
    "--correlation",
    type=float,
    callback=_between(-1, 1),
    help="Suppose this correlation of labels and judge, whatever labels say.",
)
@click.option("--n", type=click.IntRange(min=1), help="Tell the saving of so many labels; default: those there are.")
def plan(name: str, width: float, correlation: float | None, n: int | None) -> None:
    """Say what labels will be worth: the judges' saving, labels for an interval, intervals for labels.

    Before there are labels correlations are supposed, and win rates of one half: the worst case.

    \b
    Example: mindgap evaluate plan win-rates --width 0.04
             mindgap evaluate plan win-rates --correlation 0.6
    """
    from ops.reporting.label_plan_table import needed_table, width_table
    from ops.stages.label_plans import plan_labels

    lab = _lab(name)
    plans = plan_labels(lab, width, correlation=correlation, n=n)
    for table in (needed_table(plans, width, lab.experiment.statistics.confidence), width_table(plans)):
        _print(table)
        click.echo()
    for item in plans:
        if item.problem:
            click.echo(f"{item.model}, {item.judge or 'human labels'}: {item.problem}")
    if any(item.is_supposed for item in plans):
        click.echo("Correlations are supposed: label a first wave, and plan again with its own.")


@evaluate.command()
@_named
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option("--n", default=100, show_default=True, type=click.IntRange(min=1), help="Pairs of each model.")
@click.option(
    "--design",
    default="uniform",
    show_default=True,
    type=click.Choice(["uniform", "neyman"]),
    help="At random among all pairs; or by categories, more where the labels so far vary more.",
)
@click.option("--model", help="Only pairs of this model; default: of every one.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the draw; default: evaluation.seed.")
@click.option("--wave", type=click.IntRange(min=0), help="Write an earlier wave again, for another annotator.")
def export(name: str, target: Path, n: int, design: Any, model: str | None, seed: int | None, wave: int | None) -> None:
    """Draw the next pairs to label, and write them into FILE (.csv or .jsonl) for people to fill in.

    FILE is blind: A and B are in random order, and no column says whose they are. Each export is a wave of pairs that
    no earlier one drew, in random order: who does not finish labels from the top.

    \b
    Example: mindgap evaluate export win-rates to-label.csv
             mindgap evaluate export win-rates more.csv --n 50 --design neyman
             mindgap evaluate export win-rates again.csv --wave 0
    """
    from ops.stages.label_waves import export_again, export_wave

    _refuse_with_wave(wave)
    lab = _lab(name)
    if wave is not None:
        done = export_again(lab, target, wave)
    else:
        done = export_wave(lab, target, n=n, design=design, model=model, seed=seed)
    ties = sum(not item.asked for item in done.requests)
    click.echo(f"{target}: {done.rows:,} pairs to label (wave {done.wave})")
    if ties:
        click.echo(f"{ties:,} more were drawn whose responses are equal: ties, which nobody is asked about")
    for label, left in done.left.items():
        click.echo(f"{label}: {left:,} pairs are left to draw")
    words = (
        "1, 0, or a number between" if lab.evaluation.estimand == "accuracy" else "a, b, tie, or a number from 0 to 1"
    )
    click.echo(f"Fill in the column label ({words}), then: mindgap evaluate import {name} {target} --annotator WHO")


def _refuse_with_wave(wave: int | None) -> None:
    """Options of a draw where nothing is drawn."""
    context = click.get_current_context()
    for option in ("n", "design", "model", "seed"):
        if wave is not None and context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{option} with --wave: wave {wave} is written again as it was drawn")


@evaluate.command(name="import")
@_named
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE")
@click.option("--annotator", help="Who labelled; rows that name somebody keep that name.")
@click.option("--allow", default="", metavar="WHAT", help=f"Count such rows instead of refusing FILE: {ALLOWED}.")
@click.option("--replace", is_flag=True, help="Let a new label take the place of the same annotator's other one.")
def import_(name: str, source: Path, annotator: str | None, allow: str, replace: bool) -> None:
    """Take the labels of FILE, filled in as far as it may be, into the experiment's file of labels.

    All that is wrong is told at once, and then nothing is changed. With --allow, rows of unknown pairs and labels
    out-of-range are left out, of an annotator's different labels of one pair (duplicate) the last one counts, and
    labels of pairs that no export drew (unrequested) are kept, without a wave.

    \b
    Example: mindgap evaluate import win-rates to-label.csv --annotator ada
             mindgap evaluate import win-rates to-label.csv --annotator ada --allow out-of-range,duplicate
    """
    from ops.evaluation.answers import EXCLUSIONS
    from ops.stages.label_imports import import_labels

    allowed = [item.strip() for item in allow.split(",") if item.strip()]
    wrong = [item for item in allowed if item not in EXCLUSIONS]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is none of {ALLOWED}", param_hint="--allow")
    lab = _lab(name)
    done = import_labels(lab, source, annotator=annotator, allow=allowed, replacing=replace)
    click.echo("\n".join(_import_lines(done)))
    if lab.evaluation.learning_judges:
        click.echo(f"Now: mindgap run {name}   (judges learn from the labels before there are estimates)")
    else:
        click.echo(f"Now: mindgap evaluate estimate {name}   (or mindgap run {name}, which also writes the page)")


@evaluate.command()
@_named
def estimate(name: str) -> None:
    """Estimate from the pairs, judgements and labels that there are, and show the table; asks no model.

    \b
    Example: mindgap evaluate estimate win-rates
    """
    from ops.errors import StorageError
    from ops.lab import Lab
    from ops.plan import evaluation_asset
    from ops.progress import terminal
    from ops.reporting.win_rate_table import terminal_win_rates
    from ops.stages.human_labels import read_labels, stored_pairs
    from ops.stages.labelled_pairs import check_judged, has_tuned
    from ops.stages.win_rates import estimate_win_rates
    from ops.storage.catalog import rebuild_catalog

    _check(_lab(name))
    lab = Lab.open(name, progress=terminal())
    stored_pairs(lab)
    check_judged(lab)
    read_labels(lab)
    if not has_tuned(lab):
        problem = (
            f"{evaluation_asset('tuned_judgements')} is not there for these labels, which judges have to learn from"
        )
        raise StorageError(name, problem, remedy=f"run `mindgap run {name}`")
    estimate_win_rates(lab)
    rebuild_catalog(lab.store.home)
    _print(terminal_win_rates(lab))


def _lab(name: str) -> Lab:
    """A lab to read from and label in: it registers nothing."""
    from ops.lab import Lab, home_folder, named_experiment
    from ops.plan import make_plan
    from ops.storage.store import Store

    experiment = named_experiment(name)
    lab = Lab(experiment, make_plan(experiment), Store(home_folder()))
    _check(lab)
    return lab


def _check(lab: Lab) -> None:
    """Refuse an experiment that compares no models."""
    assert lab.evaluation is not None  # or ExperimentError


def _import_lines(done: Imported) -> list[str]:
    answers, merged = done.answers, done.merged
    changes = f"{merged.new:,} new, {merged.replaced:,} replaced, {merged.same:,} known"
    lines = [f"{done.path}: {merged.total:,} labels ({changes})"]
    counts = {"not labelled yet": answers.empty, "said twice": answers.repeated, **answers.excluded}
    lines += [f"{words}: {count:,} rows" for words, count in counts.items() if count]
    if answers.excluded.get("unrequested"):
        lines.append("Labels that no export asked for are kept, but were not drawn at random: reports say so.")
    if done.passed_over:
        lines.append(
            f"{done.passed_over:,} pairs were passed over while later ones were labelled: if they were left out for "
            "what they are, the estimate is biased; label them, as a tie where neither is better."
        )
    found = done.agreement
    if found.n_pairs:
        several = (
            f"{found.n_pairs:,} pairs have labels of several annotators, {found.n_conflicts:,} of them different ones"
        )
        lines.append(f"{several}: {_interval(found.percent)} agree, Krippendorff's alpha {_interval(found.alpha)}")
    return lines


def _interval(item: Any) -> str:
    from ops.reporting.words import interval

    return interval(item)


def _print(shown: Any) -> None:
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(shown)
