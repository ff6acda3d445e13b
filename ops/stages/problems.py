"""The problems of an experiment: held-out ones for evaluation, fresh training ones for each iteration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ops.builtin.sizes import RECIPES, Recipe
from ops.config import Experiment
from ops.errors import DatasetError
from ops.evaluation.judges.recorded import RecordedJudge
from ops.evaluation.labels import GoldLabels
from ops.evaluation.plan import compared_models, judging_model
from ops.evaluation.responses import read_responses
from ops.evaluation.settings import Evaluation
from ops.lab import Lab
from ops.models import BuiltinModel, FolderModel, HubModel
from ops.recorded import read_recorded
from ops.storage.schemas import polars_schema
from ops.tasks import category_of
from ops.tasks.rows import read_problem_file
from ops.types import Problem, Split, StageResult


def make_problems(lab: Lab) -> StageResult:
    """Generate or read all problems of the experiment and commit them.

    Raises:
        DatasetError: names the row that cannot be used, or the split that is too small.
    """

    def metadata(frame: pl.DataFrame) -> dict:
        counts = dict(frame.group_by("split").len().iter_rows())
        return {"train_problems": counts.get("train", 0), "eval_problems": counts.get("eval", 0)}

    return lab.materialise("problems", "problems", None, lambda: _frame(all_problems(lab)), metadata)


def all_problems(lab: Lab) -> list[Problem]:
    """Evaluation problems, then the training problems of iterations 0..iterations, each iteration its own."""
    config, task = lab.experiment.problems, lab.experiment.task
    per = config.train_per_iteration
    if lab.experiment.evaluation is not None:
        return _evaluated(lab.experiment, lab.experiment.evaluation)
    if lab.experiment.engine.replays:
        evaluation, training = check_problem_files(lab.experiment)
        return [*evaluation, *(_of_iteration(problem, 0) for problem in training)]
    if config.train_file is None:
        evaluation = task.generate("eval", config.eval, config.seed)
        training = task.generate("train", per * (lab.experiment.iterations + 1), config.seed)
    else:
        evaluation, training = check_problem_files(lab.experiment)
    return [*evaluation, *(_of_iteration(problem, i // per) for i, problem in enumerate(training))]


def check_problem_files(experiment: Experiment) -> tuple[list[Problem], list[Problem]]:
    """Read the user's files: (evaluation problems, training problems), none where the task generates its own.

    Of responses and judgements recorded elsewhere every row is read, so that a bad one is known before anything is
    imported or drawn.

    Raises:
        DatasetError: names the row that cannot be used, a file that is too short, or a problem that stands in both.
    """
    config, task = experiment.problems, experiment.task
    if experiment.engine.replays:
        responses = read_recorded(experiment.engine, task)
        posed = list({item.problem.problem_id: item.problem for item in responses}.values())
        evaluation, training = ([p for p in posed if p.split == split] for split in ("eval", "train"))
        return _disjoint(experiment, evaluation, training, experiment.engine.path, "engine.path")
    if experiment.evaluation is not None:
        judged = any(isinstance(judge, RecordedJudge) for judge in experiment.evaluation.judges)
        reads = config.eval_file is not None or experiment.evaluation.responses is not None or judged
        if not reads:
            return [], []
        problems = _evaluated(experiment, experiment.evaluation)
        _check_pairs(experiment, experiment.evaluation, problems)
        return problems, []
    if config.train_file is None or config.eval_file is None:
        return [], []
    count = config.train_per_iteration * (experiment.iterations + 1)
    evaluation = _first(read_problem_file(task, config.eval_file, "eval"), config.eval, config.eval_file, "eval")
    training = read_problem_file(task, config.train_file, "train")
    training = _first(training, count, config.train_file, "train_per_iteration")
    for path, problems in ((config.eval_file, evaluation), (config.train_file, training)):
        _check_rows(experiment, path, problems)
    return _disjoint(experiment, evaluation, training, config.eval_file, "problems.eval_file")


def _check_rows(experiment: Experiment, path: str, problems: Sequence[Problem]) -> None:
    for line, problem in enumerate(problems, start=1):  # a problem a line, no line blank
        for recipe in _builtin_recipes(experiment):
            recipe.check_row(problem, f"{path}:{line}")


def _evaluated(experiment: Experiment, evaluation: Evaluation) -> list[Problem]:
    """The problems of an experiment with ``evaluation``: to evaluate only, from a file or the task's own."""
    config, task = experiment.problems, experiment.task
    if config.eval_file is None:
        problems = task.generate("eval", config.eval, config.seed)
    else:
        problems = _first(read_problem_file(task, config.eval_file, "eval"), config.eval, config.eval_file, "eval")
        _check_rows(experiment, config.eval_file, problems)
        _disjoint(experiment, problems, [], config.eval_file, "problems.eval_file")
    without = [problem.problem_id for problem in problems if category_of(problem) is None]
    if evaluation.strata == "category" and without:
        raise DatasetError(
            config.eval_file or f"task {task.name}",
            f"{len(without)} of {len(problems)} problems have no category, e.g. {without[0]}",
            field="evaluation.strata",
            remedy="give every row its category, or take strata: none",
        )
    return problems


