"""Studies of exploration: tasks x arms x seeds in one file ``studies/NAME.yaml``, each a policy trained by itself.

An arm is what decides how a policy explores: the bonus by final answer, the advantage, the reward (2509.06941). Every
arm on every task with every seed is an ordinary experiment named ``STUDY-TASK-ARM-sSEED``: a partition like any other,
found by name, runnable alone. ``ops.exploration_files`` expands and loads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ops.arms import SeededStudy, check_labels
from ops.config import Experiment
from ops.variants import FromList

TALK_K = 32
"""The k that the talk's table of 2509.06941 shows beside 1."""

BASE = "base"
"""What tables call the model before any training, where an arm's label stands."""

OVERRIDES = "arms"
"""Key of a task under which single arms have fields of their own on that task."""

PLAIN_ADVANTAGES = ("group_normalised", "mean_only")

TrainedSeeds = Literal["exploration", "sampling", "problems", "model"]


class ExplorationStudy(SeededStudy):
    """What a researcher writes in ``studies/NAME.yaml`` to compare arms of exploration. The hypothesis comes first.

    ``experiment`` holds the fields of an experiment that all share; ``tasks`` by label those that make a task (model,
    task, problems, sampling), and under ``arms`` of it what single arms have there only; ``arms`` by label how each is
    trained. ``seeds`` are given to every part listed in ``seeded``. ``reference``: the arm that the others are compared
    with, beside the base model; by default the first one that is plain reinforcement learning (``is_plain``).
    """

    tasks: dict[str, dict[str, Any]] = Field(min_length=1)
    seeded: FromList[tuple[TrainedSeeds, ...]] = ("exploration", "sampling")

    @field_validator("tasks", mode="before")
    @classmethod
    def _nothing_of_its_own(cls, value: Any) -> Any:
        """``countdown:`` with nothing behind it is what the common fields say."""
        return {key: {} if item is None else item for key, item in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _tasks(self) -> ExplorationStudy:
        check_labels("tasks", self.tasks)
        if BASE in self.arms:
            raise ValueError(f"arms: another label than {BASE}, which is the model before any training")
        names = list(self.experiment_names())
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"arms: labels that give every experiment a name of its own, {twice} would be two")
        for task, fields in self.tasks.items():
            own = fields.get(OVERRIDES, {})
            if not isinstance(own, dict) or not all(isinstance(item, dict) for item in own.values()):
                raise ValueError(f"tasks.{task}.{OVERRIDES}: a mapping of arms to their fields on this task")
            for arm in own:
                if arm not in self.arms:
                    known = ", ".join(self.arms)
                    raise ValueError(f"tasks.{task}.{OVERRIDES}: arms of the study ({known}), got {arm}")
        return self

    def experiment_names(self) -> Iterator[str]:
        return (self.experiment_name(*place) for place in itertools.product(self.tasks, self.arms, self.seeds))

    def experiment_name(self, task: str, arm: str, seed: int) -> str:
        """``explore-countdown-ucb-s0``."""
        return f"{self.name}-{task}-{arm}-s{seed}"

    def common_of(self, task: str) -> Mapping[str, Any]:
        """What all arms share on a task."""
        return {name: value for name, value in self.tasks[task].items() if name != OVERRIDES}

    def own_of(self, task: str, arm: str) -> Mapping[str, Any]:
        """What an arm has on this task only."""
        return self.tasks[task].get(OVERRIDES, {}).get(arm, {})


@dataclass(frozen=True)
class ExplorationMember:
    """One experiment of a study of exploration: an arm on a task with a seed."""

    experiment: Experiment
    task: str
    arm: str
    seed: int


@dataclass(frozen=True)
class LoadedExploration:
    """A file of exploration, read, validated and expanded: task by task, arm by arm, seed by seed."""

    study: ExplorationStudy
    members: tuple[ExplorationMember, ...]
    where: str

    @property
    def reference(self) -> str:
        """The arm that others are compared with: the file's, else the first plain one, else the first."""
        if self.study.reference is not None:
            return self.study.reference
        plain = (member.arm for member in self.members if is_plain(member.experiment))
        return next(plain, self.members[0].arm)


def is_plain(experiment: Experiment) -> bool:
    """Whether this is reinforcement learning on right answers and nothing else: what 7a and 7d are about.

    Right answers are worth 1, advantages are those of the group, and nothing is added to them. Pass@k training,
    weighted advantages and rewards for unlikely or diverse answers are there for diversity, as a bonus is.
    """
    own = experiment.exploration
    return (
        own is not None
        and own.reward.name == "verifiable"
        and own.advantage.name in PLAIN_ADVANTAGES
        and own.bonus.name == "none"
    )
