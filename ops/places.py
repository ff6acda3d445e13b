"""Paths of experiment files made absolute, and refused where nothing is there."""

from __future__ import annotations

from pathlib import Path

from ops.errors import ExperimentError, MindgapError
from ops.explain import show
from ops.models import FolderModel, RegistryModel
from ops.yaml_file import REMEDY

FROM_THE_FILE = "relative paths start at the experiment file"


def with_place(model: FolderModel | RegistryModel, folder: Path, where: str, field: str) -> FolderModel:
    """The model with its folder: of a registry model that of the version that answers now."""
    if isinstance(model, FolderModel):
        return with_folder(model, folder, where, f"{field}.path")
    from ops.checkpoints import find_registered

    try:
        return find_registered(model)
    except MindgapError as error:
        wrong = (error.field or "").replace("model", field, 1) or field
        problem = f"{error.where}: {error.problem}"
        raise ExperimentError(where, problem, field=wrong, remedy=error.remedy or REMEDY) from None


def with_folder(model: FolderModel, folder: Path, where: str, field: str) -> FolderModel:
    """The model with its path made absolute, starting at ``folder``; refused where it is no checkpoint."""
    path = resolved(folder, model.path, where, field)
    if not (path / "config.json").is_file():
        raise ExperimentError(
            where,
            f"expected a Hugging Face checkpoint folder with config.json, found none at {path}",
            field=field,
            remedy=f"give the folder that save_pretrained wrote; {FROM_THE_FILE}",
        )
    return model.model_copy(update={"path": str(path)})


def existing_file(folder: Path, value: str, where: str, field: str, what: str) -> Path:
    """A path made absolute, starting at ``folder``; refused where there is no such file. ``what``: it should hold."""
    path = resolved(folder, value, where, field)
    if not path.is_file():
        raise ExperimentError(where, f"expected {what}, found none at {path}", field=field, remedy=FROM_THE_FILE)
    return path


def resolved(folder: Path, value: str, where: str, field: str) -> Path:
    """A path made absolute, starting at ``folder``, whether or not there is anything.

    Raises:
        ExperimentError: when it can be no path.
    """
    try:
        path = (folder / Path(value).expanduser()).resolve()
        path.exists()
        return path
    except (ValueError, RuntimeError, OSError) as error:
        problem = f"expected a path, got {show(value)} ({_reason(error)})"
        raise ExperimentError(where, problem, field=field, remedy=REMEDY) from None


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
