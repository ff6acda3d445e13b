"""``mindgap list``: the experiments there are, and how far each has come."""

from __future__ import annotations

import click

from ops.config import load_experiments
from ops.lab import experiments_folder, home_folder
from ops.storage.layout import CATALOG_NAME

PROGRESS = """
SELECT e.experiment, count(DISTINCT m.iteration) FILTER (m.asset = 'gap_metrics' AND m.is_current) AS measured,
       bool_or(m.asset = 'report' AND m.is_current) AS is_reported, max(m.created_at) AS last
FROM experiments e LEFT JOIN materializations m USING (experiment) GROUP BY 1"""


def list_experiments() -> None:
    """Print one row per experiment, then the files that cannot be used."""
    import polars as pl

    from ops.storage.query import query
    from orchestration.tables import aligned

    good, bad = load_experiments(experiments_folder())
    known = {}
    if (home_folder() / CATALOG_NAME).is_file():
        known = {row["experiment"]: row for row in query(home_folder(), PROGRESS).iter_rows(named=True)}
    rows = []
    for name, experiment in good.items():
        row = known.get(name)
        measured = row["measured"] if row else 0
        rows.append(
            {
                "experiment": name,
                "task": experiment.task.name,
                "model": _model(experiment.model),
                "filter": " ".join(
                    str(part) for part in (experiment.filter.name, experiment.filter.verifier_name) if part
                ),
                "iterations": experiment.iterations,
                "measured": f"{measured} of {experiment.iterations + 1}",
                "last result": row["last"].strftime("%Y-%m-%d %H:%M") if row and row["last"] else "never run",
            }
        )
    if rows:
        click.echo(aligned(pl.DataFrame(rows)))
    elif not bad:
        click.echo(f"no experiment files in {experiments_folder()}")
    for error in bad.values():
        click.echo(f"cannot be used: {error}", err=True)


def _model(model: object) -> str:
    kind = getattr(model, "kind", "")
    if kind == "builtin":
        return f"builtin {model.recipe} {model.size}"  # type: ignore[attr-defined]
    return str(getattr(model, "id", None) or getattr(model, "path", ""))
