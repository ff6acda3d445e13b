"""The kinds of experiments: each has assets of its own, and those of the others are skipped in it."""

from __future__ import annotations

from typing import Literal, get_args

from ops.config import Experiment

Group = Literal["exploration", "evaluation"]
"""Keys of an experiment file that take the place of the loop, and what their assets' names begin with."""

Kind = Literal["loop", Group]

GROUPS: tuple[Group, ...] = get_args(Group)


def kind_of(experiment: Experiment) -> Kind:
    """Which assets an experiment has; ``loop`` also where nothing is trained."""
    if experiment.exploration is not None:
        return "exploration"
    return "loop" if experiment.evaluation is None else "evaluation"


def kind_of_group(group: str) -> Kind | None:
    """The kind that an asset's group belongs to, e.g. ``iteration_2``; None where every experiment has it."""
    if group.startswith("iteration_"):
        return "loop"
    return next((kind for kind in GROUPS if kind == group), None)
