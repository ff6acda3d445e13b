"""The plan: the fingerprint of everything an experiment will compute, known before any of it runs.

Two experiments that agree on a step's code, settings and inputs plan the same fingerprint for it
and so share its result. ``Plan.fingerprints`` maps asset names (``problems``, ``base_model``,
``iteration_0/generations`` ...) to fingerprints; pools hold single samples and are shared more widely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.builtin.sizes import RECIPES
from ops.config import Experiment
from ops.identity import fingerprint
from ops.models import AskableModel, BuiltinModel, RecordedModel, askable
from ops.prompts.base import PromptKind
from ops.prompts.compact import CompactFormat
from ops.prompts.text import TextFormat
from ops.tasks.rows import problem_file_digest
from ops.verifiers.base import ModelVerifier, Verifier

CODE_VERSIONS = {
    "problems": "1",
    "base_model": "1",
    "samples": "1",
    "generations": "2",
    "verifications": "2",
    "derived_scores": "1",
    "verification_scores": "2",
    "gap_metrics": "2",
    "verifier_metrics": "1",
    "calibration_bins": "1",
    "threshold_sweeps": "1",
    "verifier_pairs": "1",
    "test_time_metrics": "1",
    "finetune_data": "1",
    "model": "1",
    "diversity_metrics": "1",
    "report": "1",
    "scaling_law": "1",
    "cross_verification": "1",
    "study_report": "1",
}
"""Bumped by hand when a step would compute something else from the same inputs."""

ITERATION_ASSETS = (
    "generations",
    "verification_scores",
    "gap_metrics",
    "verifier_metrics",
    "calibration_bins",
    "threshold_sweeps",
    "verifier_pairs",
    "test_time_metrics",
    "finetune_data",
    "model",
    "diversity_metrics",
)


VERIFIER_ASSETS = ("verifier_metrics", "calibration_bins", "threshold_sweeps", "verifier_pairs", "test_time_metrics")
"""Tables about the verifiers of one iteration."""

MEASURED_ASSETS = ("gap_metrics", *VERIFIER_ASSETS, "diversity_metrics")
"""Tables that are estimated with the experiment's statistics."""


def asset_name(asset: str, iteration: int | None = None) -> str:
    """``generations``, 2 -> ``iteration_2/generations``."""
    return asset if iteration is None else f"iteration_{iteration}/{asset}"


@dataclass(frozen=True)
class Plan:
    """Fingerprints of one experiment.

    Attributes:
        fingerprints: by asset name.
        models: the model that generates at iteration k, k = 0..iterations.
        sample_pools: pool of single samples at iteration k.
        verification_pools: per iteration, identity of the scores by verifier label: of a model verifier the pool of
            its single verifications, of a derived one a fingerprint of what it is computed from.
        verifier_models: the model that a cross-verifier asks, by label; the others ask the generator.
    """

    experiment: str
    fingerprints: Mapping[str, str]
    models: tuple[str, ...]
    sample_pools: tuple[str, ...]
    verification_pools: tuple[Mapping[str, str], ...]
    verifier_models: Mapping[str, str]

    def verifier_model(self, label: str, iteration: int) -> str:
        """Fingerprint of the model that a model verifier asks at ``iteration``."""
        return self.verifier_models.get(label, self.models[iteration])


