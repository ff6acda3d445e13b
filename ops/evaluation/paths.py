"""Paths below ``evaluation`` in an experiment file, and limits that its models need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ops.config import Experiment
from ops.evaluation.judges.base import Judge
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.recorded import RecordedJudge
from ops.evaluation.judges.reward_model import RewardModel
from ops.evaluation.labels import FileLabels, Labels
from ops.evaluation.settings import ComparedModel, Evaluation
from ops.models import BuiltinModel, FolderModel, HubModel, RegistryModel
from ops.places import existing_file, resolved, with_folder, with_place

FIELD = "evaluation"


def labels_folder(experiment_folder: Path) -> Path:
    """``MINDGAP_LABELS``; by default ``labels`` beside the folder of experiments."""
    return Path(os.environ.get("MINDGAP_LABELS") or experiment_folder.parent / "labels").expanduser().resolve()


def with_evaluation_paths(evaluation: Evaluation, name: str, folder: Path, where: str) -> Evaluation:
    """Every path made absolute. Files must be there, all but that of labels: somebody has yet to write it.

    What models and judges are called does not change with their paths.

    Args:
        name: of the experiment; its labels are ``NAME.jsonl`` unless the file says otherwise.
        folder: where relative paths start.

    Raises:
        ExperimentError: names the field and what is missing.
    """
    update: dict[str, Any] = {"labels": _with_label_file(evaluation.labels, name, folder, where)}
    if evaluation.responses is not None:
        place = existing_file(folder, evaluation.responses, where, f"{FIELD}.responses", "a JSONL file")
        update["responses"] = str(place)
    update["models"] = tuple(
        _compared(item, folder, where, f"{FIELD}.models[{i}].model") for i, item in enumerate(evaluation.models)
    )
    update["judges"] = tuple(
        _judge(judge, folder, where, f"{FIELD}.judges[{i}]") for i, judge in enumerate(evaluation.judges)
    )
    return evaluation.model_copy(update=update)


def _with_label_file(labels: Labels, name: str, folder: Path, where: str) -> Labels:
    if not isinstance(labels, FileLabels):
        return labels
    if labels.path is None:
        return labels.model_copy(update={"path": str(labels_folder(folder) / f"{name}.jsonl")})
    return labels.model_copy(update={"path": str(resolved(folder, labels.path, where, f"{FIELD}.labels.path"))})


def _compared(item: ComparedModel, folder: Path, where: str, field: str) -> ComparedModel:
    if not isinstance(item.model, FolderModel | RegistryModel):
        return item
    found = item.model_copy(update={"model": with_place(item.model, folder, where, field)})
    return _called_as_before(item, found)


def _judge(judge: Judge, folder: Path, where: str, field: str) -> Judge:
    update: dict[str, Any] = {}
    if isinstance(judge, RecordedJudge):
        update["path"] = str(existing_file(folder, judge.path, where, f"{field}.path", "a JSONL file"))
    elif isinstance(judge, RewardModel):
        place = FolderModel(kind="folder", path=judge.path)
        update["path"] = with_folder(place, folder, where, f"{field}.path").path
    else:
        model = getattr(judge, "model", None)
        if isinstance(model, FolderModel | RegistryModel):
            update["model"] = with_place(model, folder, where, f"{field}.model")
    return _called_as_before(judge, judge.model_copy(update=update)) if update else judge


def _called_as_before(before: Any, after: Any) -> Any:
    """A link's name, not that of the folder it leads to: labels that the file leaves out are made of it."""
    return after if after.called == before.called else after.model_copy(update={"label": before.called})


def token_limits_missing(experiment: Experiment) -> list[str]:
    """Fields whose default is made for built-in models, where another kind of model is asked."""
    evaluation = experiment.evaluation
    if evaluation is None:
        return []
    missing = []
    others = [
        item.model for item in evaluation.models if isinstance(item.model, FolderModel | HubModel | RegistryModel)
    ]
    if others and "max_tokens" not in experiment.sampling.model_fields_set:
        missing.append("sampling.max_tokens")
    for i, judge in enumerate(evaluation.judges):
        asked = getattr(judge, "model", None) or experiment.model
        if isinstance(judge, RewardModel) or isinstance(asked, BuiltinModel) or judge.learns:
            continue
        part, field = (judge.verifier, ".verifier") if isinstance(judge, BradleyTerry) else (judge, "")
        if "max_tokens" in type(part).model_fields and "max_tokens" not in part.model_fields_set:
            missing.append(f"{FIELD}.judges[{i}]{field}.max_tokens")
    return missing
