"""MLflow: one parent run per experiment and Dagster run, child runs under it, model versions without copies.

A child run per iteration; of an experiment with reinforcement learning one called ``exploration``, with its steps; of
one that compares models one called ``evaluation``, whose steps are numbers of labels.

MLflow mirrors results for its UI and its registry; the truth stays in the manifests. Everything
goes through ``MlflowClient`` with explicit run ids and tags, under one file lock, so that steps in
separate processes log into the same runs. It is held for one batch at a time, and waited for so long only.
Importing MLflow takes 1.5 s, so it waits for the first call.

The database is ``mlflow/mlflow.db`` under the home, or a PostgreSQL database that the environment names
(``MINDGAP_MLFLOW_POSTGRES_URL``); its address holds a password and never appears in a message.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from ops.errors import MindgapError, ModelError, StorageError
from ops.storage.atomic import atomic_file, make_folder
from ops.storage.layout import safe

RUN_TAG = "dagster/run_id"
KIND_TAG = "mindgap.kind"
ITERATION_TAG = "mindgap.iteration"
FINGERPRINT_TAG = "mindgap.fingerprint"

MLFLOW_VARIABLE = "MINDGAP_MLFLOW_POSTGRES_URL"
POSTGRES_SCHEME = "postgresql+psycopg2://"
"""With its driver: SQLAlchemy 2.1 takes plain ``postgresql://`` for another one, which Dagster does not use."""

CONNECT_SECONDS = 10

LOCK_SECONDS = 120.0
"""The longest wait for the lock, unless ``Tracker.waiting`` says less; making MLflow's tables takes the longest."""

BATCH_METRICS, BATCH_OTHERS = 800, 100
"""What MLflow takes at once, with room to spare: metrics, and parameters and tags."""

EXPLORATION = "exploration"
EVALUATION = "evaluation"
"""Kinds of the child runs of experiments without a loop."""

Child = int | str | None
"""Which run of an experiment: its parent run (None), an iteration's, or that of its kind (``EXPLORATION``)."""

_METRIC_NAME = re.compile(r"[^\w\-. /]", re.ASCII)
"""What MLflow refuses in the name of a metric or parameter."""


def postgres_url(variable: str) -> str | None:
    """The address of a PostgreSQL database in an environment variable; None where the variable is unset or empty.

    Raises:
        StorageError: when it is no such address (which is not repeated, for it may hold a password), or the driver
            is not installed.
    """
    url = os.environ.get(variable)
    if not url:
        return None
    if not _is_postgres_address(url):
        example = f"{POSTGRES_SCHEME}USER:PASSWORD@HOST:5432/DATABASE"
        raise StorageError(
            "environment",
            f"not the address of a PostgreSQL database that begins with {POSTGRES_SCHEME}",
            field=variable,
            remedy=f"write it as {example}, with reserved characters of the password percent-encoded",
        )
    if find_spec("psycopg2") is None:
        remedy = f'pip install -e ".[postgres]", or unset {variable}'
        raise StorageError("environment", "psycopg2 is not installed", field=variable, remedy=remedy)
    return url


def _is_postgres_address(url: str) -> bool:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        return False  # the exception may quote a part of the password
    return url.startswith(POSTGRES_SCHEME) and bool(address.host and address.database)


