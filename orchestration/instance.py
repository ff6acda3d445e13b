"""The Dagster instance under MINDGAP_HOME, the same for ``mindgap run``, ``mindgap ui`` and a bare ``dg dev``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ops.errors import MindgapError
from ops.lab import PROJECT, home_folder
from ops.storage.tracking import MLFLOW_VARIABLE, check_reachable, postgres_url

if TYPE_CHECKING:
    from dagster import DagsterInstance

EXECUTOR_VARIABLE = "MINDGAP_EXECUTOR"
EXECUTORS = ("in_process", "multiprocess", "k8s")

POSTGRES_VARIABLE = "MINDGAP_DAGSTER_POSTGRES_URL"
"""Where Dagster's history lies instead of in SQLite files; read by deploy/postgres/dagster.yaml. Holds a password."""


class SetupError(MindgapError):
    """A clone or an environment variable that is not as the command needs it."""


def prepare_environment() -> Path:
    """Make MINDGAP_HOME and what dagster.yaml reads absolute, for this process and its children; returns the home.

    Raises:
        SetupError: when the clone lies elsewhere, MINDGAP_EXECUTOR is unknown, or a library that a variable asks
            for is missing.
        StorageError: when the address of a database cannot be used.
    """
    home = home_folder()
    if not (instance_folder() / "dagster.yaml").is_file():
        raise SetupError(
            str(instance_folder()),
            "dagster.yaml is not there",
            remedy="run mindgap from a clone (`make demo`, or `pip install -e .` in it)",
        )
    executor_name()
    postgres_url(MLFLOW_VARIABLE)
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
    """``MINDGAP_EXECUTOR``: where the steps of a run are executed.

    ``in_process`` (default; the model stays loaded between steps), ``multiprocess`` (a process per step on this
    machine) or ``k8s`` (a Kubernetes job per step).

    Raises:
        SetupError: for any other value, and for ``k8s`` where dagster-k8s is not installed.
    """
    name = os.environ.get(EXECUTOR_VARIABLE) or EXECUTORS[0]
    if name not in EXECUTORS:
        raise SetupError(
            "environment", f"expected one of {', '.join(EXECUTORS)}, got {name!r}", field=EXECUTOR_VARIABLE
        )
    if name == "k8s":
        _require("dagster_k8s", "k8s", EXECUTOR_VARIABLE)
    return name


def instance_folder() -> Path:
    """The folder of the dagster.yaml that this environment uses: with PostgreSQL if its address is given, or SQLite.

    Raises:
        StorageError: when the address cannot be used.
        SetupError: when there is one and dagster-postgres is not installed.
    """
    if postgres_url(POSTGRES_VARIABLE) is None:
        return PROJECT
    _require("dagster_postgres", "postgres", POSTGRES_VARIABLE)
    return PROJECT / "deploy" / "postgres"


def _require(module: str, extra: str, variable: str) -> None:
    if find_spec(module) is None:
        raise SetupError(
            "environment",
            f"{module.replace('_', '-')} is not installed",
            field=variable,
            remedy=f'pip install -e ".[{extra}]", or unset {variable}',
        )


def open_instance(*, capture_output: bool = False) -> DagsterInstance:
    """The persistent instance. ``prepare_environment`` comes first.

    Args:
        capture_output: whether steps' standard output goes to files, as for runs that the UI starts;
            otherwise it stays on the terminal.

    Raises:
        StorageError: when a database that the environment names does not answer.
    """
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    from orchestration import quick_sqlite

    for variable in (POSTGRES_VARIABLE, MLFLOW_VARIABLE):
        check_reachable(variable)
    folder = Path(os.environ["MINDGAP_DAGSTER"])
    quick_sqlite.install(folder)  # touches nothing but SQLite files in this folder
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {
        "compute_logs": {"module": "dagster.core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    }
    overrides = {} if capture_output else quiet
    ref = InstanceRef.from_dir(str(folder), config_dir=str(instance_folder()), overrides=overrides)
    return DagsterInstance.from_ref(ref)
