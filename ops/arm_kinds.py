"""Who judges what an experiment trains on: the one classification that pages, tables and findings share."""

from __future__ import annotations

from typing import Literal

from ops.config import Experiment
from ops.verifiers.base import DerivedVerifier, ModelVerifier

ArmKind = Literal["self", "cross", "gold", "none", "mixed"]


def kind_of(experiment: Experiment) -> ArmKind:
    """The generator itself, a fixed other model, the truth, nobody, or several of them (``mixed``).

    An ensemble is what all its members are. A verifier with a ``model`` of its own is a fixed other one even where that
    is the experiment's base model: from the first update on it is no longer the generator. Verifiers that ask no model
    (majority, say) count as the generator's own: they read its responses only.
    """
    if experiment.filter.name in ("gold", "none"):
        return "gold" if experiment.filter.name == "gold" else "none"
    by_name = {item.called: item for item in experiment.verifiers}
    asked: set[ArmKind] = set()
    left = list(experiment.filter.verifier_names)
    while left:
        verifier = by_name[left.pop()]
        members = verifier.members if isinstance(verifier, DerivedVerifier) else ()
        left += members
        if not members:
            asked.add("cross" if isinstance(verifier, ModelVerifier) and verifier.model is not None else "self")
    return asked.pop() if len(asked) == 1 else "mixed"
