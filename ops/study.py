"""The study: models x tasks x verifiers in one file, ``studies/NAME.yaml``.

Every experiment of a study is an ordinary one without training (``iterations: 0``), named ``STUDY-TASK-MODEL``: a
partition like any other, found by name, runnable alone. ``ops.study_files`` expands and loads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, model_validator

from ops.config import NAME_PATTERN, Experiment, Limits, Problems, Prompts, Sampling, Statistics
from ops.engines import ENGINES
from ops.models import BuiltinModel, FolderModel, HubModel
from ops.selection import FILTERS
from ops.tasks import TASKS
from ops.variants import FromList, Strict, union
from ops.verifiers import VERIFIERS
from ops.verifiers.base import ModelVerifier, Verifier

LABEL = r"^[a-z0-9][a-z0-9_-]{0,30}$"
MAX_LABEL = 63
"""Of a verifier, and of an experiment's name."""


class Placed(Strict):
    """Where a model stands in a scaling law; what is left out comes from pretraining here, or from the FLOPs table."""

    family: str | None = Field(None, min_length=1, max_length=100)
    pretraining_flops: float | None = Field(None, gt=0.0)


class StudyBuiltin(BuiltinModel, Placed):
    """A built-in model; without ``recipe`` it is pretrained for whatever task it meets."""


class StudyFolder(FolderModel, Placed):
    """A checkpoint folder."""


class StudyHub(HubModel, Placed):
    """A hub id."""


StudyModel = Annotated[StudyBuiltin | StudyFolder | StudyHub, Field(discriminator="kind")]


class StudyTask(Strict):
    """One task, and where it differs from the study: fields of ``problems`` and ``sampling`` that are given here."""

    label: str | None = Field(None, pattern=LABEL)
    task: union(TASKS)  # type: ignore[valid-type]
    problems: Problems = Problems()
    sampling: Sampling = Sampling()

    @property
    def called(self) -> str:
        """The label, or the task's name."""
        return self.label or str(self.task.name)


class Study(Strict):
    """What a researcher writes in ``studies/NAME.yaml``. The hypothesis comes first.

    ``cross`` lists labels of verifiers that every other model of the study also runs on each model's responses. They
    are called ``LABEL@MODEL``. ``experiments`` names experiments of their own files (replayed ones, say) whose
    iteration 0 joins the tables.
    """

    name: str = Field(pattern=NAME_PATTERN)
    hypothesis: str = Field(min_length=10)
    models: dict[str, StudyModel] = Field(default_factory=dict)
    tasks: FromList[tuple[StudyTask, ...]] = ()
    verifiers: FromList[tuple[union(VERIFIERS), ...]] = ()  # type: ignore[valid-type]
    cross: FromList[tuple[str, ...]] = ()
    experiments: FromList[tuple[str, ...]] = ()
    flops_table: str | None = None
    problems: Problems = Problems()
    sampling: Sampling = Sampling()
    prompts: Prompts = Prompts()
    gap_filters: FromList[tuple[union(FILTERS), ...]] = ()  # type: ignore[valid-type]
    engine: union(ENGINES) = ENGINES["transformers"]()  # type: ignore[valid-type]
    statistics: Statistics = Statistics()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _combinations(self) -> Study:
        given = {name: getattr(self, name) for name in ("models", "tasks", "verifiers")}
        if any(given.values()) or not self.experiments:
            for name, value in given.items():
                if not value:
                    raise ValueError(f"{name}: at least one (or experiments alone), got none")
        if self.engine.replays:
            raise ValueError("engine.name: an engine that asks models (list replayed experiments under experiments)")
        self._check_labels()
        self._check_cross()
        return self

    def _check_labels(self) -> None:
        for label in self.models:
            if not re.match(LABEL, label):
                raise ValueError(f"models: labels of at most 31 lower-case letters, digits, - and _, got {label!r}")
        names = [item.called for item in self.tasks]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ValueError(f"tasks[{i}].label: a label of its own, {name} is taken")
        for name in names:
            for label in self.models:
                full = f"{self.name}-{name}-{label}"
                if len(full) > MAX_LABEL:
                    raise ValueError(f"name: shorter, because the experiment {full} may have {MAX_LABEL} characters")

    def _check_cross(self) -> None:
        known = {item.called: item for item in self.verifiers}
        for i, label in enumerate(self.cross):
            verifier = known.get(label)
            if not isinstance(verifier, ModelVerifier) or verifier.model is not None:
                asked = [name for name, item in known.items() if isinstance(item, ModelVerifier) and item.model is None]
                raise ValueError(
                    f"cross[{i}]: the label of a listed verifier that asks the generator "
                    f"({', '.join(asked) or 'none'}), got {label}"
                )
            for model in self.models:
                if len(crossed_label(label, model)) > MAX_LABEL:
                    raise ValueError(f"cross[{i}]: a label short enough for {crossed_label(label, model)}")
        if len(set(self.cross)) < len(self.cross):
            raise ValueError("cross: each verifier once")


@dataclass(frozen=True)
class Member:
    """One experiment of a study, and what it stands for there.

    Attributes:
        task, model: labels in the study; of a joined experiment the task's name and the model's name.
        crossed: of every cross-verifier by its label, (label of the verifier, label of the model that it asks).
        joined: it has a file of its own.
    """

    experiment: Experiment
    task: str
    model: str
    crossed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    joined: bool = False


@dataclass(frozen=True)
class LoadedStudy:
    """A study file, read, validated and expanded. ``joined`` experiments are read when the study is worked on."""

    study: Study
    members: tuple[Member, ...]
    where: str


def is_cross(verifier: Verifier, member: Member) -> bool:
    """Whether it asks another model than the generator."""
    if verifier.called in member.crossed:
        return True
    return isinstance(verifier, ModelVerifier) and verifier.model not in (None, member.experiment.model)


def crossed_label(verifier: str, model: str) -> str:
    """What a cross-verifier is called: ``logit@small``."""
    return f"{verifier}@{model}"
