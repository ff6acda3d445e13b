"""The bench of one study: its complete experiments, the fingerprints of its tables, and where they are committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from ops.config import Statistics
from ops.errors import ExperimentError
from ops.experiment_files import load_experiment
from ops.identity import fingerprint
from ops.lab import Lab, experiments_folder, home_folder, studies_folder
from ops.models import AskableModel, BuiltinModel, HubModel, RecordedModel
from ops.plan import CODE_VERSIONS, VERIFIER_ASSETS, asset_name, make_plan
from ops.progress import Progress, silent
from ops.storage.store import Store
from ops.study import LoadedStudy, Member, Study
from ops.study_files import load_study
from ops.study_flops import Pretraining, read_flops
from ops.study_tables import StudyTables

STUDY_TABLES = {
    "scaling_points": "scaling_law",
    "scaling_law": "scaling_law",
    "cross_verification": "cross_verification",
    "findings": "study_report",
    "study_report": "study_report",
}
"""Materializations of a study, each with the code version of its asset."""

READ_TABLES = {"gap_metrics": "gap_metrics", **{asset: asset for asset in VERIFIER_ASSETS}}
"""Tables of iteration 0 that the report reads."""

NEEDED = ("generations", "verification_scores", *READ_TABLES)
BUILTIN_FAMILY = "built-in"


@dataclass(frozen=True)
class Compute:
    """What is known of one model's pretraining.

    Attributes:
        family: models of one family are fitted together.
        flops: floating-point operations; None where unknown: the model is then in no fit.
    """

    family: str
    n_parameters: int | None
    flops: float | None


@dataclass
class StudyBench(StudyTables):
    """A study with those of its experiments whose tables are complete.

    Attributes:
        labs: by experiment name, in the order of the study; they only read.
        members: of the same names.
        missing: experiments that have to run first.
        fingerprints: by the keys of ``STUDY_TABLES``.
        cache: what stages read more than once (``ops.stages.study_values``): the tables of a bench never change.
    """

    loaded: LoadedStudy
    labs: Mapping[str, Lab]
    members: Mapping[str, Member]
    missing: tuple[str, ...]
    flops: Mapping[str, Pretraining]
    fingerprints: Mapping[str, str]
    store: Store
    run_id: str = ""
    progress: Progress = silent
    cache: dict[str, Any] = field(default_factory=dict, repr=False)
    tables: ClassVar[Mapping[str, str]] = STUDY_TABLES

    @property
    def study(self) -> Study:
        """The study as its file says it."""
        return self.loaded.study

    @property
    def statistics(self) -> Statistics:
        """Of the study's file; every experiment of its own has the same."""
        return self.study.statistics

    @classmethod
    def open(
        cls,
        study: str | LoadedStudy,
        *,
        home: Path | None = None,
        run_id: str = "",
        progress: Progress = silent,
        register: bool = True,
    ) -> StudyBench:
        """Load a study and look which of its experiments are complete.

        Args:
            register: whether the catalog is told, so that this study's tables become the current ones.

        Raises:
            ExperimentError: when the file, or one that it names, cannot be used.
        """
        loaded = load_study(studies_folder() / f"{study}.yaml") if isinstance(study, str) else study
        store = Store(home or home_folder())
        labs, members, missing = {}, {}, []
        for member in all_members(loaded):
            lab = Lab(member.experiment, make_plan(member.experiment), store, run_id)
            if is_measured(lab):
                labs[member.experiment.name], members[member.experiment.name] = lab, member
            else:
                missing.append(member.experiment.name)
        flops = read_flops(loaded.study.flops_table)
        prints = _fingerprints(loaded.study, labs, members, flops)
        bench = cls(loaded, labs, members, tuple(missing), flops, prints, store, run_id, progress)
        if register and labs:
            config = {"kind": "study", **loaded.study.model_dump(mode="json"), "of": list(labs)}
            store.register_experiment(loaded.study.name, config, prints, run_id=run_id)
        return bench

    def read(self, name: str, table: str) -> pl.DataFrame:
        """A table of iteration 0 of one experiment, or its ``models``."""
        asset = "base_model" if table == "models" else asset_name(table, 0)
        return self.store.read(table, self.labs[name].plan.fingerprints[asset])

    def compute_of(self, name: str) -> Compute:
        """Pretraining of the model of one experiment, read once."""
        found: dict[str, Compute] = self.cache.setdefault("compute", {})
        if name not in found:
            found[name] = self._compute_of(name)
        return found[name]

    def _compute_of(self, name: str) -> Compute:
        member = self.members[name]
        row = self.read(name, "models").row(0, named=True)
        placed = None if member.joined else self.study.models[member.model]
        known = self.flops.get(name_in_table(member.experiment.model))
        family = known.family if known is not None else member.model
        if isinstance(member.experiment.model, BuiltinModel):
            family = BUILTIN_FAMILY
        flops = row["train_flops"] if known is None else known.flops
        parameters = row["n_parameters"] if known is None else known.n_parameters or row["n_parameters"]
        if placed is not None:
            family, flops = placed.family or family, placed.pretraining_flops or flops
        return Compute(family, parameters, flops)


