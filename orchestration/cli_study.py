"""``mindgap study``: run every experiment of a study, then its own assets, and show what came out."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ops.arms import LoadedArms
from ops.arms_plan import ArmsBench
from ops.config import Experiment
from ops.errors import MindgapError
from ops.exploration_bench import ExplorationBench
from ops.exploration_study import LoadedExploration
from ops.lab import PROJECT, known_experiments, studies_folder
from ops.plan import make_plan
from ops.stages.problems import check_problem_files
from ops.study_files import AnyStudy, load_any_study
from ops.study_plan import StudyBench, all_members
from orchestration.cli_run import FAILED, INVALID, OK, execute, run_one
from orchestration.endings import first_failure, was_interrupted
from orchestration.instance import open_instance, prepare_environment
from orchestration.run_tags import PARTITION_TAG

if TYPE_CHECKING:
    from dagster import DagsterInstance


def run_study(name: str, *, report_only: bool, verbose: bool) -> int:
    """Run a study from its models to its report; returns the exit code as ``mindgap run`` does.

    What is complete already is not started again. An experiment that fails does not end the study: the others run, the
    report is made of what is complete, and the failures are listed at the end. An interrupt ends it at once. With
    ``report_only`` nothing but the study's own tables and page is made, from the experiments that are complete.
    """
    home = prepare_environment()
    name = name.removesuffix(".yaml").rsplit("/", 1)[-1]
    loaded, errors = _checked(name)
    for error in errors:
        click.echo(f"mindgap: {error}", err=True)
    if loaded is None or errors:
        return INVALID
    os.environ["MINDGAP_PROGRESS"] = "terminal"
    from orchestration.partitions import add_partitions
    from orchestration.recover import recover

    start = time.monotonic()
    with open_instance() as instance:
        for line in recover(instance, home):
            click.echo(f"recovered: {line}", err=True)
        names = [experiment.name for experiment in _experiments(loaded)]
        missing = _bench(loaded).missing
        failed: list[str] = []
        if not report_only:
            add_partitions(instance, names)
            click.echo(f"{name}: {len(names)} experiments, {len(names) - len(missing)} of them complete", err=True)
            for experiment in missing:
                if run_one(instance, experiment, verbose) != OK:
                    failed.append(experiment)
                    if _interrupted(instance, experiment):
                        return FAILED
        if not _bench(loaded).labs:
            remedy = f"run `mindgap study {name}`" if report_only else "see above why"
            click.echo(f"mindgap: study {name} has no complete experiment; {remedy}", err=True)
            return INVALID if report_only else FAILED
        code = _run_assets(instance, name, verbose)
    if code == OK:
        if not failed:
            click.echo(f"{name}: done in {time.monotonic() - start:.0f} s", err=True)
        sys.stderr.flush()
        show_study(loaded)
    if failed:
        click.echo(
            f"{name}: {len(failed)} of {len(names)} experiments failed and are missing from the report: "
            f"{', '.join(failed)}; run it again to resume",
            err=True,
        )
        return FAILED
    return code


def _interrupted(instance: DagsterInstance, experiment: str) -> bool:
    """Whether the experiment's last run was interrupted by its user."""
    from dagster import RunsFilter

    runs = instance.get_runs(RunsFilter(tags={PARTITION_TAG: experiment}), limit=1)
    return any(was_interrupted(instance, run.run_id) for run in runs)


def _experiments(loaded: AnyStudy) -> list[Experiment]:
    """Of a study of any kind, in its order."""
    members = loaded.members if isinstance(loaded, LoadedArms | LoadedExploration) else all_members(loaded)
    return [member.experiment for member in members]


def _bench(loaded: AnyStudy) -> StudyBench | ArmsBench | ExplorationBench:
    """The study as it stands now; the catalog is not told."""
    if isinstance(loaded, LoadedArms):
        return ArmsBench.open(loaded, register=False)
    if isinstance(loaded, LoadedExploration):
        return ExplorationBench.open(loaded, register=False)
    return StudyBench.open(loaded, register=False)


def _checked(name: str) -> tuple[AnyStudy | None, list[MindgapError]]:
    """The study, and what is wrong with it or with what its experiments point to."""
    try:
        loaded = load_any_study(studies_folder() / f"{name}.yaml")
    except MindgapError as error:
        return None, [error]
    taken = known_experiments()[1].get(f"studies/{name}")
    errors: list[MindgapError] = [] if taken is None else [taken]
    try:
        for experiment in _experiments(loaded):
            make_plan(experiment)
            check_problem_files(experiment)
    except MindgapError as error:
        errors.append(error)
    return loaded, errors


def _run_assets(instance: DagsterInstance, name: str, verbose: bool) -> int:
    """``study_job`` for one study, in this process."""
    from assets.study import ARM_STAGES, EXPLORATION_STAGES, STAGES

    assets = (*STAGES, *ARM_STAGES, *EXPLORATION_STAGES)
    config: dict[str, Any] = {"ops": {asset: {"config": {"studies": [name]}} for asset in assets}}
    result = execute(instance, None, job_name="study_job", run_config=config, verbose=verbose)
    if result.success:
        return OK
    click.echo(f"{name}: failed\n  {first_failure(result.all_events)}", err=True)
    click.echo(f"  run {result.run_id}; `mindgap ui` shows its log", err=True)
    return FAILED


def show_study(loaded: AnyStudy) -> None:
    """Print the findings, the tables of the study's kind and where the page is."""
    from rich.console import Console

    from ops.reporting.arms_data import read_arms
    from ops.reporting.arms_table import terminal_arms
    from ops.reporting.exploration_study_data import read_exploration
    from ops.reporting.exploration_study_table import terminal_exploration
    from ops.reporting.study_data import read_study
    from ops.reporting.study_table import terminal_findings

    bench = _bench(loaded)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    if isinstance(bench, ArmsBench):
        console.print(terminal_arms(read_arms(bench)))
    elif isinstance(bench, ExplorationBench):
        console.print(terminal_exploration(read_exploration(bench)))
    else:
        console.print(terminal_findings(read_study(bench)))
    shown = bench.folder.relative_to(PROJECT) if bench.folder.is_relative_to(PROJECT) else bench.folder
    name = bench.study.name
    click.echo(f"\nThe report: {shown}/index.html (every table as CSV and Parquet beside it)")
    click.echo(f"By SQL:     mindgap sql \"FROM findings WHERE experiment = '{name}'\"")
