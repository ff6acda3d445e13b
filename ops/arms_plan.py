"""The bench of one study of arms: its experiments as far as they are measured, and the fingerprints of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from ops.arms import ArmMember, ArmStudy, LoadedArms
from ops.arms_files import load_arms
from ops.config import Statistics
from ops.identity import fingerprint
from ops.lab import Lab, home_folder, studies_folder
from ops.plan import CODE_VERSIONS, asset_name, make_plan
from ops.progress import Progress, silent
from ops.stopping import last_iteration, stopped_at
from ops.storage.store import Store
from ops.study_tables import StudyTables

ARM_TABLES = {
    "arm_metrics": "arm_comparison",
    "arm_differences": "arm_comparison",
    "findings": "arm_comparison",
    "arms_report": "arms_report",
}
"""Materializations of a study of arms, each with the code version of its asset."""

READ = ("generations", "verification_scores")
"""Tables of every iteration that an iteration needs to count as measured."""

ALSO_READ = ("policy_shift", "selection_metrics", "sampling_choices")
"""Tables whose numbers are taken over where they are there."""


@dataclass
class ArmsBench(StudyTables):
    """A study of arms with those of its experiments that are measured at least at iteration 0.

    Attributes:
        labs: by experiment name, in the order of the study; they only read.
        members: of the same names.
        measured: by experiment name, how many iterations (0, 1 ... without a hole) are measured.
        missing: experiments that have not run to their end.
        stopped: by experiment name, the iteration after which a rule of its own ended it, and why.
        fingerprints: by the keys of ``ARM_TABLES``.
        cache: what stages read more than once (``ops.stages.arm_values``): the tables of a bench never change.
    """

    loaded: LoadedArms
    labs: Mapping[str, Lab]
    members: Mapping[str, ArmMember]
    measured: Mapping[str, int]
    missing: tuple[str, ...]
    stopped: Mapping[str, tuple[int, str]]
    fingerprints: Mapping[str, str]
    store: Store
    run_id: str = ""
    progress: Progress = silent
    cache: dict[str, Any] = field(default_factory=dict, repr=False)
    tables: ClassVar[Mapping[str, str]] = ARM_TABLES

    @property
    def study(self) -> ArmStudy:
        """The study as its file says it."""
        return self.loaded.study

    @property
    def statistics(self) -> Statistics:
        """Of all arms alike: an arm cannot set its own."""
        return self.loaded.members[0].experiment.statistics

    @property
    def arms(self) -> list[str]:
        """Labels of the arms of which something is measured, in the order of the study."""
        return list(dict.fromkeys(member.arm for member in self.members.values()))

    def seeds_of(self, arm: str) -> dict[int, str]:
        """The experiments of one arm by their seed."""
        return {member.seed: name for name, member in self.members.items() if member.arm == arm}

    def last_of(self, *arms: str) -> int:
        """The last iteration at which every measured seed of all these arms is measured."""
        return min(self.measured[name] for arm in arms for name in self.seeds_of(arm).values()) - 1

    @property
    def last(self) -> int:
        """The last iteration at which anything is measured."""
        return max(self.measured.values()) - 1

    @classmethod
    def open(
        cls,
        study: str | LoadedArms,
        *,
        home: Path | None = None,
        run_id: str = "",
        progress: Progress = silent,
        register: bool = True,
    ) -> ArmsBench:
        """Load a study of arms and look how far its experiments have come.

        Args:
            register: whether the catalog is told, so that this study's tables become the current ones.

        Raises:
            ExperimentError: when the file cannot be used.
            StorageError: when a table that decides where an experiment ends is damaged.
        """
        loaded = load_arms(studies_folder() / f"{study}.yaml") if isinstance(study, str) else study
        store = Store(home or home_folder())
        labs, measured, stopped, missing = {}, {}, {}, []
        for member in loaded.members:
            lab = Lab(member.experiment, make_plan(member.experiment), store, run_id)
            name = member.experiment.name
            if not is_finished(lab):
                missing.append(name)
            if count := measured_iterations(lab):
                labs[name], measured[name] = lab, count
                if (found := stopped_at(member.experiment, lab.plan, store)) is not None:
                    stopped[name] = found
        members = {item.experiment.name: item for item in loaded.members if item.experiment.name in labs}
        ends = {"missing": missing, "stopped": stopped}
        prints = _fingerprints(loaded.study, labs, members, measured, ends)
        bench = cls(loaded, labs, members, measured, tuple(missing), stopped, prints, store, run_id, progress)
        if register and labs:
            config = {"kind": "arms", **loaded.study.model_dump(mode="json"), "of": dict(measured)}
            store.register_experiment(loaded.study.name, config, prints, run_id=run_id)
        return bench

    def read(self, name: str, table: str, iteration: int, columns: list[str] | None = None) -> pl.DataFrame | None:
        """A table of one experiment, or None where it is not committed."""
        planned = self.labs[name].plan.fingerprints.get(asset_name(table, iteration))
        if planned is None or not self.store.has(table, planned):
            return None
        return self.store.read(table, planned, columns)


def is_finished(lab: Lab) -> bool:
    """Whether the experiment has run to its end: its report is the last thing that a run makes."""
    return lab.store.has("reports", lab.plan.fingerprints["report"])


def measured_iterations(lab: Lab) -> int:
    """How many iterations, from 0 on without a hole and up to a stop, have responses and scores."""
    last, prints = last_iteration(lab.experiment, lab.plan, lab.store), lab.plan.fingerprints
    for k in range(last + 1):
        if not all(lab.store.has(table, prints[asset_name(table, k)]) for table in READ):
            return k
    return last + 1


def _fingerprints(
    study: ArmStudy,
    labs: Mapping[str, Lab],
    members: Mapping[str, ArmMember],
    measured: Mapping[str, int],
    ends: Mapping[str, Any],
) -> dict[str, str]:
    """Of every table: made of what the study says of its experiments, of what they have measured, and why they ended.

    An experiment that a rule has stopped and one that was interrupted there have measured the same.
    """
    inputs = {}
    for name, lab in labs.items():
        for k in range(measured[name]):
            for table in (*READ, *ALSO_READ):
                planned = lab.plan.fingerprints.get(asset_name(table, k))
                if planned is not None and lab.store.has(table, planned):
                    inputs[f"{name} {asset_name(table, k)}"] = planned
    experiments = {name: lab.experiment for name, lab in labs.items()}
    about = {
        "statistics": next(iter(experiments.values())).statistics if experiments else None,
        "members": [[name, item.arm, item.seed] for name, item in members.items()],
        "filters": {
            name: [item.filter.model_dump(), [each.model_dump() for each in item.measured_filters()]]
            for name, item in experiments.items()
        },
        "stopped": ends["stopped"],
    }
    prints = {
        asset: fingerprint(asset, CODE_VERSIONS[ARM_TABLES[asset]], about, inputs)
        for asset in ("arm_metrics", "arm_differences", "findings")
    }
    words = {"name": study.name, "hypothesis": study.hypothesis, "reference": study.reference, **ends}
    prints["arms_report"] = fingerprint("arms_report", CODE_VERSIONS["arms_report"], words, dict(prints))
    return prints