def all_members(loaded: LoadedStudy) -> tuple[Member, ...]:
    """The study's own experiments, then the joined ones, read from their files.

    A joined experiment of the same task as one of the study's carries its label, so that they share tables; fits
    never mix different problems (``ops.stages.study_values``).

    Raises:
        ExperimentError: when a joined experiment's file cannot be used.
    """
    joined = []
    for i, name in enumerate(loaded.study.experiments):
        try:
            experiment = load_experiment(experiments_folder() / f"{name}.yaml")
        except ExperimentError as error:
            raise ExperimentError(
                loaded.where, f"{name} cannot be used: {error}", field=f"experiments[{i}]", remedy="mend that file"
            ) from None
        same = [task.called for task in loaded.study.tasks if task.task == experiment.task]
        label = same[0] if same else experiment.task.name
        joined.append(Member(experiment, label, experiment.model.shown, joined=True))
    return (*loaded.members, *joined)


def name_in_table(model: AskableModel | RecordedModel) -> str:
    """What the FLOPs table calls a model: a hub model's id, whatever its revision; otherwise as it is shown."""
    return model.id if isinstance(model, HubModel) else model.shown


def is_measured(lab: Lab) -> bool:
    """Whether every table of iteration 0 that a study reads is committed as planned."""
    prints = lab.plan.fingerprints
    return lab.store.has("models", prints["base_model"]) and all(
        lab.store.has(table, prints[asset_name(table, 0)]) for table in NEEDED
    )


def _fingerprints(
    study: Study, labs: Mapping[str, Lab], members: Mapping[str, Member], flops: Mapping[str, Pretraining]
) -> dict[str, str]:
    """Of every table: made of what the study says of its experiments, and of their own fingerprints."""
    inputs = {
        f"{name} {asset}": lab.plan.fingerprints[asset]
        for name, lab in labs.items()
        for asset in ("base_model", *(asset_name(table, 0) for table in NEEDED))
    }
    named = {name_in_table(members[name].experiment.model) for name in labs}
    about = {
        "statistics": study.statistics,
        "members": [[name, members[name].task, members[name].model, dict(members[name].crossed)] for name in labs],
        "placed": {label: [model.family, model.pretraining_flops] for label, model in study.models.items()},
        "flops": {name: [row.family, row.flops, row.n_parameters] for name, row in flops.items() if name in named},
    }
    code, prints = CODE_VERSIONS, {}
    for asset in ("scaling_points", "scaling_law", "cross_verification"):
        prints[asset] = fingerprint(asset, code[STUDY_TABLES[asset]], about, inputs)
    prints["findings"] = fingerprint("findings", code["study_report"], about, inputs)
    words = {"name": study.name, "hypothesis": study.hypothesis}
    prints["study_report"] = fingerprint("study_report", code["study_report"], words, dict(prints))
    return prints
