"""What the page and the terminal show of a study of exploration, read from its own tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ops.exploration_bench import EXPLORATION_TABLES, ExplorationBench, TaskBench
from ops.exploration_findings import Both, side
from ops.exploration_study import BASE, TALK_K
from ops.models import BuiltinModel
from ops.reporting.arms_data import Cell, cell_of
from ops.reporting.numbers import interval_of, number_of
from ops.reporting.provenance import ProvenanceRow, read_provenance
from ops.types import Interval


@dataclass(frozen=True)
class TaskShown:
    """One task of the study.

    Attributes:
        label: the study's; ``task`` is the name of the task itself.
        steps: of training.
        ks: at which pass@k is measured, rising.
        arms: labels of those of which something is measured on it, in the order of the study.
        reference: the arm that others are compared with; None where nothing of it is measured.
        seeds: of every arm, those that are measured.
    """

    label: str
    task: str
    model: str
    n_problems: int
    n_responses: int
    steps: int
    ks: tuple[int, ...]
    arms: tuple[str, ...]
    reference: str | None
    seeds: Mapping[str, tuple[int, ...]]

    @property
    def shown_ks(self) -> list[int]:
        """1, 32 where it is measured, and the largest k."""
        return sorted({k for k in (1, TALK_K, self.ks[-1]) if k in self.ks}) if self.ks else []


@dataclass(frozen=True)
class ExplorationData:
    """A study of exploration as far as its experiments have come.

    Attributes:
        tasks: those of which something is measured, in the order of the study.
        arms: labels, in the order of the study, with how each is trained in words.
        tables: the study's own, by name.
        experiments: (task, arm, seed) by experiment name.
        provenance: of every experiment, by name.
        fingerprints: by the keys of ``EXPLORATION_TABLES``.
    """

    name: str
    hypothesis: str
    is_builtin: bool
    confidence: float
    resamples: int
    tasks: tuple[TaskShown, ...]
    arms: Mapping[str, str]
    tables: Mapping[str, pl.DataFrame]
    missing: tuple[str, ...]
    experiments: Mapping[str, tuple[str, str, int]]
    provenance: Mapping[str, tuple[ProvenanceRow, ...]]
    fingerprints: Mapping[str, str]

    @property
    def seeds(self) -> list[int]:
        """Of all measured experiments."""
        return sorted({seed for _, _, seed in self.experiments.values()})

    def task(self, label: str) -> TaskShown:
        """By its label."""
        return next(task for task in self.tasks if task.label == label)

    def cell(self, task: str, arm: str, metric: str, k: int | None = None, questions: str | None = None) -> Cell | None:
        """Over seeds, of the trained policy (``base``: of the base model); None where it is not measured."""
        rows = self._rows(task, arm, metric, k, questions).filter(pl.col("seed").is_null())
        return cell_of(rows.row(-1, named=True)) if rows.height else None

    def by_seed(
        self, task: str, arm: str, metric: str, k: int | None = None, questions: str | None = None
    ) -> dict[int, Interval]:
        """``cell`` of every seed."""
        rows = self._rows(task, arm, metric, k, questions).filter(pl.col("seed").is_not_null())
        return {row["seed"]: interval_of(row) for row in rows.filter(step=rows["step"].max()).iter_rows(named=True)}

    def curve(self, task: str, arm: str, metric: str, k: int | None = None) -> dict[int, Cell]:
        """Over seeds by the step of training, from the base model (0) to the trained policy."""
        frames = [self._rows(task, label, metric, k, None) for label in (BASE, arm)]
        rows = pl.concat(frames).filter(pl.col("seed").is_null())
        return {row["step"]: cell_of(row) for row in rows.iter_rows(named=True)}

    def lines(self, task: str, arm: str, metric: str, k: int | None = None) -> dict[int, dict[int, Interval]]:
        """``curve`` of every seed: by seed, then by step."""
        frames = [self._rows(task, label, metric, k, None) for label in (BASE, arm)]
        found: dict[int, dict[int, Interval]] = {}
        for row in pl.concat(frames).filter(pl.col("seed").is_not_null()).iter_rows(named=True):
            found.setdefault(row["seed"], {})[row["step"]] = interval_of(row)
        return {seed: steps for seed, steps in found.items() if seed in self.task(task).seeds.get(arm, ())}

    def difference(self, task: str, arm: str, reference: str, metric: str, k: int | None = None) -> Cell | None:
        """Trained policy of ``arm`` minus that of ``reference`` (``base``: the base model), paired; None: not there."""
        row = self._difference(task, arm, reference, metric, k)
        return None if row is None else cell_of(row)

    def seed_interval(self, task: str, arm: str, reference: str, metric: str, k: int | None = None) -> Interval | None:
        """``difference`` with its t interval over seeds; undefined ends with one seed."""
        row = self._difference(task, arm, reference, metric, k)
        return None if row is None else Interval(*(number_of(row[name]) for name in ("value", "seed_low", "seed_high")))

    def side(self, task: str, arm: str, reference: str, metric: str, k: int | None = None) -> int:
        """1 where both intervals of ``difference``, over problems and over seeds, lie above 0, -1 below, else 0."""
        seeds = self.seed_interval(task, arm, reference, metric, k)
        found = self.difference(task, arm, reference, metric, k)
        return 0 if found is None or seeds is None else side(Both(found.interval, seeds))

    def _difference(self, task: str, arm: str, reference: str, metric: str, k: int | None) -> dict[str, Any] | None:
        rows = self.tables["exploration_differences"].filter(
            (pl.col("task") == task)
            & (pl.col("arm") == arm)
            & (pl.col("reference") == reference)
            & (pl.col("metric") == metric)
            & pl.col("k").eq_missing(k)
        )
        return rows.row(0, named=True) if rows.height else None

    def _rows(self, task: str, arm: str, metric: str, k: int | None, questions: str | None) -> pl.DataFrame:
        same = (
            (pl.col("task") == task)
            & (pl.col("arm") == arm)
            & (pl.col("metric") == metric)
            & pl.col("k").eq_missing(k)
            & pl.col("questions").eq_missing(questions)
        )
        return self.tables["exploration_metrics"].filter(same).sort("step", maintain_order=True)


def read_exploration(bench: ExplorationBench) -> ExplorationData:
    """Read the study's tables, and of its experiments their provenance.

    Raises:
        StorageError: when a table of the study is missing or damaged.
    """
    tables = {
        table: bench.store.read(table, bench.fingerprints[table])
        for table in ("exploration_metrics", "exploration_differences", "findings")
    }
    members = bench.loaded.members
    return ExplorationData(
        name=bench.study.name,
        hypothesis=" ".join(bench.study.hypothesis.split()),
        is_builtin=any(isinstance(member.experiment.model, BuiltinModel) for member in members),
        confidence=bench.statistics.confidence,
        resamples=bench.statistics.resamples,
        tasks=tuple(_task(task, tables) for task in bench.tasks),
        arms={arm: _words(bench, arm) for arm in bench.study.arms},
        tables=tables,
        missing=bench.missing,
        experiments={name: (item.task, item.arm, item.seed) for name, item in bench.members.items()},
        provenance={name: read_provenance(lab.experiment, lab.plan, bench.store) for name, lab in bench.labs.items()},
        fingerprints={asset: bench.fingerprints[asset] for asset in EXPLORATION_TABLES},
    )


def _task(task: TaskBench, tables: Mapping[str, pl.DataFrame]) -> TaskShown:
    name = next(iter(task.first_of_seeds.values()))
    experiment = task.lab(name).experiment
    rows = tables["exploration_metrics"].filter((pl.col("task") == task.task) & (pl.col("arm") == BASE))
    return TaskShown(
        label=task.task,
        task=experiment.task.name,
        model=experiment.model.shown,
        n_problems=experiment.problems.eval,
        n_responses=experiment.sampling.n_eval,
        steps=task.steps_of(task.arms[0])[-1],
        ks=tuple(sorted(rows.filter(metric="pass_at_k")["k"].unique().to_list())),
        arms=tuple(task.arms),
        reference=task.reference,
        seeds={arm: tuple(task.seeds_of(arm)) for arm in task.arms},
    )


def _words(bench: ExplorationBench, arm: str) -> str:
    """How an arm is trained: what differs from plain policy gradient with group-normalised advantages.

    Numbers that an arm has on one task only are those of the first task.
    """
    exploration = next(item.experiment.exploration for item in bench.loaded.members if item.arm == arm)
    assert exploration is not None  # for the type checker: expansion refuses an arm without
    parts = []
    for what, part, usual in (
        ("bonus", exploration.bonus, "none"),
        ("advantage", exploration.advantage, "group_normalised"),
        ("reward", exploration.reward, "verifiable"),
    ):
        if part.name != usual:
            given = [f"{name} {value}" for name, value in part.model_dump(exclude_unset=True).items() if name != "name"]
            numbers = f" ({', '.join(given)})" if given else ""
            parts.append(f"{what} {part.name}{numbers}")
    return "; ".join(parts) or "no bonus"
