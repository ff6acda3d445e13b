"""What an experiment with ``evaluation`` may and may not say elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops.builtin.sizes import RECIPES
from ops.evaluation.judges.base import ModelJudge
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.labels import GoldLabels
from ops.evaluation.settings import Evaluation
from ops.models import BuiltinModel, RecordedModel
from ops.tasks import CATEGORIES
from ops.verifiers.choices import ChoiceVerifier
from ops.verifiers.token_scores import TokenScore

if TYPE_CHECKING:
    from ops.config import Experiment


def check_evaluation(experiment: Experiment, evaluation: Evaluation) -> None:
    """Refuse what contradicts ``evaluation``.

    Raises:
        ValueError: ``field: what was expected``.
    """
    experiment.refuse_loop("evaluation", "its judges are evaluation.judges, and nothing is trained on responses")
    if experiment.iterations > 0:
        raise ValueError(f"iterations: 0 with evaluation, got {experiment.iterations}")
    sampling, problems = experiment.sampling, experiment.problems
    for part, field in ((sampling, "n_train"), (problems, "train_per_iteration"), (problems, "train_file")):
        if getattr(part, field) != type(part).model_fields[field].default:
            name = "sampling" if part is sampling else "problems"
            raise ValueError(f"{name}.{field}: nothing with evaluation (it has evaluation problems only)")
    if experiment.engine.replays:
        raise ValueError("engine.name: not replay with evaluation (evaluation.responses names the file)")
    if evaluation.responses is not None and sampling != type(sampling)(n_eval=1):
        raise ValueError("sampling: nothing with evaluation.responses (nothing is drawn)")
    recorded = isinstance(experiment.model, RecordedModel)
    if recorded != (evaluation.responses is not None):
        raise ValueError(
            "model.kind: recorded with evaluation.responses, and only then (the file has what the reference wrote)"
        )
    for i, compared in enumerate(evaluation.models):
        if compared.called == experiment.model.shown:
            raise ValueError(
                f"evaluation.models[{i}].label: another one than the reference's, {compared.called} is taken"
            )
        others = [experiment.model, *(item.model for item in evaluation.models[:i])]
        if compared.model is not None and compared.model in others:
            raise ValueError(f"evaluation.models[{i}].model: each model once, {compared.model.shown} is there already")
        if isinstance(compared.model, BuiltinModel):
            RECIPES[compared.model.recipe].check_task(experiment.task)
    _check_judges(experiment, evaluation, recorded)
    if not experiment.engine.loads_checkpoints:
        _check_one_evaluated(experiment, evaluation)
    _check_pairs(experiment, evaluation, recorded)


def _check_pairs(experiment: Experiment, evaluation: Evaluation, recorded: bool) -> None:
    """What pairs cannot give: categories, or more labels than there are. How many are recorded the file says."""
    if evaluation.strata == "category" and experiment.task.name not in CATEGORIES:
        raise ValueError(
            f"evaluation.strata: none with task {experiment.task.name} (problems of {', '.join(CATEGORIES)} may have "
            "categories), got category"
        )
    count = evaluation.labels.count if isinstance(evaluation.labels, GoldLabels) else None
    pairs = experiment.problems.eval * experiment.sampling.n_eval
    if not recorded and count is not None and count > pairs:
        raise ValueError(
            f"evaluation.labels.count: at most {pairs:,}, the pairs of each model (problems.eval times "
            f"sampling.n_eval), got {count:,}"
        )


def _check_judges(experiment: Experiment, evaluation: Evaluation, recorded: bool) -> None:
    for i, judge in enumerate(evaluation.judges):
        model = getattr(judge, "model", None)
        if isinstance(judge, ModelJudge) and recorded and model is None:
            raise ValueError(f"evaluation.judges[{i}].model: the model to ask (the reference is recorded only)")
        if isinstance(model, BuiltinModel):
            RECIPES[model.recipe].check_task(experiment.task)
        if judge.learns and not experiment.engine.loads_checkpoints:
            raise ValueError(
                f"evaluation.judges[{i}].name: no {judge.name} with engine {experiment.engine.name}, whose server "
                "cannot load a model trained here"
            )
        if isinstance(judge, BradleyTerry):
            _check_scalar(experiment, f"evaluation.judges[{i}].verifier", judge.verifier)


def _check_one_evaluated(experiment: Experiment, evaluation: Evaluation) -> None:
    """As ``_check_one_model``, of the models that write and judge."""
    asked = [(f"models[{i}].model", compared.model) for i, compared in enumerate(evaluation.models)]
    asked += [(f"judges[{i}].model", getattr(judge, "model", None)) for i, judge in enumerate(evaluation.judges)]
    served = None if isinstance(experiment.model, RecordedModel) else experiment.model
    for field, model in asked:
        served = served or model
        if model is not None and served is not None and model != served:
            raise ValueError(
                f"evaluation.{field}: the one model of the engine's server ({served.shown}), got {model.shown}"
            )


def check_truth(experiment: Experiment) -> None:
    """Where nothing says whether a response is right, only people can say which one is better.

    Raises:
        ValueError: ``field: what was expected``.
    """
    if experiment.task.name == "open" and experiment.evaluation is None:
        raise ValueError(
            "task.name: not open without evaluation (no response to such a prompt is right or wrong, and "
            "verifiers, filters and exploration are held to that)"
        )
    without = experiment.task.name == "open" or getattr(experiment.task, "grader", None) == "label"
    if without and experiment.evaluation is not None and isinstance(experiment.evaluation.labels, GoldLabels):
        raise ValueError(
            f"evaluation.labels.source: file with task {experiment.task.name} (nothing here knows which response is "
            "right: people label them), got gold"
        )


def _check_scalar(experiment: Experiment, field: str, verifier: Any) -> None:
    if verifier.model is not None or verifier.label is not None:
        raise ValueError(f"{field}: no model and no label of its own (give them to the judge)")
    if isinstance(verifier, TokenScore) and not experiment.engine.reads_distributions:
        raise ValueError(
            f"{field}.name: no {verifier.name} with engine {experiment.engine.name} (transformers reads it)"
        )
    if isinstance(verifier, ChoiceVerifier) and not experiment.engine.reads_choices:
        raise ValueError(
            f"{field}.name: no {verifier.name} with engine {experiment.engine.name}, told no log-probabilities"
        )
