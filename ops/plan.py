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
from ops.config import BuiltinModel, Experiment
from ops.identity import fingerprint
from ops.prompts.compact import CompactFormat
from ops.prompts.text import TextFormat
from ops.tasks.rows import problem_file_digest

CODE_VERSIONS = {
    "problems": "1",
    "base_model": "1",
    "samples": "1",
    "generations": "1",
    "verifications": "1",
    "verification_scores": "1",
    "gap_metrics": "1",
    "finetune_data": "1",
    "model": "1",
    "diversity_metrics": "1",
    "report": "1",
}
"""Bumped by hand when a step would compute something else from the same inputs."""

ITERATION_ASSETS = (
    "generations",
    "verification_scores",
    "gap_metrics",
    "finetune_data",
    "model",
    "diversity_metrics",
)


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
        verification_pools: per iteration, pool of single verifications by verifier name.
    """

    experiment: str
    fingerprints: Mapping[str, str]
    models: tuple[str, ...]
    sample_pools: tuple[str, ...]
    verification_pools: tuple[Mapping[str, str], ...]


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
    models = [_base_model_fingerprint(experiment)]
    prints["base_model"] = models[0]
    prompts = _prompt_identity(experiment)
    sampling = experiment.sampling
    task_grader = [experiment.task.name, type(experiment.task).grader_version]
    sample_pools: list[str] = []
    verification_pools: list[dict[str, str]] = []
    for k in range(experiment.iterations + 1):
        settings = sampling.model_dump(exclude={"n_train", "n_eval"})
        pool = fingerprint("samples", code["samples"], {"sampling": settings, "prompts": prompts}, {"model": models[k]})
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
        pools = {
            verifier.name: fingerprint(
                "verifications",
                code["verifications"],
                {"verifier": verifier, "version": type(verifier).version, "prompts": prompts},
                {"verifier_model": models[k]},
            )
            for verifier in experiment.verifiers
        }
        verification_pools.append(pools)
        scores = fingerprint(
            "verification_scores", code["verification_scores"], None, {"generations": generations, **pools}
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
        prints[asset_name("diversity_metrics", k)] = fingerprint(
            "diversity_metrics", code["diversity_metrics"], experiment.statistics, {"generations": generations}
        )
        if k < experiment.iterations:
            needs_scores = experiment.filter.verifier_name is not None
            data = fingerprint(
                "finetune_data",
                code["finetune_data"],
                {
                    "filter": experiment.filter,
                    "version": type(experiment.filter).version,
                    "max_per_problem": experiment.training.max_per_problem,
                    "max_examples": experiment.training.max_examples,
                    "seed": experiment.training.seed,
                },
                {"train_responses": train_responses}
                | ({"verifications": pools[experiment.filter.verifier_name]} if needs_scores else {}),
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
    )


def _problems_fingerprints(experiment: Experiment) -> tuple[str, str, str]:
    """Of the problems table, of the order of training problems, of the evaluation problems.

    More iterations take more of the same training problems, so their number is in the first one only.
    """
    problems, code = experiment.problems, CODE_VERSIONS["problems"]
    common = {"task": experiment.task, "version": type(experiment.task).version, "seed": problems.seed}

    def one(split: str, path: str | None, size: dict[str, int]) -> str:
        files = {} if path is None else {"file": problem_file_digest(path)}
        return fingerprint("problems", code, {**common, "split": split, **size}, files)

    train = one("train", problems.train_file, {"train_per_iteration": problems.train_per_iteration})
    evaluation = one("eval", problems.eval_file, {"eval": problems.eval})
    table = fingerprint("problems", code, {"iterations": experiment.iterations}, {"train": train, "eval": evaluation})
    return table, train, evaluation


def _prompt_identity(experiment: Experiment) -> Any:
    if isinstance(experiment.model, BuiltinModel):
        return CompactFormat.identity()
    return TextFormat.identity(experiment.task, experiment.model.prompts)


def _base_model_fingerprint(experiment: Experiment) -> str:
    if isinstance(experiment.model, BuiltinModel):
        recipe = RECIPES[experiment.model.recipe]
        return fingerprint(
            "base_model",
            CODE_VERSIONS["base_model"],
            {"model": experiment.model.model_dump(), "recipe_version": recipe.version},
        )
    from ops.checkpoints import checkpoint_fingerprint, locate_checkpoint

    return checkpoint_fingerprint(locate_checkpoint(experiment.model))
