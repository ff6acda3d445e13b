"""The Dagster instance under MINDGAP_HOME, the same for ``mindgap run``, ``mindgap ui`` and a bare ``dg dev``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ops.errors import MindgapError
from ops.lab import PROJECT, home_folder

if TYPE_CHECKING:
    from dagster import DagsterInstance

EXECUTOR_VARIABLE = "MINDGAP_EXECUTOR"
EXECUTORS = ("in_process", "multiprocess")


class SetupError(MindgapError):
    """A clone or an environment variable that is not as the command needs it."""


def prepare_environment() -> Path:
    """Make MINDGAP_HOME and what dagster.yaml reads absolute, for this process and its children; returns the home.

    Raises:
        SetupError: when the clone lies elsewhere or MINDGAP_EXECUTOR is unknown.
    """
    home = home_folder()
    if not (PROJECT / "dagster.yaml").is_file():
        raise SetupError(
            str(PROJECT),
            "dagster.yaml is not there",
            remedy="run mindgap from a clone (`make demo`, or `pip install -e .` in it)",
        )
    executor_name()
    folder = home / "dagster"
    os.environ["MINDGAP_HOME"] = str(home)
    os.environ["MINDGAP_DAGSTER"] = str(folder)
    os.environ["MINDGAP_DAGSTER_FILES"] = str(folder / "files")
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # progress is ours
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # waiting threads give the core back (docs/benchmarks.md)
    return home


def executor_name() -> str:
    """``MINDGAP_EXECUTOR``: ``in_process`` (default; the model stays loaded between steps) or ``multiprocess``.

    Raises:
        SetupError: for any other value.
    """
    name = os.environ.get(EXECUTOR_VARIABLE) or EXECUTORS[0]
    if name not in EXECUTORS:
        raise SetupError(
            "environment", f"expected one of {', '.join(EXECUTORS)}, got {name!r}", field=EXECUTOR_VARIABLE
        )
    return name


def open_instance(*, capture_output: bool = False) -> DagsterInstance:
    """The persistent instance. ``prepare_environment`` comes first.

    Args:
        capture_output: whether steps' standard output goes to files, as for runs that the UI starts;
            otherwise it stays on the terminal.
    """
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    from orchestration import quick_sqlite

    folder = Path(os.environ["MINDGAP_DAGSTER"])
    quick_sqlite.install(folder)
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {
        "compute_logs": {"module": "dagster.core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    }
    overrides = {} if capture_output else quiet
    return DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), config_dir=str(PROJECT), overrides=overrides))