def make_plan(experiment: Experiment) -> Plan:
    """Plan every fingerprint of ``experiment``.

    Iteration k = 0..iterations is generated, verified and measured; fine-tuning follows it where
    k < iterations.

    Raises:
        ModelError: when a checkpoint folder or hub id cannot be read.
        DatasetError: when a problem file cannot be read.
    """
    code = CODE_VERSIONS
    prints: dict[str, str] = {}
    problems, train_set, eval_set = _problems_fingerprints(experiment)
    prints["problems"] = problems
    models = [model_fingerprint(experiment.model)]
    others = {experiment.verifiers[i].called: model_fingerprint(model) for i, model in experiment.verifier_models()}
    prints["base_model"] = _models_fingerprint(models[0], others)
    sampling = experiment.sampling
    task_grader = [experiment.task.name, type(experiment.task).grader_version]
    sample_pools: list[str] = []
    verification_pools: list[dict[str, str]] = []
    for k in range(experiment.iterations + 1):
        pool = _pool_fingerprint(experiment, models[k])
        sample_pools.append(pool)
        train_responses = fingerprint(
            "generations",
            code["generations"],
            {"split": "train", "n": sampling.n_train, "iteration": k, "grader": task_grader},
            {"samples": pool, "problems": train_set},
        )
        generations = fingerprint(
            "generations",
            code["generations"],
            {"n_eval": sampling.n_eval},
            {"train_responses": train_responses, "eval_problems": eval_set},
        )
        pools: dict[str, str] = {}
        for verifier in experiment.verifiers:
            pools[verifier.called] = _scores_fingerprint(experiment, verifier, others, models[k], generations, pools)
        verification_pools.append(pools)
        scores = fingerprint(
            "verification_scores",
            code["verification_scores"],
            {"repeats": {v.called: v.n_repeats for v in experiment.verifiers if isinstance(v, ModelVerifier)}},
            {"generations": generations, **pools},
        )
        prints[asset_name("generations", k)] = generations
        prints[asset_name("verification_scores", k)] = scores
        prints[asset_name("gap_metrics", k)] = fingerprint(
            "gap_metrics",
            code["gap_metrics"],
            {
                "filters": [[item.model_dump(), type(item).version] for item in experiment.measured_filters()],
                "statistics": experiment.statistics,
            },
            {"generations": generations, "verification_scores": scores},
        )
        measured = {"statistics": experiment.statistics}
        read_by = {"generations": generations, "verification_scores": scores}
        for asset in VERIFIER_ASSETS:
            prints[asset_name(asset, k)] = fingerprint(asset, code[asset], measured, read_by)
        prints[asset_name("diversity_metrics", k)] = fingerprint(
            "diversity_metrics", code["diversity_metrics"], experiment.statistics, {"generations": generations}
        )
        if k < experiment.iterations:
            read = experiment.filter.verifier_names
            repeats = {v.called: v.n_repeats for v in experiment.verifiers if isinstance(v, ModelVerifier)}
            data = fingerprint(
                "finetune_data",
                code["finetune_data"],
                {
                    "filter": experiment.filter,
                    "version": type(experiment.filter).version,
                    "max_per_problem": experiment.training.max_per_problem,
                    "max_examples": experiment.training.max_examples,
                    "seed": experiment.training.seed,
                    "repeats": {name: repeats[name] for name in read if repeats.get(name, 1) > 1},
                },
                {"train_responses": train_responses} | {f"scores {name}": pools[name] for name in read},
            )
            start = models[0] if experiment.training.start_from == "base" else models[k]
            model = fingerprint(
                "model",
                code["model"],
                {"training": experiment.training, "version": type(experiment.training).version},
                {"start": start, "finetune_data": data, "base": models[0]},
            )
            prints[asset_name("finetune_data", k)] = data
            prints[asset_name("model", k)] = model
            models.append(model)
    about = {"name": experiment.name, "hypothesis": experiment.hypothesis}
    prints["report"] = fingerprint("report", code["report"], about, dict(prints))
    return Plan(
        experiment=experiment.name,
        fingerprints=prints,
        models=tuple(models),
        sample_pools=tuple(sample_pools),
        verification_pools=tuple(verification_pools),
        verifier_models=others,
    )


