"""``mindgap list``: the experiments there are, and how far each has come."""

from __future__ import annotations

import click

from ops.config import Experiment
from ops.lab import experiments_folder, home_folder, known_experiments, studies_folder
from ops.plan import EXPLORATION_ASSETS, make_plan
from ops.stopping import stopped_at
from ops.storage.layout import CATALOG_NAME
from ops.storage.store import Store

PROGRESS = """
SELECT e.experiment, count(DISTINCT m.iteration) FILTER (m.asset = 'gap_metrics' AND m.is_current) AS measured,
       count(DISTINCT m.asset) FILTER (m.asset LIKE 'exploration/%' AND m.is_current) AS explored,
       bool_or(m.asset = 'report' AND m.is_current) AS is_reported, max(m.created_at) AS last
FROM experiments e LEFT JOIN materializations m USING (experiment) GROUP BY 1"""


def list_experiments() -> None:
    """Print one row per experiment, then the files that cannot be used."""
    import polars as pl

    from ops.storage.query import query
    from orchestration.tables import aligned

    good, bad = known_experiments()
    of_study = _studies()
    known = {}
    if (home_folder() / CATALOG_NAME).is_file():
        known = {row["experiment"]: row for row in query(home_folder(), PROGRESS).iter_rows(named=True)}
    rows: dict[str, list[dict[str, object]]] = {}
    for name, experiment in good.items():
        row = known.get(name)
        explores = experiment.exploration
        if explores is None:
            progress = _progress(experiment, row["measured"] if row else 0)
        else:
            progress = f"{row['explored'] if row else 0} of {len(EXPLORATION_ASSETS)} assets"
        rows.setdefault(of_study.get(name, ""), []).append(
            {
                "experiment": name,
                "task": experiment.task.name,
                "model": experiment.model.shown,
                "kind": _kind(experiment),
                "learns from": _teacher(experiment),
                "updates": experiment.iterations if explores is None else explores.steps,
                "measured": progress,
                "last result": row["last"].strftime("%Y-%m-%d %H:%M") if row and row["last"] else "never run",
            }
        )
    for study, part in rows.items():
        click.echo(f"\nstudy {study} (mindgap study {study})\n" if study else "", nl=bool(study))
        click.echo(aligned(pl.DataFrame(part)))
    if not rows and not bad:
        click.echo(f"no experiment files in {experiments_folder()}")
    for error in bad.values():
        click.echo(f"cannot be used: {error}", err=True)


def _kind(experiment: Experiment) -> str:
    """``loop``, ``exploration``, or ``measurement`` where nothing is trained."""
    if experiment.exploration is not None:
        return "exploration"
    return "loop" if experiment.iterations else "measurement"


def _teacher(experiment: Experiment) -> str:
    """The filter in words, or what rewards the policy beside the truth: its bonus."""
    if experiment.exploration is not None:
        return f"gold, bonus {experiment.exploration.bonus.name}"
    return experiment.filter.label if experiment.iterations else "-"


def _progress(experiment: Experiment, measured: int) -> str:
    """``3 of 4``, or ``2 of 4, stopped`` where one of its rules ended the loop."""
    stopped = None
    if experiment.stop and measured:
        stopped = stopped_at(experiment, make_plan(experiment), Store(home_folder()))
    if stopped is None:
        return f"{measured} of {experiment.iterations + 1}"
    return f"{min(measured, stopped[0] + 1)} of {experiment.iterations + 1}, stopped"


def _studies() -> dict[str, str]:
    """The study of every experiment that has none of its own files."""
    from ops.study_files import load_studies

    good, _ = load_studies(studies_folder())
    return {member.experiment.name: name for name, loaded in good.items() for member in loaded.members}
