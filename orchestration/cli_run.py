"""``mindgap run``: validate, recover, execute in this process against the persistent instance, show the result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ops.errors import MindgapError
from ops.lab import PROJECT, known_experiments, named_experiment
from ops.plan import make_plan
from ops.stages.problems import check_problem_files
from orchestration.endings import first_failure
from orchestration.instance import open_instance, prepare_environment

if TYPE_CHECKING:
    from dagster import DagsterInstance, JobExecutionResult
    from dagster._core.definitions.reconstruct import ReconstructableJob
    from dagster._core.remote_origin import RemoteJobOrigin

OK, FAILED, INVALID = 0, 1, 2
DEFINITIONS = "orchestration.definitions"


def run_experiments(names: list[str], *, every: bool, verbose: bool) -> int:
    """Run the named experiments one after the other; returns the exit code.

    0: all done. 1: a step failed. 2: a file cannot be used; then nothing at all was run or written.
    """
    home = prepare_environment()
    names = _chosen(names, every)
    errors = _errors(names)
    for error in errors:
        click.echo(f"mindgap: {error}", err=True)
    if errors or not names:
        if not names:
            click.echo("mindgap: no experiment named; `mindgap list` shows those there are", err=True)
        return INVALID
    os.environ["MINDGAP_PROGRESS"] = "terminal"
    from orchestration.partitions import add_partitions
    from orchestration.recover import recover

    with open_instance() as instance:
        for line in recover(instance, home):
            click.echo(f"recovered: {line}", err=True)
        add_partitions(instance, names)
        for name in names:
            code = run_one(instance, name, verbose)
            if code != OK:
                return code
    from orchestration.cli_report import show_report

    sys.stderr.flush()
    show_report(names)
    return OK


def _chosen(names: list[str], every: bool) -> list[str]:
    found = [*names, *known_experiments()[0]] if every else names
    return list(dict.fromkeys(name.removesuffix(".yaml").rsplit("/", 1)[-1] for name in found))


def _errors(names: list[str]) -> list[MindgapError]:
    """What is wrong with each file and with what it points to: checkpoints, and every row of problem files."""
    errors: list[MindgapError] = []
    for name in names:
        try:
            experiment = named_experiment(name)
            make_plan(experiment)
            check_problem_files(experiment)
        except MindgapError as error:
            errors.append(error)
    return errors


def run_one(instance: DagsterInstance, name: str, verbose: bool) -> int:
    """Run one experiment and say how it went; returns the exit code."""
    start = time.monotonic()
    click.echo(f"{name}: running", err=True)
    result = execute(instance, name, verbose=verbose)
    seconds = time.monotonic() - start
    if not result.success:
        click.echo(f"{name}: failed after {seconds:.0f} s\n  {_cause(result)}", err=True)
        click.echo(f"  run {result.run_id}; `mindgap ui` shows its log; run it again to resume", err=True)
        return FAILED
    computed, reused = _counts(result)
    click.echo(f"{name}: done in {seconds:.1f} s ({computed} results computed, {reused} reused)", err=True)
    return OK


def execute(
    instance: DagsterInstance,
    partition: str | None,
    *,
    job_name: str = "experiment_job",
    run_config: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> JobExecutionResult:
    """Execute a job in this process, for one partition if it has any, as a run that the UI shows and can repeat."""
    from dagster._core.execution.api import execute_run

    from orchestration.notifications import notify_of
    from orchestration.recover import process_tag

    job = reconstructable_job(job_name)
    job_def = job.get_definition()
    level = "DEBUG" if verbose else "CRITICAL"
    of_partition = {} if partition is None else {"dagster/partition": partition}
    run = instance.create_run_for_job(
        job_def,
        tags={**job_def.run_tags, **of_partition, "mindgap/launched_by": "mindgap run", **process_tag()},
        run_config={**(run_config or {}), "loggers": {"console": {"config": {"log_level": level}}}},
        remote_job_origin=_ui_origin(job_name),
        job_code_origin=job.get_python_origin(),
    )
    result = execute_run(job, run, instance)
    notify_of(
        instance, run, event="success" if result.success else "failure", reason="" if result.success else _cause(result)
    )
    return result


def reconstructable_job(name: str) -> ReconstructableJob:
    """A job that Dagster can load again in another process, as the multiprocess executor does."""
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

    pointer = ModuleCodePointer(DEFINITIONS, "defs", str(PROJECT))
    return ReconstructableJob(
        ReconstructableRepository(pointer, executable_path=sys.executable, entry_point=["dagster"]), name
    )


def _ui_origin(job: str) -> RemoteJobOrigin:
    """Where the UI finds the job of a run that it did not start: the code location of workspace.yaml."""
    from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=DEFINITIONS)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name="mindgap")
    return RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job)


def _cause(result: JobExecutionResult) -> str:
    return first_failure(result.all_events) or "see the run's log"


def _counts(result: JobExecutionResult) -> tuple[int, int]:
    """(computed, reused) among the materialized assets."""
    reused = [
        event.step_materialization_data.materialization.metadata.get("reused")
        for event in result.all_events
        if event.is_step_materialization
    ]
    values = [bool(item.value) for item in reused if item is not None]
    return values.count(False), values.count(True)