def _pool_fingerprint(experiment: Experiment, model: str) -> str:
    """Of single samples: drawn from a model, or recorded in a file."""
    if experiment.engine.replays:
        return fingerprint("samples", CODE_VERSIONS["samples"], None, {"recorded": _recorded_digest(experiment)})
    settings = experiment.sampling.model_dump(exclude={"n_train", "n_eval"})
    about = {"sampling": settings, "prompts": prompt_identity(experiment, askable(experiment.model), "solve")}
    return fingerprint("samples", CODE_VERSIONS["samples"], about, {"model": model})


def _recorded_digest(experiment: Experiment) -> str:
    return problem_file_digest(experiment.engine.path)


def _scores_fingerprint(
    experiment: Experiment,
    verifier: Verifier,
    others: Mapping[str, str],
    generator: str,
    generations: str,
    known: Mapping[str, str],
) -> str:
    """Identity of one verifier's scores at one iteration."""
    about = {"verifier": verifier.identity(), "version": type(verifier).version}
    if isinstance(verifier, ModelVerifier):
        model = verifier.model or askable(experiment.model)
        about["prompts"] = prompt_identity(experiment, model, verifier.prompt_kind)
        asked = {"verifier_model": others.get(verifier.called, generator)}
        return fingerprint("verifications", CODE_VERSIONS["verifications"], about, asked)
    members = {name: known[name] for name in verifier.members}  # type: ignore[attr-defined]
    return fingerprint("derived_scores", CODE_VERSIONS["derived_scores"], about, {"generations": generations} | members)


def _problems_fingerprints(experiment: Experiment) -> tuple[str, str, str]:
    """Of the problems table, of the order of training problems, of the evaluation problems.

    More iterations take more of the same training problems, so their number is in the first one only.
    """
    problems, code = experiment.problems, CODE_VERSIONS["problems"]
    if experiment.engine.replays:
        task = experiment.task
        settings = {"task": task, "version": type(task).version, "train_fraction": experiment.engine.train_fraction}
        table = fingerprint("problems", code, settings, {"recorded": _recorded_digest(experiment)})
        return table, table, table
    common = {"task": experiment.task, "version": type(experiment.task).version, "seed": problems.seed}

    def one(split: str, path: str | None, size: dict[str, int]) -> str:
        files = {} if path is None else {"file": problem_file_digest(path)}
        return fingerprint("problems", code, {**common, "split": split, **size}, files)

    train = one("train", problems.train_file, {"train_per_iteration": problems.train_per_iteration})
    evaluation = one("eval", problems.eval_file, {"eval": problems.eval})
    table = fingerprint("problems", code, {"iterations": experiment.iterations}, {"train": train, "eval": evaluation})
    return table, train, evaluation


def prompt_identity(experiment: Experiment, model: AskableModel, kind: PromptKind) -> Any:
    """What of the wording decides what a model answers to one kind of prompt."""
    if isinstance(model, BuiltinModel):
        return CompactFormat.identity()
    wording = TextFormat.identity(experiment.task, model.prompts, kind, experiment.prompts.folder)
    return {"task": experiment.task, "wording": wording}


def model_fingerprint(model: AskableModel | RecordedModel) -> str:
    """Identity of a model that is not fine-tuned here.

    Raises:
        ModelError: when a checkpoint folder or hub id cannot be read.
    """
    if isinstance(model, RecordedModel):
        return fingerprint("base_model", CODE_VERSIONS["base_model"], {"model": model})
    if isinstance(model, BuiltinModel):
        recipe = RECIPES[model.recipe]
        return fingerprint(
            "base_model",
            CODE_VERSIONS["base_model"],
            {"model": model.model_dump(), "recipe_version": recipe.version},
        )
    from ops.checkpoints import checkpoint_fingerprint, locate_checkpoint

    return checkpoint_fingerprint(locate_checkpoint(model))


def _models_fingerprint(base: str, others: Mapping[str, str]) -> str:
    """Of the table of models: the base model's own where no other model verifies."""
    if not others:
        return base
    return fingerprint("base_model", CODE_VERSIONS["base_model"], None, {"base": base, **others})
