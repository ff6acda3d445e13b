"""Arms: one experiment in several versions, each with several seeds, in one file ``studies/NAME.yaml``.

An arm is what decides which responses are trained on (self-verified, cross-verified, gold labels, no filter ...). Every
arm with every seed is an ordinary experiment named ``STUDY-ARM-sSEED``: a partition like any other, found by name,
runnable alone. ``ops.arms_files`` expands and loads.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ops.config import NAME_PATTERN, Experiment
from ops.study import LABEL, MAX_LABEL
from ops.variants import FromList, Seed, Strict

Seeded = Literal["sampling", "training", "problems", "model"]
SHARED = ("task", "statistics")
"""What arms that are compared problem by problem cannot differ in."""


class SeededStudy(Strict):
    """What studies of arms and of exploration share: fields for all, fields of each arm, and seeds."""

    name: str = Field(pattern=NAME_PATTERN)
    hypothesis: str = Field(min_length=10)
    experiment: dict[str, Any]
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    seeds: FromList[tuple[Seed, ...]] = Field(min_length=1)
    seeded: FromList[tuple[str, ...]]
    reference: str | None = None

    @field_validator("arms", mode="before")
    @classmethod
    def _no_change(cls, value: Any) -> Any:
        """``unfiltered:`` with nothing behind it is the common experiment itself."""
        return {key: {} if item is None else item for key, item in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _combinations(self) -> SeededStudy:
        check_labels("arms", self.arms)
        for name in ("seeds", "seeded"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name}: each one once")
        if self.reference is not None and self.reference not in self.arms:
            raise ValueError(f"reference: one of the arms ({', '.join(self.arms)}), got {self.reference}")
        for full in self.experiment_names():
            if len(full) > MAX_LABEL:
                raise ValueError(f"name: shorter, because the experiment {full} may have {MAX_LABEL} characters")
        return self

    def experiment_names(self) -> Iterator[str]:
        """Of all experiments."""
        raise NotImplementedError


def check_labels(field: str, labels: Iterable[str]) -> None:
    """Refuse labels that cannot be a part of an experiment's name.

    Raises:
        ValueError: in the form that ``ops.explain`` reads.
    """
    for label in labels:
        if not re.match(LABEL, label):
            raise ValueError(f"{field}: labels of at most 31 lower-case letters, digits, - and _, got {label!r}")


class ArmStudy(SeededStudy):
    """What a researcher writes in ``studies/NAME.yaml`` to compare arms. The hypothesis comes first.

    ``experiment`` holds the fields of an experiment that all arms share; ``arms`` by label those that replace them.
    ``seeds`` are given to every part listed in ``seeded``. ``reference``: the arm that the answer compares with.
    """

    seeded: FromList[tuple[Seeded, ...]] = ("sampling", "training")

    def experiment_names(self) -> Iterator[str]:
        return (self.experiment_name(*place) for place in itertools.product(self.arms, self.seeds))

    def experiment_name(self, arm: str, seed: int) -> str:
        """``iterate-self-s0``."""
        return f"{self.name}-{arm}-s{seed}"


@dataclass(frozen=True)
class ArmMember:
    """One experiment of a study of arms: an arm with a seed."""

    experiment: Experiment
    arm: str
    seed: int


@dataclass(frozen=True)
class LoadedArms:
    """A file of arms, read, validated and expanded: arm by arm, seed by seed."""

    study: ArmStudy
    members: tuple[ArmMember, ...]
    where: str
