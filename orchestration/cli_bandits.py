"""``mindgap bandits``: simulate outcome-based bandits, print their regret, and say where the page is."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.option("--arms", "-k", multiple=True, type=int, help="Numbers of arms K, repeatable; default 10 to 3000.")
@click.option("--outcomes", "-m", type=int, help="Number of outcomes m; default 10.")
@click.option("--gap", "gaps", multiple=True, type=float, help="Gaps, repeatable; default .1 .2 .4, the worst counts.")
@click.option("--class-sizes", help="Arms per outcome: needle (default; one good arm), uniform or zipf.")
@click.option("--rounds", "-t", type=int, help="Arms pulled in a run; default 10000.")
@click.option("--runs", "-r", type=int, help="Runs; default 100.")
@click.option("--batch", type=int, help="Pulls between two updates of the algorithm batch; default 8.")
@click.option("--batch-weight", type=float, help="Weight of its penalty; default 0.2.")
@click.option("--seed", type=int, help="Default 0.")
@click.option("--name", help="Of the results: the column experiment, and the page; default bandits.")
def bandits(**options: Any) -> None:
    """Simulate bandits whose arms share outcomes: what is exploring by outcome worth (2509.06941)?

    \b
    Example: mindgap bandits
             mindgap bandits --arms 100 --arms 1000 --class-sizes uniform --name bandits-uniform
    """
    from ops.bandits.settings import bandit_settings
    from ops.lab import home_folder
    from ops.progress import terminal
    from ops.reporting.bandit_page import answer
    from ops.stages.bandits import TABLE, bandit_page_path, final_rows, simulate_bandits
    from ops.storage.catalog import rebuild_catalog
    from ops.storage.store import Store
    from orchestration.tables import aligned

    settings = bandit_settings({key: value for key, value in options.items() if value not in (None, ())})
    store = Store(home_folder())
    result = simulate_bandits(settings, store, progress=terminal())
    rebuild_catalog(store.home)
    frame = store.read(TABLE, result.fingerprint)
    click.echo(aligned(final_rows(frame).drop("n_outcomes", "round", "n_runs", "assumption")))
    click.echo(f"\n{answer(frame, settings)}")
    click.echo(f"The page:   {bandit_page_path(store.home, settings.name)} (and .png)")
    click.echo(f"By SQL:     mindgap sql \"FROM bandit_regret WHERE experiment = '{settings.name}'\"")
