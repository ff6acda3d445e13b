"""The code location: every asset, check, job, schedule and sensor. Loaded by Dagster and by ``mindgap run``."""

from __future__ import annotations

import logging

import dagster as dg

from assets.bandits import bandit_regret
from assets.base_model import base_model
from assets.diversity_metrics import build_diversity_metrics
from assets.evaluation import build_evaluation
from assets.exploration import build_exploration
from assets.finetune_data import build_finetune_data
from assets.gap_metrics import build_gap_metrics
from assets.generations import build_generations
from assets.iteration_changes import build_iteration_changes
from assets.model import build_model
from assets.policy_shift import build_policy_shift
from assets.problems import problems
from assets.report import build_report
from assets.saturation import build_saturation
from assets.selection_metrics import build_selection_metrics
from assets.stopping_rules import build_stopping_rules
from assets.study import STUDY_ASSETS
from assets.verification_scores import build_verification_scores
from assets.verification_study import build_verification_study
from orchestration.automation import refresh_reports, with_conditions
from orchestration.checks import build_checks
from orchestration.instance import executor_name
from orchestration.jobs import all_experiments_job, experiment_job, study_backfill_job, study_job
from orchestration.partitions import valid_experiments
from orchestration.resources import bench_resource, numbers_io_manager
from orchestration.schedules import nightly_rerun
from orchestration.sensors import SENSORS


def largest_iterations() -> int:
    """The last iteration that any valid experiment asks for; 1 where there is no valid one."""
    experiments = valid_experiments(logging.getLogger("mindgap"))
    return max((experiment.iterations for experiment in experiments.values()), default=1)


def build_assets(iterations: int) -> list[dg.AssetsDefinition]:
    """The graph with iterations 0..iterations: iteration k trains the model of k + 1, the last one trains nothing.

    Beside them exploration and evaluation: an experiment has one of the three, and skips the others.
    """
    assets = [problems, base_model, *build_exploration(), *build_evaluation()]
    for k in range(iterations + 1):
        assets += [
            build_generations(k),
            build_verification_scores(k),
            build_gap_metrics(k),
            *build_verification_study(k),
            build_diversity_metrics(k),
            build_policy_shift(k),
            *(build_iteration_changes(k) if k > 0 else ()),
            build_stopping_rules(k),
        ]
        if k < iterations:
            assets += [build_finetune_data(k), build_selection_metrics(k), build_model(k)]
    return [*assets, build_saturation(iterations), build_report(iterations), *STUDY_ASSETS, bandit_regret]


def build_executor() -> dg.ExecutorDefinition:
    """In this process by default; with MINDGAP_EXECUTOR a process per step (multiprocess) or a Kubernetes job (k8s).

    Raises:
        SetupError: when the variable is unknown, or names a library that is not installed.
    """
    name = executor_name()
    if name == "in_process":
        return dg.in_process_executor
    if name == "k8s":
        from dagster_k8s import k8s_job_executor

        return k8s_job_executor  # not configured here: what the run's config and the run launcher say holds
    forks = {"forkserver": {"preload_modules": ["orchestration.definitions"]}}
    return dg.multiprocess_executor.configured({"max_concurrent": 4, "start_method": forks})


def build_definitions(iterations: int) -> dg.Definitions:
    """Everything, for a graph with iterations 0..iterations."""
    return dg.Definitions(
        assets=with_conditions(build_assets(iterations)),
        asset_checks=build_checks(iterations),
        jobs=[experiment_job, all_experiments_job, study_job, study_backfill_job],
        schedules=[nightly_rerun],
        sensors=[*SENSORS, refresh_reports],
        resources={"bench": bench_resource(iterations), "numbers": numbers_io_manager},
        executor=build_executor(),
    )


defs = build_definitions(largest_iterations())
