"""The fingerprints of an experiment with ``evaluation``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.config import Experiment
from ops.evaluation.judges.base import Judge, ModelJudge
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.pairwise import Pairwise
from ops.evaluation.judges.recorded import RecordedJudge
from ops.evaluation.judges.reward_model import RewardModel
from ops.evaluation.labels import FileLabels
from ops.evaluation.settings import Evaluation
from ops.identity import fingerprint
from ops.models import AskableModel, FolderModel, RecordedModel, askable
from ops.plan_parts import (
    CODE_VERSIONS,
    model_fingerprint,
    pool_fingerprint,
    prompt_identity,
    verification_pool_fingerprint,
)
from ops.tasks.rows import problem_file_digest

NO_LABELS = "no labels yet"


@dataclass(frozen=True)
class EvaluationPlan:
    """Which models write, which judge, and where single samples and judgements are kept.

    Attributes:
        models: fingerprint by label, the reference first; where responses are recorded that of their file.
        sample_pools: pool of single samples, by label of the model.
        judge_models: fingerprint of the model that a judge asks, by label of the judge; none of recorded ones.
        judgement_pools: pool of single judgements by label of the judge: of Bradley-Terry judges the pool of
            verifications that any experiment with the same verifier and model has; none of recorded and tuned ones.
        tuned: by label of a judge that learns, the fingerprint of its model by the label of the model left out.
        labels: digest of the file of labels, ``NO_LABELS`` where there is none; what ``GoldLabels`` say.
    """

    models: Mapping[str, str]
    sample_pools: Mapping[str, str]
    judge_models: Mapping[str, str]
    judgement_pools: Mapping[str, str]
    tuned: Mapping[str, Mapping[str, str]]
    labels: str

    def loaded(self) -> dict[str, str]:
        """All models that are loaded, by role."""
        writers = {f"model {name}": model for name, model in self.models.items()}
        return writers | {f"judge {name}": model for name, model in self.judge_models.items()}


def compared_models(experiment: Experiment, evaluation: Evaluation) -> dict[str, AskableModel | RecordedModel]:
    """Every model that writes, by label, the reference first."""
    others = {
        compared.called: compared.model or RecordedModel(kind="recorded", label=compared.called)
        for compared in evaluation.models
    }
    return {experiment.model.shown: experiment.model, **others}


def judging_model(experiment: Experiment, judge: Judge) -> AskableModel | None:
    """The model that a judge asks; None of a recorded or tuned one."""
    if isinstance(judge, RewardModel):
        return FolderModel(kind="folder", path=judge.path)
    if isinstance(judge, ModelJudge):
        return judge.model or askable(experiment.model)
    return None


def plan_evaluation(
    experiment: Experiment, evaluation: Evaluation, reference: str, eval_set: str
) -> tuple[EvaluationPlan, dict[str, str]]:
    """The plan, and the fingerprints of its assets by name.

    Args:
        reference: fingerprint of the experiment's model.
        eval_set: of the evaluation problems.

    Raises:
        ModelError: when a checkpoint cannot be read.
        DatasetError: when a file of responses, judgements or labels cannot be read.
    """
    prints: dict[str, str] = {}
    models = compared_models(experiment, evaluation)
    by_label = {
        name: reference if isinstance(model, RecordedModel) else model_fingerprint(model)
        for name, model in models.items()
    }
    pools = {
        name: fingerprint("samples", CODE_VERSIONS["samples"], {"model": name}, {"recorded": reference})
        if isinstance(model, RecordedModel)
        else pool_fingerprint(experiment, by_label[name], asked=model)
        for name, model in models.items()
    }
    judges = {judge.called: judging_model(experiment, judge) for judge in evaluation.judges}
    judge_models = {name: model_fingerprint(model) for name, model in judges.items() if model is not None}
    judgement_pools = {
        judge.called: _judgement_pool(experiment, judge, judge_models[judge.called])
        for judge in evaluation.judges
        if judge.called in judge_models
    }
    labels = _labels_digest(evaluation)

    def add(asset: str, about: Any, inputs: Mapping[str, str]) -> None:
        prints[asset] = fingerprint(asset, CODE_VERSIONS[asset], about, inputs)

    about = {"models": list(models), "n": experiment.sampling.n_eval, "estimand": evaluation.estimand}
    add("pairs", about, {"problems": eval_set} | {f"samples {name}": pool for name, pool in pools.items()})
    pairs = {"pairs": prints["pairs"]}
    task = experiment.task
    gold = [task.name, type(task).grader_version] if not isinstance(evaluation.labels, FileLabels) else None
    add("human_labels", {"labels": labels, "gold": gold}, pairs)
    read = {f"judge {name}": pool for name, pool in judgement_pools.items()}
    read |= {
        f"judge {judge.called}": problem_file_digest(judge.path)
        for judge in evaluation.judges
        if isinstance(judge, RecordedJudge)
    }
    shown = [[judge.called, judge.identity(), type(judge).version] for judge in evaluation.prompted_judges]
    add("synthetic_judgements", {"judges": shown}, pairs | read)
    tuned = _tuned(experiment, evaluation, models, judge_models, pairs | {"human_labels": prints["human_labels"]})
    weights = {f"judge {judge} of {name}": value for judge, of in tuned.items() for name, value in of.items()}
    add("tuned_judgements", {"judges": list(tuned)}, pairs | weights)
    about = {"evaluation": evaluation.estimate_identity(), "statistics": experiment.statistics}
    add("win_rates", about, dict(prints))
    return EvaluationPlan(by_label, pools, judge_models, judgement_pools, tuned, labels), prints


def _judgement_pool(experiment: Experiment, judge: Judge, model: str) -> str:
    """Of single judgements of a judge that asks a model."""
    asked = judging_model(experiment, judge)
    assert asked is not None
    if isinstance(judge, BradleyTerry):
        return verification_pool_fingerprint(experiment, judge.verifier, asked, model)
    wording = prompt_identity(experiment, asked, judge.prompt_kind) if isinstance(judge, Pairwise) else None
    about = {"judge": judge.single_identity(), "version": type(judge).version, "prompts": wording}
    return fingerprint("judgements", CODE_VERSIONS["judgements"], about, {"judge_model": model})


def _tuned(
    experiment: Experiment,
    evaluation: Evaluation,
    models: Mapping[str, Any],
    judge_models: Mapping[str, str],
    inputs: Mapping[str, str],
) -> dict[str, dict[str, str]]:
    """Fingerprint of every fine-tuned judge by the label of the model left out."""
    by_label = {judge.called: judge for judge in evaluation.judges}
    judged = [name for name in models if evaluation.estimand == "accuracy" or name != experiment.model.shown]
    found: dict[str, dict[str, str]] = {}
    for judge in evaluation.learning_judges:
        of = by_label[judge.of]  # type: ignore[attr-defined]
        # The pool of its judgements says what it reads: which verifier, in which wording.
        reads = _judgement_pool(experiment, of, judge_models[of.called])
        start = {"start": judge_models[of.called], "reads": reads, **inputs}
        about = {"judge": judge.identity(), "version": type(judge).version, "of": of.identity()}
        found[judge.called] = {
            name: fingerprint("tuned_judge", CODE_VERSIONS["tuned_judgements"], {**about, "left_out": name}, start)
            for name in judged
        }
    return found


def tuned_copy(tuned: str, fold: int | None) -> str:
    """Fingerprint of the copy that judges the problems of a fold, where problems are left out, too.

    Args:
        tuned: fingerprint of the fine-tuned judge of a model, from ``EvaluationPlan.tuned``.
        fold: None: one copy judges them all.
    """
    if fold is None:
        return tuned
    return fingerprint("tuned_judge_fold", CODE_VERSIONS["tuned_judgements"], {"fold": fold}, {"tuned": tuned})


def _labels_digest(evaluation: Evaluation) -> str:
    """Of what people said so far."""
    labels = evaluation.labels
    if not isinstance(labels, FileLabels):
        return fingerprint("gold_labels", "1", labels.model_dump(), {})
    if labels.path is None or not Path(labels.path).exists():
        return NO_LABELS
    return problem_file_digest(labels.path)
