"""What the benches of all kinds of study share: where their report is, and how their tables are committed."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import polars as pl

from ops.arms import LoadedArms
from ops.config import Statistics
from ops.exploration_study import LoadedExploration
from ops.lab import Place, commit_or_adopt
from ops.plan import CODE_VERSIONS
from ops.storage.store import Store
from ops.study import LoadedStudy
from ops.types import StageResult


class StudyTables(abc.ABC):
    """Base of ``StudyBench``, ``ArmsBench`` and ``ExplorationBench``, which are dataclasses with these fields.

    Attributes:
        tables: materializations of such a study, each with the asset that has its code version.
        missing: experiments that have to run (to their end) first.
        fingerprints: by the keys of ``tables``.
    """

    tables: ClassVar[Mapping[str, str]]
    loaded: LoadedStudy | LoadedArms | LoadedExploration
    missing: tuple[str, ...]
    fingerprints: Mapping[str, str]
    store: Store
    run_id: str

    @property
    @abc.abstractmethod
    def statistics(self) -> Statistics:
        """How the study's own tables are estimated."""

    @property
    def folder(self) -> Path:
        """Where the report and its tables are."""
        return self.store.home / "reports" / "studies" / self.loaded.study.name

    @property
    def is_complete(self) -> bool:
        """Whether every experiment is there."""
        return not self.missing

    def materialise(
        self,
        table: str,
        asset: str,
        compute: Callable[[], pl.DataFrame],
        metadata: Callable[[pl.DataFrame], Mapping[str, object]],
    ) -> StageResult:
        """Compute and commit one of ``tables``, or adopt it; the catalog's ``experiment`` is the study's name."""
        return commit_or_adopt(
            self.store,
            Place(self.loaded.study.name, table, asset, None, self.fingerprints[asset]),
            compute,
            metadata,
            run_id=self.run_id,
            code_version=CODE_VERSIONS[self.tables[asset]],
            seed=self.statistics.seed,
        )
