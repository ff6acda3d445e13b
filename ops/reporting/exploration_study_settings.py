"""What the experiments of a study of exploration have in common, and what differs by task, by arm and by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.config import Experiment
from ops.exploration_bench import ExplorationBench
from ops.reporting.words import NOTHING

PARTS = ("model", "task", "problems", "sampling", "exploration", "statistics")


@dataclass(frozen=True)
class StudySettings:
    """Fields of experiment files by dotted name, defaults filled in; a dash where an experiment has no such field.

    Attributes:
        common: the same in every experiment.
        tasks: field -> task -> value; the same for all arms of a task.
        arms: field -> (task, arm) -> value.
        seeded: field -> its values; what differs between experiments of one arm and task.
    """

    common: Mapping[str, str]
    tasks: Mapping[str, Mapping[str, str]]
    arms: Mapping[str, Mapping[tuple[str, str], str]]
    seeded: Mapping[str, tuple[str, ...]]

    def of_arm(self, arm: str) -> dict[str, dict[str, str]]:
        """Of one arm: field -> task -> value, those fields left out that it has on no task."""
        found = {
            field: {task: value for (task, label), value in values.items() if label == arm}
            for field, values in self.arms.items()
        }
        return {field: values for field, values in found.items() if set(values.values()) != {NOTHING}}


def read_settings(bench: ExplorationBench) -> StudySettings:
    """Of every experiment of the study, measured or not."""
    given = {(item.task, item.arm, item.seed): _fields(item.experiment) for item in bench.loaded.members}
    common: dict[str, str] = {}
    tasks: dict[str, dict[str, str]] = {}
    arms: dict[str, dict[tuple[str, str], str]] = {}
    seeded: dict[str, tuple[str, ...]] = {}
    for field in dict.fromkeys(name for fields in given.values() for name in fields):
        values = {place: fields.get(field, NOTHING) for place, fields in given.items()}
        by_arm = {(task, arm): {values[p] for p in values if p[:2] == (task, arm)} for task, arm, _ in values}
        by_task = {task: {values[p] for p in values if p[0] == task} for task, *_ in values}
        if len(set(values.values())) == 1:
            common[field] = next(iter(values.values()))
        elif any(len(found) > 1 for found in by_arm.values()):
            seeded[field] = tuple(dict.fromkeys(values.values()))
        elif all(len(found) == 1 for found in by_task.values()):
            tasks[field] = {task: next(iter(found)) for task, found in by_task.items()}
        else:
            arms[field] = {place: next(iter(found)) for place, found in by_arm.items()}
    return StudySettings(common, tasks, arms, seeded)


def _fields(experiment: Experiment) -> dict[str, str]:
    return {
        name: value
        for part in PARTS
        for name, value in _flat(part, getattr(experiment, part).model_dump(mode="json")).items()
    }


def _flat(path: str, value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {name: text for key, below in value.items() for name, text in _flat(f"{path}.{key}", below).items()}
    return {path: "none" if value is None else str(value)}
