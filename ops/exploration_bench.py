"""The bench of one study of exploration: its experiments as far as they are measured, and its tables' fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from ops.arms_plan import is_finished
from ops.config import Statistics
from ops.exploration_files import load_exploration
from ops.exploration_study import ExplorationMember, ExplorationStudy, LoadedExploration
from ops.identity import fingerprint
from ops.lab import Lab, home_folder, studies_folder
from ops.plan import CODE_VERSIONS, exploration_asset, make_plan
from ops.progress import Progress, silent
from ops.storage.store import Store
from ops.study_tables import StudyTables

EXPLORATION_TABLES = {
    "exploration_metrics": "exploration_comparison",
    "exploration_differences": "exploration_comparison",
    "findings": "exploration_comparison",
    "exploration_report": "exploration_report",
}
"""Materializations of a study of exploration, each with the code version of its asset."""

EVALUATION = exploration_asset("evaluation")
DYNAMICS = exploration_asset("training_dynamics")


@dataclass
class ExplorationBench(StudyTables):
    """A study of exploration with those of its experiments whose policy is trained and evaluated.

    Attributes:
        labs: by experiment name, in the order of the study; they only read.
        members: of the same names.
        missing: experiments that have not run to their end.
        fingerprints: by the keys of ``EXPLORATION_TABLES``.
        cache: what stages read more than once, by task: the tables of a bench never change.
    """

    loaded: LoadedExploration
    labs: Mapping[str, Lab]
    members: Mapping[str, ExplorationMember]
    missing: tuple[str, ...]
    fingerprints: Mapping[str, str]
    store: Store
    run_id: str = ""
    progress: Progress = silent
    cache: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    tables: ClassVar[Mapping[str, str]] = EXPLORATION_TABLES

    @property
    def study(self) -> ExplorationStudy:
        """The study as its file says it."""
        return self.loaded.study

    @property
    def statistics(self) -> Statistics:
        """Of all experiments alike: neither a task nor an arm can set its own."""
        return self.loaded.members[0].experiment.statistics

    @property
    def tasks(self) -> list[TaskBench]:
        """Those of which something is measured, in the order of the study."""
        return [self.of_task(task) for task in dict.fromkeys(member.task for member in self.members.values())]

    def of_task(self, task: str) -> TaskBench:
        """The experiments of one task."""
        return TaskBench(self, task, self.cache.setdefault(task, {}))

    @classmethod
    def open(
        cls,
        study: str | LoadedExploration,
        *,
        home: Path | None = None,
        run_id: str = "",
        progress: Progress = silent,
        register: bool = True,
    ) -> ExplorationBench:
        """Load a study of exploration and look which of its experiments are evaluated.

        Args:
            register: whether the catalog is told, so that this study's tables become the current ones.

        Raises:
            ExperimentError: when the file cannot be used.
        """
        loaded = load_exploration(studies_folder() / f"{study}.yaml") if isinstance(study, str) else study
        store = Store(home or home_folder())
        labs, members, missing = {}, {}, []
        for member in loaded.members:
            lab = Lab(member.experiment, make_plan(member.experiment), store, run_id)
            name = member.experiment.name
            if not is_finished(lab):
                missing.append(name)
            if store.has("policy_evaluation", lab.plan.fingerprints[EVALUATION]):
                labs[name], members[name] = lab, member
        prints = _fingerprints(loaded, labs, members, missing)
        bench = cls(loaded, labs, members, tuple(missing), prints, store, run_id, progress)
        if register and labs:
            config = {"kind": "exploration", **loaded.study.model_dump(mode="json"), "of": list(labs)}
            store.register_experiment(loaded.study.name, config, prints, run_id=run_id)
        return bench

    def dynamics(self, name: str) -> pl.DataFrame | None:
        """The table ``training_dynamics`` of one experiment, or None where it is not committed."""
        planned = self.labs[name].plan.fingerprints[DYNAMICS]
        return self.store.read("training_dynamics", planned) if self.store.has("training_dynamics", planned) else None


@dataclass(frozen=True)
class TaskBench:
    """One task of a study: its arms are compared problem by problem, and its problems are resampled together."""

    bench: ExplorationBench
    task: str
    cache: dict[str, Any]

    @property
    def statistics(self) -> Statistics:
        """Of the study."""
        return self.bench.statistics

    @property
    def arms(self) -> list[str]:
        """Labels of the arms of which something is measured on this task, in the order of the study."""
        return list(dict.fromkeys(member.arm for member in self._members))

    @property
    def reference(self) -> str | None:
        """The arm that others are compared with; None where nothing of it is measured on this task."""
        label = self.bench.loaded.reference
        return label if label in self.arms else None

    @property
    def first_of_seeds(self) -> dict[int, str]:
        """An experiment of every seed: of a seed all have the same base model and its responses."""
        found: dict[int, str] = {}
        for member in self._members:
            found.setdefault(member.seed, member.experiment.name)
        return found

    def seeds_of(self, arm: str) -> dict[int, str]:
        """The experiments of one arm on this task by their seed."""
        return {member.seed: member.experiment.name for member in self._members if member.arm == arm}

    def steps_of(self, arm: str) -> tuple[int, ...]:
        """Steps after which the arm's policy was evaluated, rising; the last one is the trained policy."""
        return tuple(step for step in sorted(self.lab(next(iter(self.seeds_of(arm).values()))).plan.policies) if step)

    def lab(self, name: str) -> Lab:
        """Of one experiment."""
        return self.bench.labs[name]

    @property
    def _members(self) -> list[ExplorationMember]:
        return [member for member in self.bench.members.values() if member.task == self.task]


def _fingerprints(
    loaded: LoadedExploration, labs: Mapping[str, Lab], members: Mapping[str, ExplorationMember], missing: list[str]
) -> dict[str, str]:
    """Of every table: made of what the study says of its experiments, and of what they have measured."""
    inputs = {}
    for name, lab in labs.items():
        for table, asset in (("policy_evaluation", EVALUATION), ("training_dynamics", DYNAMICS)):
            if lab.store.has(table, lab.plan.fingerprints[asset]):
                inputs[f"{name} {asset}"] = lab.plan.fingerprints[asset]
    about = {
        "seeds": list(loaded.study.seeds),
        "statistics": loaded.members[0].experiment.statistics,
        "members": [[name, item.task, item.arm, item.seed, _bonus(item)] for name, item in members.items()],
        "reference": loaded.reference,
    }
    code = CODE_VERSIONS["exploration_comparison"]
    prints = {
        table: fingerprint(table, code, about, inputs)
        for table, asset in EXPLORATION_TABLES.items()
        if asset == "exploration_comparison"
    }
    words = {"name": loaded.study.name, "hypothesis": loaded.study.hypothesis, "missing": missing}
    prints["exploration_report"] = fingerprint(
        "exploration_report", CODE_VERSIONS["exploration_report"], words, dict(prints)
    )
    return prints


def _bonus(member: ExplorationMember) -> str:
    exploration = member.experiment.exploration
    return "" if exploration is None else exploration.bonus.name
