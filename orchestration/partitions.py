"""Partitions: one per experiment, of its own file or of a study."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from assets.common import EXPERIMENT
from ops.config import Experiment
from ops.errors import ExperimentError
from ops.lab import experiments_folder, known_experiments, studies_folder
from ops.study_files import load_any_study

if TYPE_CHECKING:
    from dagster import DagsterInstance

PARTITIONS_NAME = str(EXPERIMENT.name)


def experiment_names() -> list[str]:
    """Names of all experiment files, valid or not, and of the experiments of studies that are valid."""
    names = [path.stem for path in experiments_folder().glob("*.yaml")]
    for path in studies_folder().glob("*.yaml"):
        found = path.stat()
        names += _names_in(path, found.st_mtime_ns, found.st_size)
    return sorted(names)


@lru_cache(maxsize=256)
def _names_in(path: Path, modified_ns: int, size: int) -> tuple[str, ...]:
    """Of one study file, read again only when it has changed."""
    try:
        return tuple(member.experiment.name for member in load_any_study(path).members)
    except ExperimentError as error:
        logging.getLogger("mindgap").warning("study left out: %s", error)
        return ()


def valid_experiments(logger: logging.Logger | None = None) -> dict[str, Experiment]:
    """Experiments that can run; the errors of the others go to ``logger`` as warnings."""
    good, bad = known_experiments()
    report_invalid(bad, logger or logging.getLogger("mindgap"))
    return good


def report_invalid(bad: dict[str, ExperimentError], logger: logging.Logger) -> None:
    """One warning per file that cannot be used."""
    for error in bad.values():
        logger.warning("experiment left out: %s", error)


def add_partitions(instance: DagsterInstance, names: list[str]) -> list[str]:
    """Add what is missing; returns the names that were."""
    known = set(instance.get_dynamic_partitions(PARTITIONS_NAME))
    new = [name for name in names if name not in known]
    if new:
        instance.add_dynamic_partitions(PARTITIONS_NAME, new)
    return new
