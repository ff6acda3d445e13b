"""The ``mindgap`` command. Each subcommand imports what it needs when it runs, so that ``--help`` is instant."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from ops.errors import MindgapError
from orchestration.cli_bandits import bandits
from orchestration.cli_evaluate import evaluate

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Commands(click.Group):
    """Commands in the order in which a person meets them; an error that a user can mend is one message, no trace."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MindgapError as error:
            click.echo(f"mindgap: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings=SETTINGS)
def main() -> None:
    """Mindgap: can this model improve itself, how much, by which check, until when, and at what cost?

    Results lie under MINDGAP_HOME (default: .mindgap in the clone).
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)


@main.command()
@click.argument("experiments", nargs=-1, metavar="EXPERIMENT...")
@click.option("--all", "every", is_flag=True, help="Every valid file of experiments/.")
@click.option("--verbose", is_flag=True, help="Show Dagster's own log as well.")
def run(experiments: tuple[str, ...], every: bool, verbose: bool) -> None:
    """Run experiments from problems to report; what was computed before is reused.

    \b
    Example: mindgap run demo
             mindgap run demo-gold demo-unfiltered
    """
    from orchestration.cli_run import run_experiments

    sys.exit(run_experiments(list(experiments), every=every, verbose=verbose))


@main.command()
@click.argument("name", metavar="STUDY")
@click.option("--report", "report_only", is_flag=True, help="Only the study's tables and report, from what is there.")
@click.option("--verbose", is_flag=True, help="Show Dagster's own log as well.")
def study(name: str, report_only: bool, verbose: bool) -> None:
    """Run a study (studies/STUDY.yaml), then write its report: every model on every task with every check, or every
    arm with every seed.

    \b
    Example: mindgap study builtin
             mindgap study iterate
             mindgap study builtin --report
    """
    from orchestration.cli_study import run_study

    sys.exit(run_study(name, report_only=report_only, verbose=verbose))


@main.command(name="list")
def list_() -> None:
    """List the experiments, their state and their last gap; files with errors too.

    \b
    Example: mindgap list
    """
    from orchestration.cli_list import list_experiments

    list_experiments()


@main.command()
@click.argument("statement", metavar="QUERY")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write FILE.parquet or FILE.csv.")
def sql(statement: str, output: Path | None) -> None:
    """Ask a read-only SQL question of everything ever computed (tables: docs/sql.md).

    \b
    Example: mindgap sql "SELECT experiment, iteration, accuracy, gap FROM gap_metrics WHERE split = 'eval'"
             mindgap sql "SELECT * FROM generations" --output generations.parquet
    """
    from ops.lab import home_folder
    from ops.storage.query import query, write_result

    frame = query(home_folder(), statement)
    if output is not None:
        write_result(frame, output)
        click.echo(f"{frame.height:,} rows in {output}", err=True)
        return
    from orchestration.tables import aligned

    click.echo(aligned(frame))


@main.command()
@click.argument("experiments", nargs=-1, required=True, metavar="EXPERIMENT...")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the page to FILE, to send it.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
def report(experiments: tuple[str, ...], html: Path | None, open_page: bool) -> None:
    """Show an experiment's results, all of them; of several, one short table each.

    \b
    Example: mindgap report demo
             mindgap report demo --html demo.html
             mindgap report demo demo-gold demo-unfiltered
    """
    from orchestration.cli_report import open_pages, show_report, write_page

    if html is not None:
        if len(experiments) != 1:
            raise click.UsageError("--html takes one experiment")
        write_page(experiments[0], html)
        click.echo(f"{html}: one file, needs no network")
    else:
        show_report(list(experiments))
    if open_page:
        open_pages(list(experiments), html)


@main.command()
@click.argument("experiments", nargs=-1, required=True, metavar="A B [C...]")
@click.option("--iteration", type=click.IntRange(min=0), help="Only this iteration; default: all that each one has.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with curves to FILE.")
def compare(experiments: tuple[str, ...], iteration: int | None, html: Path | None) -> None:
    """Compare experiments, paired by problem: what differs in settings, then in results. A is subtracted.

    \b
    Example: mindgap compare demo-unfiltered demo
             mindgap compare demo demo-gold demo-unfiltered --iteration 3
             mindgap compare demo demo-gold --html comparison.html
    """
    from orchestration.cli_report import show_comparison

    show_comparison(list(experiments), iteration, html)


main.add_command(evaluate)
main.add_command(bandits)


@main.command()
def recover() -> None:
    """Clean up after a crash: fail dead runs, free their pool slots, remove leftovers. `run` and `ui` do it too.

    \b
    Example: mindgap recover
    """
    from ops.storage.catalog import rebuild_catalog
    from orchestration.instance import open_instance, prepare_environment
    from orchestration.recover import recover as recover_runs

    home = prepare_environment()
    with open_instance() as instance:
        lines = recover_runs(instance, home)
    catalog = rebuild_catalog(home)
    lines += [f"damaged: {problem}" for problem in catalog.problems]
    click.echo("\n".join(lines) if lines else "nothing to recover")


@main.command()
@click.option("--port", default=3000, show_default=True, help="Port on 127.0.0.1.")
def ui(port: int) -> None:
    """Open the asset graph: Dagster on http://127.0.0.1:3000, this machine only.

    \b
    Example: mindgap ui
    """
    from orchestration.cli_ui import serve

    sys.exit(serve(port))


@main.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE.duckdb")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def export(target: Path, overwrite: bool) -> None:
    """Write one portable DuckDB file with every table inside, for a colleague or an archive.

    \b
    Example: mindgap export results.duckdb
    """
    from ops.lab import home_folder
    from ops.storage.export import export as export_tables

    rows = export_tables(home_folder(), target, overwrite=overwrite)
    click.echo(f"{sum(rows.values()):,} rows of {len(rows)} tables in {target}")


@main.command()
def version() -> None:
    """Show the versions of Mindgap and of what its results depend on.

    \b
    Example: mindgap version
    """
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    for name in ("mindgap", "dagster", "duckdb", "mlflow", "polars", "torch", "transformers"):
        try:
            click.echo(f"{name:<13}{installed(name)}")
        except PackageNotFoundError:
            click.echo(f"{name:<13}not installed")


if __name__ == "__main__":
    main()
