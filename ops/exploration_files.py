"""Files of exploration: read, and expanded into one experiment for every task, arm and seed.

Arms of one task and seed share whatever they agree on by fingerprint: the base model and its responses above all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from ops.arms_files import SAME
from ops.errors import ExperimentError
from ops.experiment_files import shown_path, validated_file, with_paths
from ops.exploration_study import OVERRIDES, ExplorationMember, ExplorationStudy, LoadedExploration
from ops.study_layers import Compared, Fields, Layer, Origin, Refused, check_places, check_same

REMEDY = "see docs/studies.md for every field, or copy studies/explore.yaml"

OF_A_TASK = ("model", "task", "sampling", "prompts", "engine", "limits")
"""What makes the base model's responses, so that one base model stands beside all arms of a task."""

NO_LOOP = ("verifiers", "filter", "gap_filters", "iterations", "adapt", "training", "stop")
"""Fields of an experiment that is iterated: exploration has none of them."""

TRAINED_ALIKE = (*SAME, ("exploration", "steps", "steps of training"))
"""What arms of a task are compared on."""


def load_exploration(path: str | Path) -> LoadedExploration:
    """Read, validate and expand one file of exploration; relative paths start at it.

    Raises:
        ExperimentError: names the file, the first wrong field, what was found and what was expected.
    """
    path = Path(path)
    where = shown_path(path)
    study = validated_file(path, where, ExplorationStudy, REMEDY)
    folder = path.resolve().parent
    members = []
    for member in expand_exploration(study, where):
        try:
            experiment = with_paths(member.experiment, folder, where)
        except ExperimentError as error:
            raise _origin(study, member.task, member.arm, member.seed).renamed(error) from None
        members.append(ExplorationMember(experiment, member.task, member.arm, member.seed))
    return LoadedExploration(study, tuple(members), where)


def expand_exploration(study: ExplorationStudy, where: str = "study") -> tuple[ExplorationMember, ...]:
    """The experiments of all tasks, arm by arm, seed by seed; a pure function of the study.

    Raises:
        ExperimentError: when an arm is no valid experiment, or arms of a task meet different evaluation problems or are
            trained for different numbers of steps.
    """
    check_places(dict(_places(study)), study.seeded, where)
    places = itertools.product(study.tasks, study.arms, study.seeds)
    members = tuple(_member(study, task, arm, seed, where) for task, arm, seed in places)
    compared = (
        Compared((item.task, item.seed), item.arm, _origin(study, item.task, item.arm, item.seed), item.experiment)
        for item in members
    )
    remedy = "arms of a task are compared problem by problem after the same training: give it under experiment or tasks"
    check_same(compared, TRAINED_ALIKE, where, remedy)
    return members


def _places(study: ExplorationStudy) -> Iterator[tuple[str, tuple[Fields, Refused | None]]]:
    """Every place of the file where fields of experiments stand, with what it cannot give."""
    loop = "the policies of a study of exploration are trained by reinforcement learning"
    yield "experiment", (study.experiment, Refused(NO_LOOP, loop, "take it out"))
    all_tasks = Refused(("statistics", *NO_LOOP), "all tasks and arms share it", "give it under experiment")
    all_arms = Refused(
        ("statistics", *OF_A_TASK, *NO_LOOP), "all arms of a task share it", "give it under experiment or tasks"
    )
    for task in study.tasks:
        yield f"tasks.{task}", (study.common_of(task), all_tasks)
    for arm, fields in study.arms.items():
        yield f"arms.{arm}", (fields, all_arms)
    for task, arm in itertools.product(study.tasks, study.arms):
        yield f"tasks.{task}.{OVERRIDES}.{arm}", (study.own_of(task, arm), all_arms)


def _member(study: ExplorationStudy, task: str, arm: str, seed: int, where: str) -> ExplorationMember:
    origin = _origin(study, task, arm, seed)
    if origin.fields.get("exploration") is None:
        problem = f"required, but missing (experiment {origin.name})"
        raise ExperimentError(where, problem, field="experiment.exploration", remedy=REMEDY)
    return ExplorationMember(origin.experiment(study.hypothesis, seed, where), task, arm, seed)


def _origin(study: ExplorationStudy, task: str, arm: str, seed: int) -> Origin:
    """Four layers: what all share, what makes the task, what makes the arm, and what the arm has on this task only."""
    layers = (
        Layer("experiment", study.experiment),
        Layer(f"tasks.{task}", study.common_of(task)),
        Layer(f"arms.{arm}", study.arms[arm]),
        Layer(f"tasks.{task}.{OVERRIDES}.{arm}", study.own_of(task, arm)),
    )
    wanted = {"model": f"tasks.{task}", "task": f"tasks.{task}"}
    return Origin(study.experiment_name(task, arm, seed), layers, study.seeded, REMEDY, own=2, wanted=wanted)
