"""The fingerprints of an experiment with ``evaluation``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.config import Experiment
from ops.errors import DatasetError
from ops.evaluation.judges.base import Judge, ModelJudge
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.pairwise import Pairwise
from ops.evaluation.judges.recorded import RecordedJudge
from ops.evaluation.judges.reward_model import RewardModel
from ops.evaluation.labels import FileLabels
from ops.evaluation.requests import requests_path
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
        tuned: by label of a judge that learns and of the model left out, what its copies have in common; see
            ``tuned_copy``.
        labels: ``labels_digest`` of the file of labels; what ``GoldLabels`` say.
        files: digest by path of recorded responses and judgements.
    """

    models: Mapping[str, str]
    sample_pools: Mapping[str, str]
    judge_models: Mapping[str, str]
    judgement_pools: Mapping[str, str]
    tuned: Mapping[str, Mapping[str, str]]
    labels: str
    files: Mapping[str, str]

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
    pools = {name: _sample_pool(experiment, name, model, by_label[name]) for name, model in models.items()}
    judges = {judge.called: judging_model(experiment, judge) for judge in evaluation.judges}
    judge_models = {name: model_fingerprint(model) for name, model in judges.items() if model is not None}
    judgement_pools = {
        judge.called: _judgement_pool(experiment, judge, judge_models[judge.called])
        for judge in evaluation.judges
        if judge.called in judge_models
    }
    labels, said = _labels(evaluation)
    files = _files(evaluation)

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
        f"judge {judge.called}": files[judge.path] for judge in evaluation.judges if isinstance(judge, RecordedJudge)
    }
    shown = [[judge.called, judge.identity(), type(judge).version] for judge in evaluation.prompted_judges]
    add("synthetic_judgements", {"judges": shown}, pairs | read)
    tuned = _tuned(experiment, evaluation, models, judge_models)
    learns = {f"judge {judge} of {name}": value for judge, of in tuned.items() for name, value in of.items()}
    learns |= {"labels": said or prints["human_labels"]} if tuned else {}
    add("tuned_judgements", {"judges": list(tuned)}, pairs | learns)
    about = {"evaluation": evaluation.estimate_identity(), "statistics": experiment.statistics}
    add("win_rates", about, dict(prints))
    return EvaluationPlan(by_label, pools, judge_models, judgement_pools, tuned, labels, files), prints


def _sample_pool(experiment: Experiment, label: str, model: AskableModel | RecordedModel, identity: str) -> str:
    """Of single responses of a model."""
    if isinstance(model, RecordedModel):
        return fingerprint("samples", CODE_VERSIONS["samples"], {"model": label}, {"recorded": identity})
    return pool_fingerprint(experiment, identity, asked=model)


def _files(evaluation: Evaluation) -> dict[str, str]:
    """Digest by path of recorded responses and judgements."""
    paths = [judge.path for judge in evaluation.judges if isinstance(judge, RecordedJudge)]
    paths += [] if evaluation.responses is None else [evaluation.responses]
    return {path: problem_file_digest(path) for path in paths}


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
) -> dict[str, dict[str, str]]:
    """What the copies of every judge that learns have in common, by the label of the model left out."""
    by_label = {judge.called: judge for judge in evaluation.judges}
    judged = [name for name in models if evaluation.estimand == "accuracy" or name != experiment.model.shown]
    found: dict[str, dict[str, str]] = {}
    for judge in evaluation.learning_judges:
        of = by_label[judge.of]  # type: ignore[attr-defined]
        # The pool of its judgements says what it reads: which verifier, in which wording.
        reads = _judgement_pool(experiment, of, judge_models[of.called])
        start = {"start": judge_models[of.called], "reads": reads}
        about = {"judge": judge.identity(), "version": type(judge).version, "of": of.identity()}
        found[judge.called] = {
            name: fingerprint("tuned_judge", CODE_VERSIONS["tuned_judgements"], {**about, "left_out": name}, start)
            for name in judged
        }
    return found


def tuned_copy(tuned: str, fold: int | None, rows: Sequence[Mapping[str, Any]]) -> str:
    """Fingerprint of a copy's weights: labels that it does not learn from leave it as it is.

    Args:
        tuned: of its judge and the model left out, from ``EvaluationPlan.tuned``.
        fold: whose problems it judges, where problems are left out, too; None: one copy judges them all.
        rows: what it learns from, in this order.
    """
    about = {"fold": fold, "rows": rows}
    return fingerprint("tuned_judge_copy", CODE_VERSIONS["tuned_judgements"], about, {"tuned": tuned})


def _labels(evaluation: Evaluation) -> tuple[str, str | None]:
    """Digests of all that the labels are made of, and of what people said so far; None where nobody is asked."""
    labels = evaluation.labels
    if not isinstance(labels, FileLabels):
        return fingerprint("gold_labels", "1", labels.model_dump(), {}), None
    if labels.path is None:
        return NO_LABELS, NO_LABELS
    return labels_digest(labels.path), _digest_or_none(Path(labels.path))


def labels_digest(path: str) -> str:
    """Of a file of labels and the requests beside it, which say what was drawn; ``NO_LABELS`` where there is neither.

    Raises:
        DatasetError: when one of them cannot be read.
    """
    digests = {"labels": _digest_or_none(Path(path)), "requests": _digest_or_none(requests_path(Path(path)))}
    return NO_LABELS if set(digests.values()) == {NO_LABELS} else fingerprint("file_labels", "1", None, digests)


def _digest_or_none(path: Path) -> str:
    return problem_file_digest(str(path)) if path.exists() else NO_LABELS


@contextmanager
def as_planned(path: str, planned: str, digest: Callable[[str], str] = problem_file_digest) -> Iterator[None]:
    """What is read of a file within is what was planned.

    Raises:
        DatasetError: when the file has changed since, or changes meanwhile.
    """
    _check_digest(path, planned, digest)
    yield
    _check_digest(path, planned, digest)


def _check_digest(path: str, planned: str, digest: Callable[[str], str]) -> None:
    if digest(path) != planned:
        raise DatasetError(path, "changed while it was read", remedy="run again: what it says now is planned anew")
