"""The tags by which runs are found: every run carries them, however it was started.

They are written when the run opens its bench, because runs that Dagster itself makes (a backfill, a click on an asset)
pass through no code of ours before that.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ops.arms import ArmMember
from ops.errors import MindgapError
from ops.exploration_study import ExplorationMember
from ops.lab import named_experiment, studies_folder
from ops.study_files import load_any_study

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

EXPERIMENT_TAG = "mindgap/experiment"
STUDY_TAG = "mindgap/study"
ARM_TAG = "mindgap/arm"
SEED_TAG = "mindgap/seed"
ITERATIONS_TAG = "mindgap/iterations"
STEPS_TAG = "mindgap/steps"
ESTIMAND_TAG = "mindgap/estimand"
LAUNCHED_TAG = "mindgap/launched_by"
PARTITION_TAG = "dagster/partition"


def tags_of(name: str) -> dict[str, str]:
    """Tags of a run of one experiment; of a study's member also the study, and its arm and seed where it has them.

    The seed is that of the arm, otherwise that of exploration or of sampling. Of an experiment that cannot be used: its
    name only.
    """
    tags = {EXPERIMENT_TAG: name}
    try:
        experiment = named_experiment(name)
    except MindgapError:
        return tags
    tags[SEED_TAG] = str(experiment.sampling.seed)
    if experiment.exploration is not None:
        tags |= {STEPS_TAG: str(experiment.exploration.steps), SEED_TAG: str(experiment.exploration.seed)}
    elif experiment.evaluation is not None:
        tags[ESTIMAND_TAG] = experiment.evaluation.estimand
    else:
        tags[ITERATIONS_TAG] = str(experiment.iterations)
    for path in sorted(studies_folder().glob("*.yaml")):
        if name.startswith(f"{path.stem}-"):
            found = path.stat()
            tags |= _of_members(path, found.st_mtime_ns, found.st_size).get(name, {})
    return tags


@lru_cache(maxsize=64)
def _of_members(path: Path, modified_ns: int, size: int) -> dict[str, dict[str, str]]:
    """Tags by experiment of one study file, read again only when it has changed."""
    try:
        loaded = load_any_study(path)
    except MindgapError:
        return {}
    tags = {member.experiment.name: {STUDY_TAG: loaded.study.name} for member in loaded.members}
    for member in loaded.members:
        if isinstance(member, ArmMember | ExplorationMember):
            tags[member.experiment.name] |= {ARM_TAG: member.arm, SEED_TAG: str(member.seed)}
    return tags


def tag_run(instance: DagsterInstance, run: DagsterRun) -> None:
    """Write the tags that a run of one experiment lacks; a re-execution has its parent's."""
    name = run.tags.get(PARTITION_TAG)
    if name is None or EXPERIMENT_TAG in run.tags:
        return
    missing = {key: value for key, value in tags_of(name).items() if key not in run.tags}
    instance.add_run_tags(run.run_id, missing)
