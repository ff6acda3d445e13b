"""What a study's page, tables and terminal show, read from the tables of its experiments and its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ops.models import BuiltinModel
from ops.plan import VERIFIER_ASSETS
from ops.reporting.numbers import interval_of
from ops.reporting.provenance import ProvenanceRow, read_provenance
from ops.study import is_cross
from ops.study_plan import STUDY_TABLES, StudyBench
from ops.types import Interval

ITERATION_TABLES = ("gap_metrics", *VERIFIER_ASSETS, "diversity_metrics")
OWN_TABLES = {
    "scaling_points": "scaling_points",
    "scaling_laws": "scaling_law",
    "cross_verification": "cross_verification",
    "findings": "findings",
}
"""Study tables by the asset whose fingerprint they have."""


@dataclass(frozen=True)
class Row:
    """One model on one task.

    Attributes:
        task, model: labels of the study.
        words: the model in words.
    """

    experiment: str
    task: str
    model: str
    words: str
    family: str
    n_parameters: int | None
    flops: float | None
    is_builtin: bool
    accuracy: Interval
    n_problems: int
    n_responses: int
    n_train_responses: int


@dataclass(frozen=True)
class StudyData:
    """A study as far as its experiments have come.

    Attributes:
        rows: by task, then by FLOPs ascending (unknown ones last, in the study's order).
        tables: by name; those of experiments with the columns ``experiment``, ``task`` and ``model`` in front.
        missing: experiments that are not complete.
        own: labels of the checks by which models check themselves, in the study's order; ``mechanisms``: their names.
        provenance: of every experiment, by name.
    """

    name: str
    hypothesis: str
    confidence: float
    resamples: int
    rows: tuple[Row, ...]
    tables: Mapping[str, pl.DataFrame]
    missing: tuple[str, ...]
    own: tuple[str, ...]
    mechanisms: Mapping[str, str]
    provenance: Mapping[str, tuple[ProvenanceRow, ...]]
    fingerprints: Mapping[str, str]

    @property
    def tasks(self) -> list[str]:
        """In the study's order."""
        return list(dict.fromkeys(row.task for row in self.rows))

    def models(self, task: str | None = None) -> list[str]:
        """By FLOPs ascending."""
        return list(dict.fromkeys(row.model for row in self.rows if task in (None, row.task)))

    def labels_of(self, mechanism: str) -> list[str]:
        """Checks of one mechanism."""
        return [label for label in self.own if self.mechanisms[label] == mechanism]


def read_study(bench: StudyBench) -> StudyData:
    """Read everything that is committed.

    Raises:
        StorageError: when a study table is missing or any table is damaged.
    """
    rows = sorted(_rows(bench), key=_order(bench))
    own: dict[str, str] = {}
    for name, lab in bench.labs.items():
        member = bench.members[name]
        own |= {item.called: item.name for item in lab.experiment.verifiers if not is_cross(item, member)}
    tables = {table: _stacked(bench, table) for table in ITERATION_TABLES}
    for table, asset in OWN_TABLES.items():
        tables[table] = bench.store.read(table, bench.fingerprints[asset])
    statistics = bench.study.statistics
    return StudyData(
        name=bench.study.name,
        hypothesis=" ".join(bench.study.hypothesis.split()),
        confidence=statistics.confidence,
        resamples=statistics.resamples,
        rows=tuple(rows),
        tables=tables,
        missing=bench.missing,
        own=tuple(own),
        mechanisms=own,
        provenance={name: read_provenance(lab.experiment, lab.plan, bench.store) for name, lab in bench.labs.items()},
        fingerprints={asset: bench.fingerprints[asset] for asset in STUDY_TABLES},
    )


def _rows(bench: StudyBench) -> list[Row]:
    found = []
    for name, lab in bench.labs.items():
        member, compute = bench.members[name], bench.compute_of(name)
        gaps = bench.read(name, "gap_metrics")
        first = gaps.filter(pl.col("split") == "eval").row(0, named=True)
        train = gaps.filter(pl.col("split") == "train")
        model = lab.experiment.model
        is_builtin = isinstance(model, BuiltinModel)
        steps = f", {model.steps:,} steps of {model.batch_size} documents" if isinstance(model, BuiltinModel) else ""
        found.append(
            Row(
                experiment=name,
                task=member.task,
                model=member.model,
                words=f"{model.shown}{steps}",
                family=compute.family,
                n_parameters=compute.n_parameters,
                flops=compute.flops,
                is_builtin=is_builtin,
                accuracy=interval_of(first, "accuracy"),
                n_problems=first["n_problems"],
                n_responses=first["n_responses"],
                n_train_responses=train["n_responses"][0] if train.height else 0,
            )
        )
    return found


def _order(bench: StudyBench) -> Any:
    tasks = list(dict.fromkeys(member.task for member in bench.members.values()))
    places = {name: i for i, name in enumerate(bench.labs)}

    def key(row: Row) -> tuple[int, float, int]:
        return tasks.index(row.task), row.flops or math.inf, places[row.experiment]

    return key


def _stacked(bench: StudyBench, table: str) -> pl.DataFrame:
    """One table of iteration 0 of all experiments, one below the other."""
    parts = []
    for name, lab in bench.labs.items():
        if not lab.store.has(table, lab.plan.fingerprints[f"iteration_0/{table}"]):
            continue
        member = bench.members[name]
        where = {"experiment": name, "task": member.task, "model": member.model}
        frame = bench.read(name, table)
        parts.append(frame.select(*(pl.lit(value).alias(key) for key, value in where.items()), pl.all()))
    return pl.concat(parts) if parts else pl.DataFrame()
