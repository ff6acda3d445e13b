"""Pairs with the labels and judgements that there are by now, for plans and for draws that learn from labels."""

from __future__ import annotations

from dataclasses import replace

from ops.errors import StorageError
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages.human_labels import read_labels, stored_pairs
from ops.stages.win_rate_data import ModelPairs, read_pairs


def current_pairs(lab: Lab) -> list[ModelPairs]:
    """Pairs, the labels so far and judgements of every model; labels are read first.

    Fine-tuned judges are left out until they have judged with the labels that there are.

    Raises:
        StorageError: when pairs or judgements are not there yet: names the command that makes them.
    """
    stored_pairs(lab)
    check_judged(lab)
    read_labels(lab)
    return read_pairs(lab if has_tuned(lab) else _untuned(lab))


def check_judged(lab: Lab) -> None:
    """Refuse to go on without the judgements of judges that need no labels.

    Raises:
        StorageError: names the command that makes them.
    """
    asset, name = evaluation_asset("synthetic_judgements"), lab.experiment.name
    if not lab.store.has("synthetic_judgements", lab.plan.fingerprints[asset]):
        raise StorageError(name, f"{asset} is not there yet", remedy=f"run `mindgap run {name}` first")


def has_tuned(lab: Lab) -> bool:
    """Whether every judge that learns has judged with the labels that there are; True where none learns."""
    tuned = lab.plan.fingerprints[evaluation_asset("tuned_judgements")]
    return not lab.evaluation.learning_judges or lab.store.has("synthetic_judgements", tuned)


def _untuned(lab: Lab) -> Lab:
    """The lab as if no judge learned."""
    evaluation = lab.evaluation.model_copy(update={"judges": lab.evaluation.prompted_judges})
    return replace(lab, experiment=lab.experiment.model_copy(update={"evaluation": evaluation}))