def _check_pairs(experiment: Experiment, evaluation: Evaluation, problems: Sequence[Problem]) -> None:
    """What is known of the pairs before any response is drawn: all rows of responses, labels and recorded judgements.

    A bad one is better known before models are asked.
    """
    labels = list(compared_models(experiment, evaluation))
    drawn = [(problem.problem_id, i) for problem in problems for i in range(experiment.sampling.n_eval)]
    if evaluation.responses is not None:
        drawn = list(read_responses(evaluation.responses, problems, labels)[labels[0]])
        count = evaluation.labels.count if isinstance(evaluation.labels, GoldLabels) else None
        if count is not None and count > len(drawn):
            raise DatasetError(
                evaluation.responses,
                f"{len(drawn):,} responses of each model, {count:,} labels asked for",
                field="evaluation.labels.count",
                remedy="lower it, or leave it out to label them all",
            )
    judged = labels if evaluation.estimand == "accuracy" else labels[1:]
    pairs = {(problem_id, label, index) for label in judged for problem_id, index in drawn}
    for judge in evaluation.judges:
        if isinstance(judge, RecordedJudge):
            judge.check(judge.read(), pairs, complete=evaluation.missing_judgements == "error")


def _disjoint(
    experiment: Experiment, evaluation: list[Problem], training: list[Problem], path: str, field: str
) -> tuple[list[Problem], list[Problem]]:
    shared = overlap(experiment, evaluation, training)
    if shared:
        raise DatasetError(
            path,
            f"{len(shared)} problems to evaluate are trained on as well, e.g. {shared[0]}",
            field=field,
            remedy="take them out of it; a built-in model, generator or verifier, was pretrained on all problems "
            "of the task's training split: with one of those take evaluation problems of `task.generate('eval', ...)`",
        )
    return evaluation, training


def stored_problems(lab: Lab) -> list[Problem]:
    """All problems of the experiment, as committed."""
    frame = lab.store.read("problems", lab.plan.fingerprints["problems"])
    return [_from_row(row) for row in frame.iter_rows(named=True)]


def overlap(experiment: Experiment, evaluation: Sequence[Problem], training: Sequence[Problem]) -> list[str]:
    """Content keys of evaluation problems that some model has seen, or may have.

    Those that are fine-tuned on (under whatever id), that the pretraining of a built-in generator or verifier may pose,
    and that few-shot prompts show with their solution.
    """
    task = experiment.task
    trained = {task.content_key(problem) for problem in training}
    ids = {problem.problem_id for problem in training}
    if any(isinstance(model, FolderModel | HubModel) for model in _models(experiment)):
        trained |= {task.content_key(problem) for problem, _ in task.examples()}
    recipes = _builtin_recipes(experiment)
    return sorted(
        key
        for problem, key in ((problem, task.content_key(problem)) for problem in evaluation)
        if key in trained or problem.problem_id in ids or any(recipe.may_pose(problem) for recipe in recipes)
    )


def _models(experiment: Experiment) -> list[Any]:
    """The generator, the models that are compared with it, and those that only verify or judge."""
    models: list[Any] = [experiment.model, *(model for _, model in experiment.verifier_models())]
    if experiment.evaluation is not None:
        models += [compared.model for compared in experiment.evaluation.models]
        models += [judging_model(experiment, judge) for judge in experiment.evaluation.judges]
    return models


def _builtin_recipes(experiment: Experiment) -> list[Recipe]:
    return [RECIPES[model.recipe] for model in _models(experiment) if isinstance(model, BuiltinModel)]


def problems_of(lab: Lab, iteration: int, split: Split | None = None) -> list[Problem]:
    """The problems that iteration ``iteration`` samples: its training problems and all evaluation problems.

    Args:
        split: only those of it.
    """
    frame = lab.store.read("problems", lab.plan.fingerprints["problems"])
    frame = frame.filter((pl.col("split") == "eval") | (pl.col("train_iteration") == iteration))
    if split is not None:
        frame = frame.filter(split=split)
    return [_from_row(row) for row in frame.iter_rows(named=True)]


def _from_row(row: Mapping[str, Any]) -> Problem:
    data = json.loads(row["data"])
    return Problem(row["problem_id"], row["task"], row["split"], data, row["answer"], row["train_iteration"])


def _first(problems: Sequence[Problem], count: int, path: str, field: str) -> list[Problem]:
    if len(problems) < count:
        lower = "problems.eval" if field == "eval" else "problems.train_per_iteration or iterations"
        raise DatasetError(
            path,
            f"{len(problems)} problems, {count} needed",
            field=f"problems.{field}",
            remedy=f"add rows, or lower {lower}",
        )
    return list(problems[:count])


def _of_iteration(problem: Problem, iteration: int) -> Problem:
    return Problem(problem.problem_id, problem.task, problem.split, problem.data, problem.answer, iteration)


def _frame(problems: Sequence[Problem]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "split": [p.split for p in problems],
            "problem_id": [p.problem_id for p in problems],
            "task": [p.task for p in problems],
            "data": [json.dumps(dict(p.data), sort_keys=True) for p in problems],
            "answer": [p.answer for p in problems],
            "train_iteration": [p.iteration for p in problems],
        },
        schema=polars_schema("problems"),
    )
