"""An experiment over its iterations: the tables that curves are drawn from, stacked, and read as points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ops.config import Experiment
from ops.plan import Plan, asset_name, measures
from ops.reporting.numbers import interval_of, number_of
from ops.stages.chosen import CHOSEN
from ops.storage.schemas import COLUMNS, polars_schema
from ops.storage.store import Store
from ops.types import Interval

ASSET_OF = {
    "gap_metrics": "gap_metrics",
    "verifier_metrics": "verifier_metrics",
    "calibration_bins": "calibration_bins",
    "diversity_metrics": "diversity_metrics",
    "policy_shift": "policy_shift",
    "iteration_changes": "iteration_changes",
    "problem_flips": "problem_flips",
    "stopping_rules": "stopping_rules",
    "selection_metrics": "selection_metrics",
    "training_steps": "model",
    "saturation": "saturation",
    "sampling_choices": "sampling_choices",
}
"""The tables of a trajectory, and the asset whose fingerprint each lies under."""

Points = list[tuple[int, Interval]]
"""(iteration, estimate), ascending; iterations where the estimate is undefined are left out."""


@dataclass(frozen=True)
class Trajectory:
    """Tables of one experiment with the column ``iteration`` in front; of those with splits the evaluation split.

    Attributes:
        name: of the experiment.
        label: of the filter that the gap is shown for, in words; ``CHOSEN`` where a pilot chooses its threshold anew.
        verifier: the verifier that filter reads, or else the first; None where there is none.
        confidence: of every interval.
        iterations: those with gap metrics, ascending.
        tables: by name; without rows where nothing is there, or not yet.
    """

    name: str
    label: str
    verifier: str | None
    confidence: float
    iterations: tuple[int, ...]
    tables: Mapping[str, pl.DataFrame]

    def rows(self, table: str, **where: Any) -> list[dict[str, Any]]:
        """Rows whose columns have these values (None: NULL), by iteration."""
        frame = self.tables[table]
        for column, value in where.items():
            frame = frame.filter(pl.col(column).is_null() if value is None else pl.col(column) == value)
        return frame.sort("iteration", maintain_order=True).rows(named=True)

    def metric(self, name: str, k: int | None = None, table: str = "diversity_metrics") -> Points:
        """Of a table with a row for each metric."""
        where = {"metric": name, **({"k": k} if "k" in COLUMNS[table] else {})}
        return _defined((row["iteration"], interval_of(row)) for row in self.rows(table, **where))

    def column(self, table: str, name: str, **where: Any) -> Points:
        """Of a table with a column for each estimate, and its interval where the table has one."""
        return _points(self.rows(table, **where), name)

    def label_at(self, iteration: int) -> str:
        """The filter, in words, that the gap is shown for: the label, or what the iteration's pilot chose."""
        chosen = self.rows("sampling_choices", iteration=iteration, chosen=True) if self.label == CHOSEN else []
        return chosen[0]["rule"] if chosen else self.label

    def gaps(self, name: str) -> Points:
        """A column of ``gap_metrics`` of that filter."""
        labels = {k: self.label_at(k) for k in self.iterations}
        rows = [row for row in self.rows("gap_metrics") if row["rule"] == labels[row["iteration"]]]
        return _points(rows, name)

    def update_errors(self) -> dict[int, Interval]:
        """gap(t) − (J(t+1) − J(t)) of what was trained on after iteration t, by t (2412.02674)."""
        rows = self.rows("iteration_changes", metric="update_error", reference="previous")
        return dict(_defined((row["from_iteration"], interval_of(row)) for row in rows))

    def ks(self, name: str) -> list[int]:
        """Every k that a metric of ``diversity_metrics`` is measured at, ascending."""
        frame = self.tables["diversity_metrics"]
        found = frame.filter((pl.col("metric") == name) & pl.col("k").is_not_null() & pl.col("value").is_not_null())
        return sorted(found["k"].unique().to_list())

    def verifiers(self) -> list[str]:
        """Labels in the order of ``verifier_metrics``."""
        return self.tables["verifier_metrics"]["verifier"].unique(maintain_order=True).to_list()


def _defined(points: Any) -> Points:
    return [(iteration, item) for iteration, item in points if not math.isnan(item.value)]


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> Points:
    """One column of rows, with its interval where they have one."""
    nan = math.nan
    return _defined(
        (row["iteration"], interval_of(row, name) if f"{name}_low" in row else Interval(number_of(row[name]), nan, nan))
        for row in rows
    )


def read_trajectory(experiment: Experiment, plan: Plan, store: Store, last: int) -> Trajectory:
    """Read what there is of iterations 0..``last``; a table that is missing has no rows.

    Raises:
        StorageError: when a table is damaged.
    """
    tables = {table: _stacked(experiment, plan, store, table, last) for table in ASSET_OF}
    gaps = tables["gap_metrics"]
    labels = gaps["rule"].unique(maintain_order=True).to_list()
    chosen = experiment.filter
    label = chosen.label if chosen.label in labels else next(iter(labels), "")
    read = gaps.filter(pl.col("rule") == label)["verifier"].to_list()
    if experiment.chooses_threshold and tables["sampling_choices"].height:
        label = CHOSEN
    known = [verifier.called for verifier in experiment.verifiers]
    return Trajectory(
        name=experiment.name,
        label=label,
        verifier=next((name for name in [*read, *known] if name in known), None),
        confidence=experiment.statistics.confidence,
        iterations=tuple(sorted(gaps["iteration"].unique().to_list())),
        tables=tables,
    )


def _stacked(experiment: Experiment, plan: Plan, store: Store, table: str, last: int) -> pl.DataFrame:
    asset = ASSET_OF[table]
    if asset == "saturation":
        places: list[int | None] = [None]
    else:
        places = [k for k in range(last + 1) if measures(asset, k, experiment.iterations)]
    parts = []
    for k in places:
        fingerprint = plan.fingerprints.get(asset_name(asset, k))
        if fingerprint is not None and store.has(table, fingerprint):
            iteration = pl.lit(0 if k is None else k, pl.Int64).alias("iteration")
            parts.append(store.read(table, fingerprint).select(iteration, *COLUMNS[table]))
    if not parts:
        return pl.DataFrame(schema={"iteration": pl.Int64(), **polars_schema(table)})
    frame = pl.concat(parts)
    return frame.filter(pl.col("split") == "eval") if "split" in frame.columns else frame
