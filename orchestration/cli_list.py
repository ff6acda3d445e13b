"""``mindgap list``: the experiments there are, and how far each has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ops.config import Experiment
from ops.errors import MindgapError
from ops.kinds import GROUPS, kind_of
from ops.lab import experiments_folder, home_folder, known_experiments, studies_folder
from ops.plan import EVALUATION_ASSETS, EXPLORATION_ASSETS, make_plan
from ops.stopping import stopped_at
from ops.storage.layout import CATALOG_NAME
from ops.storage.store import Store

PROGRESS = """
SELECT e.experiment, count(DISTINCT m.iteration) FILTER (m.asset = 'gap_metrics' AND m.is_current) AS measured,
       count(DISTINCT m.asset) FILTER (m.asset LIKE 'exploration/%' AND m.is_current) AS exploration,
       count(DISTINCT m.asset) FILTER (m.asset LIKE 'evaluation/%' AND m.is_current) AS evaluation,
       bool_or(m.asset = 'report' AND m.is_current) AS is_reported, max(m.created_at) AS last
FROM experiments e LEFT JOIN materializations m USING (experiment) GROUP BY 1"""


ASSETS = {"exploration": len(EXPLORATION_ASSETS), "evaluation": len(EVALUATION_ASSETS)}
SHOWN = 2
"""Win rates of one experiment that are listed; the others are counted."""


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
        rows.setdefault(of_study.get(name, ""), []).append(_row(experiment, known.get(name)))
    for study, part in rows.items():
        click.echo(f"\nstudy {study} (mindgap study {study})\n" if study else "", nl=bool(study))
        click.echo(aligned(pl.DataFrame(part).select(_shown_columns(part))))
    if not rows and not bad:
        click.echo(f"no experiment files in {experiments_folder()}")
    for error in bad.values():
        click.echo(f"cannot be used: {error}", err=True)


def _row(experiment: Experiment, known: Mapping[str, Any] | None) -> dict[str, object]:
    kind = kind_of(experiment)
    if kind in GROUPS:
        progress = f"{known[kind] if known else 0} of {ASSETS[kind]} assets"
    else:
        progress = _progress(experiment, known["measured"] if known else 0)
    return {
        "experiment": experiment.name,
        "task": experiment.task.name,
        "model": experiment.model.shown,
        "kind": "measurement" if kind == "loop" and not experiment.iterations else kind,
        "learns from": _teacher(experiment),
        "updates": experiment.iterations if experiment.exploration is None else experiment.exploration.steps,
        "measured": progress,
        "last result": known["last"].strftime("%Y-%m-%d %H:%M") if known and known["last"] else "never run",
        "win rates": _win_rates(experiment) if kind == "evaluation" and known else "",
    }


def _shown_columns(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """All, or all but the win rates where there are none."""
    return [name for name in rows[0] if name != "win rates" or any(row[name] for row in rows)]


def _win_rates(experiment: Experiment) -> str:
    """``b 0.62 [0.55, 0.69]; c 0.40 [0.33, 0.47]``: the estimates to quote; '' where nothing is estimated."""
    from ops.reporting.numbers import interval_of
    from ops.reporting.win_rate_summary import summarise_win_rates

    try:
        found = summarise_win_rates(experiment, make_plan(experiment), Store(home_folder()))
    except MindgapError:
        return f"cannot be read, mindgap report {experiment.name} says why"  # the others are listed all the same
    texts = []
    for model in found.judged:
        row = found.quoted(model)
        if row is not None and row["value"] is not None:
            item = interval_of(row)
            texts.append(f"{model} {item.value:.2f} [{item.low:.2f}, {item.high:.2f}]")
    more = len(texts) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; {more} more" if more > 0 else "")


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