def check_reachable(variable: str) -> None:
    """Connect once to the PostgreSQL database that ``variable`` names, if it names one.

    Without it Dagster tries for a quarter of a minute, MLflow for minutes, and both end in a stack trace.

    Raises:
        StorageError: when the server does not answer or refuses, with its own reason (never the password).
    """
    url = postgres_url(variable)
    if url is None:
        return
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError

    engine = create_engine(url, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        engine.connect().close()
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        remedy = f"start the server or correct the address; unset {variable} for SQLite under MINDGAP_HOME"
        raise StorageError("environment", f"no connection: {reason}", field=variable, remedy=remedy) from None
    finally:
        engine.dispose()


class Tracker:
    """Logs into MLflow's database. Every method may be called again, from any process."""

    def __init__(self, home: Path) -> None:
        """Nothing is created, and MLflow is not imported, before the first call that logs.

        Raises:
            StorageError: when MINDGAP_MLFLOW_POSTGRES_URL cannot be used.
        """
        self.home = Path(home).expanduser().resolve()
        self._remote = postgres_url(MLFLOW_VARIABLE)
        self.database = self.home / "mlflow" / "mlflow.db"  # unused where the database is elsewhere
        self.uri = self._remote or f"sqlite:///{self.database}"
        self._client: Any = None
        self._runs: dict[tuple[str, str, Child], str] = {}
        self._starts: dict[str, int] = {}
        self._logged: dict[tuple[str, str], set[int]] = {}  # steps by (run, metric), of metrics with steps
        self._deadline: float | None = None

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Inside, all waiting for other processes takes at most so long together; then there is a StorageError.

        That is for the lock and, with SQLite, for a foreign writer of the database, before each batch. A batch that
        MLflow has begun is not cut off.
        """
        before, self._deadline = self._deadline, time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = before

    def log_parent(
        self,
        experiment: str,
        run_id: str,
        metrics: Mapping[str, float | None] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Log to the experiment's run of this Dagster run; returns the MLflow run id."""
        with self._locked() as client:
            run = self._run(client, experiment, run_id, None)
        self._log(run, metrics or {}, params or {}, tags or {}, step=0)
        return run

    def log_iteration(
        self,
        experiment: str,
        iteration: int,
        run_id: str,
        metrics: Mapping[str, float | None],
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Log to the child run of one iteration; returns its MLflow run id.

        The metrics also go to the parent with the iteration as their step, which draws them over iterations.
        Logging the same value again changes nothing. Metrics that are None are left out.
        """
        with self._locked() as client:
            parent = self._run(client, experiment, run_id, None)
            child = self._child(client, experiment, run_id, iteration)
        self._log(child, metrics, params or {}, tags or {}, step=iteration)
        self._log(parent, metrics, {}, {}, step=iteration)
        return child

    def log_steps(
        self, experiment: str, run_id: str, points: Sequence[tuple[int, int | None, Mapping[str, float]]]
    ) -> int:
        """Log metrics of training steps to the child run ``exploration``; returns how many values were new.

        MLflow keeps every value that a metric was ever given at a step. So a value at a step that the run has already
        is left out: a step that is made a second time, after a crash, has one point, the first.

        Args:
            points: (step, time in milliseconds since 1970, numbers by name); without a time that of the run's start.
        """
        with self._locked() as client:
            child = self._child(client, experiment, run_id, EXPLORATION)
        found = [
            self._metric(child, name, value, step, time)
            for step, time, numbers in points
            for name, value in numbers.items()
            if self._is_new(child, name, step)
        ]
        new = list({(item.key, item.step): item for item in reversed(found)}.values())[::-1]
        for start in range(0, len(new), BATCH_METRICS):
            batch = new[start : start + BATCH_METRICS]
            with self._locked() as client:
                client.log_batch(child, metrics=batch)
            for metric in batch:  # only now: what could not be logged is to be tried again
                self._logged[child, metric.key].add(metric.step)
        return len(new)

    def log_results(
        self, experiment: str, run_id: str, step: int, metrics: Mapping[str, float | None], child: str = EXPLORATION
    ) -> str:
        """Log what was measured without iterations to the child run of that name and to its parent; returns the
        child's MLflow run id. Logging the same value again changes nothing.
        """
        with self._locked() as client:
            parent = self._run(client, experiment, run_id, None)
            run = self._child(client, experiment, run_id, child)
        self._log(run, metrics, {}, {}, step=step)
        self._log(parent, metrics, {}, {}, step=step)
        return run

    def register_model(
        self,
        name: str,
        folder: Path,
        *,
        fingerprint: str,
        experiment: str,
        run_id: str,
        iteration: Child = None,
        tags: Mapping[str, str] | None = None,
    ) -> int:
        """Register the checkpoint in ``folder`` (not copied) as a version of ``name``, once per fingerprint.

        ``iteration`` is the one that trained it, or ``EXPLORATION``; None for a base model, which belongs to the parent
        run.

        Returns:
            The version number, that of the earlier registration where there is one.
        """
        from mlflow.exceptions import MlflowException

        safe(fingerprint, "model fingerprint")
        with self._locked() as client:
            wanted = f"name = '{safe(name, 'model name')}' AND tags.`{FINGERPRINT_TAG}` = '{fingerprint}'"
            for version in client.search_model_versions(wanted):
                return int(version.version)
            run = self._child(client, experiment, run_id, iteration)
            try:
                client.get_registered_model(name)
            except MlflowException:
                client.create_registered_model(name)
            version = client.create_model_version(
                name,
                source=Path(folder).resolve().as_uri(),
                run_id=run,
                tags={FINGERPRINT_TAG: fingerprint, **{key: str(value) for key, value in (tags or {}).items()}},
                await_creation_for=0,
            )
            return int(version.version)

    def source_of(self, name: str, version: int | None, alias: str | None) -> tuple[int, str]:
        """(version, address of the folder) of a registered model; without version and alias of the latest version.

        Raises:
            ModelError: when there is no database yet, or the registry knows no such name, version or alias.
            StorageError: when the database cannot be read.
        """
        where = f"registered model {name}"
        remedy = "`make mlflow` shows what is registered; an experiment registers what it trains under its own name"
        if self._remote is None and not self.database.is_file():
            problem = f"nothing is registered yet: there is no {self.database}"
            raise ModelError(where, problem, field="model.name", remedy=remedy)
        with self._readable(where), self._locked() as client:
            from mlflow.exceptions import MlflowException

            versions = {int(item.version): item for item in client.search_model_versions(f"name = '{_quotable(name)}'")}
            if not versions:
                raise ModelError(where, "the registry has no version of it", field="model.name", remedy=remedy)
            if alias is not None:
                try:
                    found = client.get_model_version_by_alias(name, alias)
                except MlflowException:
                    problem = f"the registry knows no alias {alias!r} of it"
                    raise ModelError(where, problem, field="model.alias", remedy=remedy) from None
                return int(found.version), str(found.source)
        wanted = max(versions) if version is None else version
        if wanted not in versions:
            known = ", ".join(str(item) for item in sorted(versions))
            problem = f"expected one of its versions ({known}), got {wanted}"
            raise ModelError(where, problem, field="model.version", remedy=remedy)
        return wanted, str(versions[wanted].source)

    @contextmanager
    def _readable(self, where: str) -> Iterator[None]:
        """Turn what a damaged, locked or newer database raises into a StorageError; it never names the address."""
        try:
            yield
        except MindgapError:
            raise
        except Exception as error:
            if not isinstance(error, _database_errors()):
                raise
            # MLflow's and SQLAlchemy's own texts may quote the address of a PostgreSQL database, with its password.
            said = "" if self._remote else " ".join(str(getattr(error, "orig", None) or error).split())[:200]
            problem = f"the registry's database cannot be read: {type(error).__name__}" + (f": {said}" if said else "")
            place = MLFLOW_VARIABLE if self._remote else str(self.database)
            remedy = (
                f"restore the database ({place}), or name the checkpoint's folder: model: {{kind: folder, path: ...}}"
            )
            raise StorageError(where, problem, field="model.name", remedy=remedy) from None

    def finish(self, run_id: str, status: str = "FINISHED") -> int:
        """End the runs of one Dagster run that are still running; returns how many (parents and children).

        Args:
            status: FINISHED, FAILED or KILLED.
        """
        if status not in ("FINISHED", "FAILED", "KILLED"):
            raise ValueError(f"status: expected FINISHED, FAILED or KILLED, got {status!r}")
        return self._end([run_id], status)

    def kill_orphans(self, dagster_run_ids: list[str]) -> int:
        """Mark what is still running of these dead Dagster runs KILLED; returns how many MLflow runs."""
        return self._end(dagster_run_ids, "KILLED")

    def _end(self, dagster_run_ids: list[str], status: str) -> int:
        if not dagster_run_ids or (self._remote is None and not self.database.is_file()):
            return 0
        ended = 0
        for dagster_run in dagster_run_ids:
            with self._locked() as client:
                experiments = [item.experiment_id for item in client.search_experiments(max_results=50_000)]
                wanted = f"tags.`{RUN_TAG}` = '{_quotable(dagster_run)}' AND attributes.status = 'RUNNING'"
                for run in client.search_runs(experiments, wanted, max_results=50_000):
                    client.set_terminated(run.info.run_id, status)
                    ended += 1
        return ended

    @contextmanager
    def _locked(self) -> Iterator[Any]:
        """The client, with the database made and no other process of ours writing to it; for one batch, not nested.

        Raises:
            StorageError: when another process has the lock, or writes to the database, for too long.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        from mlflow.tracking import MlflowClient  # takes seconds, so before the others have to wait

        if self._remote is None and self.database.is_file():
            self._check_writable()
        with self._lock():
            if self._remote is None and not self.database.is_file():
                self._create_database()
            if self._client is None:
                # It writes a stack trace for what we get as an exception, and it may quote the database's address.
                logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
                if self._remote is not None:
                    check_reachable(MLFLOW_VARIABLE)
                    self._make_tables(self.uri)
                self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            yield self._client

    @contextmanager
    def _lock(self) -> Iterator[None]:
        path = self.home / "locks" / "mlflow.lock"
        make_folder(path.parent)
        seconds = self._patience()
        lock = FileLock(path, timeout=seconds, is_singleton=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            problem = f"another process has held it for more than {seconds:.0f} s"
            remedy = f"wait for that process; where it hangs, `fuser {path}` shows its number: end it"
            raise StorageError(str(path), problem, remedy=remedy) from None
        try:
            yield
        finally:
            lock.release()

    def _patience(self) -> float:
        return LOCK_SECONDS if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _check_writable(self) -> None:
        """Wait for a foreign writer of the SQLite file no longer than ``waiting`` allows: MLflow would, 20 s a query.

        A file that is damaged is left for MLflow to say.
        """
        if self._deadline is None:
            return
        seconds = self._patience()
        with closing(sqlite3.connect(self.database, timeout=seconds, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                    raise
                problem = f"another program has written to it for more than {seconds:.0f} s"
                remedy = f"close that program (`fuser {self.database}` shows its number)"
                raise StorageError(str(self.database), problem, remedy=remedy) from None

    def _create_database(self) -> None:
        """Make the tables in a temporary file first: a kill in between leaves no half-made database."""
        with atomic_file(self.database) as staging:
            self._make_tables(f"sqlite:///{staging}")

    def _make_tables(self, uri: str) -> None:
        """Make MLflow's tables where they are missing.

        On PostgreSQL what a kill interrupted is rolled back or found and completed: its schema changes are
        transactional, SQLite's under MLflow's migrations are not.
        """
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        SqlAlchemyStore(uri, self._artifacts()).engine.dispose()

    def _artifacts(self) -> str:
        return (self.home / "mlflow" / "artifacts").as_uri()

    def _child(self, client: Any, experiment: str, dagster_run: str, child: Child) -> str:
        """Find or create a run and, for a child run, its parent; called under the lock."""
        parent = self._run(client, experiment, dagster_run, None)
        return parent if child is None else self._run(client, experiment, dagster_run, child, parent)

    def _run(self, client: Any, experiment: str, dagster_run: str, child: Child, parent: str | None = None) -> str:
        """Find or create the parent run (child None) or a child run; called under the lock."""
        key = (experiment, dagster_run, child)
        if key in self._runs:
            return self._runs[key]
        found = client.get_experiment_by_name(safe(experiment, "experiment"))
        if found is not None and found.lifecycle_stage != "active":
            uri = f'"${MLFLOW_VARIABLE}"' if self._remote else self.uri
            remedy = f"restore it: MLFLOW_TRACKING_URI={uri} mlflow experiments restore -x {found.experiment_id}"
            raise StorageError(f"MLflow experiment {experiment}", "was deleted in MLflow", remedy=remedy)
        place = (
            found.experiment_id if found else client.create_experiment(experiment, f"{self._artifacts()}/{experiment}")
        )
        kind = {KIND_TAG: "experiment" if child is None else str(child)}
        if isinstance(child, int):
            kind = {KIND_TAG: "iteration", ITERATION_TAG: str(child)}
        tags = {RUN_TAG: _quotable(dagster_run), **kind}
        wanted = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs = client.search_runs([place], wanted, max_results=1)
        if runs:
            run = runs[0]
        else:
            name = experiment if child is None else f"{experiment} {' '.join(kind.values())}"
            more = {} if parent is None else {"mlflow.parentRunId": parent}
            run = client.create_run(place, run_name=name, tags={**tags, **more})
        self._runs[key] = run.info.run_id
        self._starts[run.info.run_id] = run.info.start_time
        return run.info.run_id

    def _is_new(self, run: str, name: str, step: int) -> bool:
        """Whether the run has no value of the metric at that step; asks MLflow once for each metric."""
        key = _METRIC_NAME.sub("_", name)
        if (run, key) not in self._logged:
            with self._locked() as client:
                self._logged[run, key] = {item.step for item in client.get_metric_history(run, key)}
        return step not in self._logged[run, key]

    def _metric(self, run: str, name: str, value: float, step: int, time: int | None = None) -> Any:
        """A point; without a time at the run's start, so that logging it again is not a second one."""
        from mlflow.entities import Metric

        return Metric(_METRIC_NAME.sub("_", name), float(value), self._starts[run] if time is None else time, step)

    def _log(
        self,
        run: str,
        metrics: Mapping[str, float | None],
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        step: int,
    ) -> None:
        """Log in batches, the lock free between them."""
        from mlflow.entities import Param, RunTag

        points = [self._metric(run, name, value, step) for name, value in metrics.items() if value is not None]
        kept = [Param(_METRIC_NAME.sub("_", name), str(value)) for name, value in params.items()]
        marks = [RunTag(name, str(value)) for name, value in tags.items()]
        while points or kept or marks:
            batch = (points[:BATCH_METRICS], kept[:BATCH_OTHERS], marks[:BATCH_OTHERS])
            with self._locked() as client:
                client.log_batch(run, metrics=batch[0], params=batch[1], tags=batch[2])
            points, kept, marks = points[BATCH_METRICS:], kept[BATCH_OTHERS:], marks[BATCH_OTHERS:]


def _database_errors() -> tuple[type[Exception], ...]:
    """What MLflow, its migrations and the database below them raise."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, CommandError, OSError)


@lru_cache(maxsize=4)
def _reader(home: Path, remote: str | None) -> Tracker:
    """One client for each registry, kept: making one costs tenths of a second."""
    return Tracker(home)


def registered_source(home: Path, name: str, version: int | None, alias: str | None) -> tuple[int, Path]:
    """(version, folder) of a registered model; without version and alias of the latest version.

    Raises:
        ModelError: when it is unknown, or lies on no disk (its source is no file:// address).
        StorageError: when the database cannot be used or read.
    """
    found, source = _reader(home, postgres_url(MLFLOW_VARIABLE)).source_of(name, version, alias)
    address = urlsplit(source)
    if address.scheme not in ("", "file") or address.netloc not in ("", "localhost"):
        raise ModelError(
            f"{name} v{found}",
            f"its source is no folder of this machine but has the scheme {address.scheme!r}",
            field="model.name",
            remedy="download it and use model: {kind: folder, path: ...}",
        )
    return found, Path(unquote(address.path))


def _quotable(text: str) -> str:
    if "'" in text or "`" in text:
        raise StorageError("Dagster run id", f"{text!r} holds a quote", remedy="pass the id that Dagster gave")
    return text
