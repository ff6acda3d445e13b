"""Study files: read, expanded into experiments, and found by name.

Generations belong to (model, task, sampling), so whatever else verifies them shares them by fingerprint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ops.arms import LoadedArms
from ops.arms_files import load_arms
from ops.builtin.sizes import recipe_of
from ops.config import Experiment
from ops.errors import ExperimentError
from ops.experiment_files import (
    existing_file,
    load_experiment,
    load_experiments,
    shown_path,
    validated_file,
    with_folder,
    with_paths,
)
from ops.explain import explain
from ops.exploration_files import load_exploration
from ops.exploration_study import LoadedExploration
from ops.models import AskableModel, BuiltinModel, FolderModel, HubModel
from ops.study import LoadedStudy, Member, Study, StudyModel, StudyTask, crossed_label
from ops.yaml_file import read_mapping

REMEDY = "see docs/studies.md for every field, or copy studies/builtin.yaml"


AnyStudy = LoadedStudy | LoadedArms | LoadedExploration


def load_any_study(path: str | Path) -> AnyStudy:
    """Read, validate and expand one file of ``studies/``: a study of arms where it has the key ``arms``, of exploration
    where it has ``tasks`` as well.

    Raises:
        ExperimentError: as ``load_study``, ``ops.arms_files.load_arms`` and ``load_exploration`` do.
    """
    path = Path(path)
    keys = read_mapping(path, shown_path(path))
    if "arms" not in keys:
        return load_study(path)
    return load_exploration(path) if "tasks" in keys else load_arms(path)


def load_study(path: str | Path) -> LoadedStudy:
    """Read, validate and expand one file of models x tasks x verifiers; relative paths start at it.

    Raises:
        ExperimentError: names the file, the first wrong field, what was found and what was expected.
    """
    path = Path(path)
    where = shown_path(path)
    study = validated_file(path, where, Study, REMEDY)
    folder = path.resolve().parent
    study = _with_study_paths(study, folder, where)
    members = []
    for member in expand(study, where):
        try:
            experiment = with_paths(member.experiment, folder, where)
        except ExperimentError as error:
            raise _renamed(error, study, member.task, member.model) from None
        members.append(Member(experiment, member.task, member.model, member.crossed))
    return LoadedStudy(study, tuple(members), where)


def expand(study: Study, where: str = "study") -> tuple[Member, ...]:
    """All experiments of a study, task by task, model by model; a pure function of the study.

    Raises:
        ExperimentError: when a model does not fit a task, or the experiment is not valid.
    """
    return tuple(_member(study, task, label, where) for task in study.tasks for label in study.models)


def _member(study: Study, task: StudyTask, label: str, where: str) -> Member:
    models = {name: _plain(model, task, f"models.{name}", where) for name, model in study.models.items()}
    crossed: dict[str, tuple[str, str]] = {}
    verifiers, filters = list(study.verifiers), list(study.gap_filters)
    for other in study.models:
        for name in study.cross if other != label else ():
            called = crossed_label(name, other)
            verifier = next(item for item in study.verifiers if item.called == name)
            verifiers.append(verifier.model_copy(update={"label": called, "model": models[other]}))
            own = [item for item in study.gap_filters if item.verifier_name == name]
            filters += [item.model_copy(update={"verifier": called}) for item in own]
            crossed[called] = (name, other)
    try:
        experiment = Experiment(
            name=f"{study.name}-{task.called}-{label}",
            hypothesis=study.hypothesis,
            model=models[label],
            task=task.task,
            problems=_merged(study.problems, task.problems),
            sampling=_merged(study.sampling, task.sampling),
            prompts=study.prompts,
            verifiers=tuple(verifiers),
            gap_filters=tuple(filters),
            iterations=0,
            engine=study.engine,
            statistics=study.statistics,
            limits=study.limits,
        )
    except ValidationError as error:
        wrong, problem = explain(error, Experiment)
        raise _renamed(ExperimentError(where, problem, field=wrong, remedy=REMEDY), study, task.called, label) from None
    return Member(experiment, task.called, label, crossed)


def _merged(common: Any, own: Any) -> Any:
    """``common`` with the fields that ``own`` sets."""
    return common.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def _plain(model: StudyModel, task: StudyTask, place: str, where: str) -> AskableModel:
    """The model as experiments know it."""
    kind = next(item for item in type(model).__mro__ if item in (BuiltinModel, FolderModel, HubModel))
    fields = {name: getattr(model, name) for name in kind.model_fields}
    if kind is BuiltinModel and "recipe" not in model.model_fields_set:
        recipe = recipe_of(task.task.name)
        if recipe is None:
            raise ExperimentError(
                where,
                f"there is no built-in recipe for the task {task.called}",
                field=f"{place}.recipe",
                remedy="give a checkpoint (kind: folder or hub), or take another task",
            )
        fields["recipe"] = task.task.name
    return kind(**fields)


def _with_study_paths(study: Study, folder: Path, where: str) -> Study:
    models = {
        label: with_folder(model, folder, where, f"models.{label}.path") if isinstance(model, FolderModel) else model
        for label, model in study.models.items()
    }
    update: dict[str, Any] = {"models": models}
    if study.flops_table is not None:
        update["flops_table"] = str(existing_file(folder, study.flops_table, where, "flops_table", "a CSV file"))
    return study.model_copy(update=update)


def _renamed(error: ExperimentError, study: Study, task: str, model: str) -> ExperimentError:
    """An experiment's error in the words of the study's file."""
    index = [item.called for item in study.tasks].index(task)
    wrong = error.field or ""
    first, dot, rest = wrong.partition(".")
    own = first in ("problems", "sampling") and rest in getattr(study.tasks[index], first).model_fields_set
    if first == "model":
        wrong = f"models.{model}{dot}{rest}"
    elif first == "task" or own:
        wrong = f"tasks[{index}].{wrong}"
    problem = f"{error.problem} (experiment {study.name}-{task}-{model})"
    return ExperimentError(error.where, problem, field=wrong or None, remedy=error.remedy)


def load_studies(folder: str | Path) -> tuple[dict[str, AnyStudy], dict[str, ExperimentError]]:
    """All studies of a folder by name, and the errors of those files that cannot be used."""
    good: dict[str, AnyStudy] = {}
    bad: dict[str, ExperimentError] = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        try:
            good[path.stem] = load_any_study(path)
        except ExperimentError as error:
            bad[path.stem] = error
    return good, bad


def find_experiment(name: str, experiments: Path, studies: Path) -> Experiment:
    """An experiment by name: of its own file, or of a study.

    Raises:
        ExperimentError: when there is none of that name, or its file cannot be used.
    """
    path = experiments / f"{name}.yaml"
    if not path.is_file():
        for file in sorted(studies.glob("*.yaml")):
            if name.startswith(f"{file.stem}-"):
                for member in load_any_study(file).members:
                    if member.experiment.name == name:
                        return member.experiment
    return load_experiment(path)


def find_experiments(experiments: Path, studies: Path) -> tuple[dict[str, Experiment], dict[str, ExperimentError]]:
    """All experiments by name, those of studies behind those of files, and the errors by file name.

    A study that would give an experiment (or itself) the name of an experiment file is refused.
    """
    good, bad = load_experiments(experiments)
    found, wrong = load_studies(studies)
    bad |= {f"studies/{name}": error for name, error in wrong.items()}
    files = set(good) | set(bad)
    for name, loaded in found.items():
        own = {member.experiment.name: member.experiment for member in loaded.members}
        taken = sorted(({name} | set(own)) & (files | set(good)))
        if taken:
            problem = f"expected a name that leaves other names free, but there is an experiment {taken[0]} already"
            bad[f"studies/{name}"] = ExperimentError(
                loaded.where, problem, field="name", remedy="rename one of the two"
            )
        else:
            good |= own
    return good, bad
