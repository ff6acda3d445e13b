"""Parts of plans: code versions, and fingerprints that several kinds of experiment share."""

from __future__ import annotations

from typing import Any

from ops.builtin.sizes import RECIPES
from ops.config import Experiment
from ops.identity import fingerprint
from ops.models import AskableModel, BuiltinModel, askable
from ops.prompts.base import PromptKind
from ops.prompts.compact import CompactFormat
from ops.prompts.text import TextFormat
from ops.tasks.rows import problem_file_digest
from ops.verifiers.base import ModelVerifier

CODE_VERSIONS = {
    "problems": "1",
    "base_model": "1",
    "samples": "1",
    "grades": "1",
    "sampling_choices": "1",
    "generations": "2",
    "verifications": "2",
    "scores": "1",
    "verification_scores": "2",
    "gap_metrics": "3",
    "verifier_metrics": "3",
    "calibration_bins": "2",
    "threshold_sweeps": "1",
    "verifier_pairs": "1",
    "test_time_metrics": "2",
    "finetune_data": "1",
    "model": "1",
    "diversity_metrics": "3",
    "policy_shift": "1",
    "iteration_changes": "2",
    "problem_flips": "1",
    "selection_metrics": "1",
    "stopping_rules": "1",
    "saturation": "1",
    "report": "3",
    "scaling_law": "1",
    "cross_verification": "2",
    "study_report": "3",
    "arm_comparison": "2",
    "arms_report": "2",
    "policy": "1",
    "rollouts": "1",
    "training_dynamics": "2",
    "evaluation": "1",
    "exploration_comparison": "2",
    "exploration_report": "1",
    "bandit_regret": "2",
    "pairs": "1",
    "judgements": "1",
    "synthetic_judgements": "1",
    "human_labels": "1",
    "tuned_judgements": "1",
    "win_rates": "1",
}
"""Bumped by hand when a step would compute something else from the same inputs."""


def prompt_identity(experiment: Experiment, model: AskableModel, kind: PromptKind) -> Any:
    """What of the wording decides what a model answers to one kind of prompt."""
    if isinstance(model, BuiltinModel):
        return CompactFormat.identity()
    wording = TextFormat.identity(experiment.task, model.prompts, kind, experiment.prompts.folder)
    return {"task": experiment.task, "wording": wording}


def model_fingerprint(model: AskableModel) -> str:
    """Identity of a model that is not fine-tuned here.

    Raises:
        ModelError: when a checkpoint folder or hub id cannot be read.
    """
    if isinstance(model, BuiltinModel):
        recipe = RECIPES[model.recipe]
        return fingerprint(
            "base_model",
            CODE_VERSIONS["base_model"],
            {"model": model.model_dump(), "recipe_version": recipe.version},
        )
    from ops.checkpoints import checkpoint_fingerprint, locate_checkpoint

    return checkpoint_fingerprint(locate_checkpoint(model))


def pool_fingerprint(
    experiment: Experiment, model: str, temperature: float | None = None, asked: AskableModel | None = None
) -> str:
    """Of single samples: drawn from a model, at another temperature than the experiment's, or recorded in a file.

    Args:
        model: its fingerprint.
        asked: the model itself where it is not the experiment's, for how it is spoken to.
    """
    if experiment.engine.replays:
        return fingerprint("samples", CODE_VERSIONS["samples"], None, {"recorded": recorded_digest(experiment)})
    settings = experiment.sampling.model_dump(exclude={"n_train", "n_eval"})
    settings |= {} if temperature is None else {"temperature": temperature}
    about = {"sampling": settings, "prompts": prompt_identity(experiment, asked or askable(experiment.model), "solve")}
    return fingerprint("samples", CODE_VERSIONS["samples"], about, {"model": model})


def verification_pool_fingerprint(
    experiment: Experiment, verifier: ModelVerifier, model: AskableModel, fingerprint_of_model: str
) -> str:
    """Of single verifications of one verifier by one model."""
    about = {
        "verifier": verifier.identity(),
        "version": type(verifier).version,
        "prompts": prompt_identity(experiment, model, verifier.prompt_kind),
    }
    return fingerprint("verifications", CODE_VERSIONS["verifications"], about, {"verifier_model": fingerprint_of_model})


def recorded_digest(experiment: Experiment) -> str:
    """Of the file of recorded responses."""
    return problem_file_digest(experiment.engine.path)
