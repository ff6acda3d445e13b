"""Partitions: one per experiment file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from assets.common import EXPERIMENT
from ops.config import Experiment, load_experiments
from ops.errors import ExperimentError
from ops.lab import experiments_folder

if TYPE_CHECKING:
    from dagster import DagsterInstance

PARTITIONS_NAME = str(EXPERIMENT.name)


def experiment_files() -> list[str]:
    """Names of all experiment files, valid or not."""
    return sorted(path.stem for path in experiments_folder().glob("*.yaml"))


def valid_experiments(logger: logging.Logger | None = None) -> dict[str, Experiment]:
    """Experiments that can run; the errors of the others go to ``logger`` as warnings."""
    good, bad = load_experiments(experiments_folder())
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
