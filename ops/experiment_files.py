"""Experiment files: read, validated, and their relative paths made absolute, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ops.config import Experiment
from ops.errors import DatasetError, ExperimentError, MindgapError
from ops.evaluation.paths import token_limits_missing, with_evaluation_paths
from ops.explain import explain
from ops.models import FolderModel, HubModel, RegistryModel
from ops.places import FROM_THE_FILE, existing_file, resolved, with_folder, with_place
from ops.recorded import score_columns
from ops.variants import Strict
from ops.verifiers import VERIFIERS
from ops.yaml_file import REMEDY, read_mapping

__all__ = [
    "existing_file",
    "load_experiment",
    "load_experiments",
    "shown_path",
    "validated_file",
    "with_folder",
    "with_paths",
]

_Named = TypeVar("_Named", bound=Strict)


def load_experiment(path: str | Path) -> Experiment:
    """Read and validate one experiment file.

    Raises:
        ExperimentError: names the file, the first wrong field, what was found and what was expected.
    """
    path = Path(path)
    where = shown_path(path)
    experiment = validated_file(path, where, Experiment, REMEDY)
    return with_paths(experiment, path.resolve().parent, where)


def validated_file(path: Path, where: str, kind: type[_Named], remedy: str) -> _Named:
    """A YAML file as the model ``kind``, whose ``name`` is the file's own.

    Raises:
        ExperimentError: names ``where``, the first wrong field, what was found and what was expected.
    """
    data = read_mapping(path, where)
    try:
        found = kind.model_validate(data)
    except ValidationError as error:
        field, problem = explain(error, kind)
        raise ExperimentError(where, problem, field=field, remedy=remedy) from None
    except MindgapError as error:
        raise ExperimentError(where, error.problem, field=error.field, remedy=error.remedy or remedy) from None
    name = found.name  # type: ignore[attr-defined]
    if name != path.stem:
        problem = f"expected the file's own name {path.stem!r}, got {name!r}"
        raise ExperimentError(where, problem, field="name", remedy=f"rename the file or the {kind.__name__.lower()}")
    return found


def with_paths(experiment: Experiment, folder: Path, where: str) -> Experiment:
    """Make relative paths relative to the experiment file, and refuse files that are not there.

    Paths that are absolute already stay as they are, so it may be done twice.
    """
    update: dict[str, Any] = {}
    if isinstance(experiment.model, FolderModel | RegistryModel):
        update["model"] = with_place(experiment.model, folder, where, "model")
    verifiers = list(experiment.verifiers)
    for i, model in experiment.verifier_models():
        if isinstance(model, FolderModel | RegistryModel):
            found = with_place(model, folder, where, f"verifiers[{i}].model")
            verifiers[i] = verifiers[i].model_copy(update={"model": found})
    if verifiers != list(experiment.verifiers):
        update["verifiers"] = tuple(verifiers)
    files: dict[str, str] = {}
    for field in ("train_file", "eval_file"):
        value = getattr(experiment.problems, field)
        if value is not None:
            files[field] = str(existing_file(folder, value, where, f"problems.{field}", "a JSONL file"))
    if files:
        update["problems"] = experiment.problems.model_copy(update=files)
    if experiment.engine.replays:
        path = existing_file(folder, experiment.engine.path, where, "engine.path", "a JSONL or Parquet file")
        update["engine"] = experiment.engine.model_copy(update={"path": str(path)})
        update["verifiers"] = _with_recorded(verifiers, str(path), where)
        if not update["verifiers"]:
            raise ExperimentError(
                where,
                "expected at least one verifier; the file has no scores of its own",
                field="verifiers",
                remedy="list one that needs no model, such as {name: majority}, or one with a model",
            )
    if experiment.prompts.folder is not None:
        path = resolved(folder, experiment.prompts.folder, where, "prompts.folder")
        if not path.is_dir():
            problem = f"expected a folder, found none at {path}"
            raise ExperimentError(where, problem, field="prompts.folder", remedy=FROM_THE_FILE)
        update["prompts"] = experiment.prompts.model_copy(update={"folder": str(path)})
    if experiment.evaluation is not None:
        update["evaluation"] = with_evaluation_paths(experiment.evaluation, experiment.name, folder, where)
    _check_token_limits(experiment, where)
    return experiment.model_copy(update=update) if update else experiment


def _check_token_limits(experiment: Experiment, where: str) -> None:
    """The default limits are made for the built-in models' notation; a checkpoint that reasons would be cut."""
    missing = []
    if isinstance(experiment.model, FolderModel | HubModel | RegistryModel) and not experiment.engine.replays:
        missing += [] if "max_tokens" in experiment.sampling.model_fields_set else ["sampling.max_tokens"]
    for i, verifier in enumerate(experiment.verifiers):
        if "max_tokens" in type(verifier).model_fields and "max_tokens" not in verifier.model_fields_set:
            asked = verifier.model or experiment.model
            is_own = isinstance(asked, FolderModel | HubModel | RegistryModel)
            missing += [f"verifiers[{i}].max_tokens"] if is_own else []
    missing += token_limits_missing(experiment)
    if missing:
        raise ExperimentError(
            where,
            "expected a limit of its own for a model that is not built in (the default is for the built-in ones), "
            "got nothing",
            field=missing[0],
            remedy="512 is the paper's; the prompt and the new tokens have to fit the model's context",
        )


def _with_recorded(verifiers: list[Any], path: str, where: str) -> tuple[Any, ...]:
    """The listed verifiers, then one for each score of a recorded file that none of them reads."""
    try:
        columns = score_columns(path)
    except DatasetError as error:
        raise ExperimentError(error.where, error.problem, field=error.field, remedy=error.remedy) from None
    read = {i: item.column for i, item in enumerate(verifiers) if item.name == "recorded"}
    for i, column in read.items():
        if column not in columns:
            problem = f"expected a score of {path} ({', '.join(columns) or 'it has none'}), got {column}"
            raise ExperimentError(where, problem, field=f"verifiers[{i}].column", remedy=REMEDY)
    new = [VERIFIERS["recorded"](column=name) for name in columns if name not in read.values()]
    taken = {item.called for item in verifiers} & {item.called for item in new}
    if taken:
        name = sorted(taken)[0]
        raise ExperimentError(
            where,
            f"the score {name} of {path} has the name of a listed verifier",
            field="verifiers",
            remedy=f"list it under another name: {{name: recorded, column: {name}, label: recorded-{name}}}",
        )
    return (*verifiers, *new)


def load_experiments(folder: str | Path) -> tuple[dict[str, Experiment], dict[str, ExperimentError]]:
    """All experiments of a folder by name, and the errors of those files that cannot be used."""
    good: dict[str, Experiment] = {}
    bad: dict[str, ExperimentError] = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        try:
            good[path.stem] = load_experiment(path)
        except ExperimentError as error:
            bad[path.stem] = error
    return good, bad


def shown_path(path: Path) -> str:
    """A path as people are told of it: relative to the current folder where it is below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
