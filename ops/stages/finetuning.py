"""Fine-tuning: what the filter kept becomes the next iteration's model."""

from __future__ import annotations

import random
import shutil
import time
from typing import Any

import numpy as np
import polars as pl

from ops.errors import DatasetError
from ops.lab import Lab
from ops.models import BuiltinModel
from ops.plan import asset_name
from ops.stages.base_model import model_metadata, model_row, save_model
from ops.stages.measured import ScoreTable, responses_of, share
from ops.stages.problems import problems_of
from ops.storage.schemas import polars_schema
from ops.types import StageResult, TrainingExample


def select_finetune_data(lab: Lab, iteration: int) -> StageResult:
    """Keep the training responses that the filter gives weight and commit the table ``finetune_data``.

    A response that was cut at max_tokens is never trained on: it has no ending.
    """
    responses = None

    def compute() -> pl.DataFrame:
        nonlocal responses
        responses = responses_of(lab, iteration, "train")
        item = lab.experiment.filter
        table = ScoreTable(lab, iteration) if item.verifier_names else None
        scores = {name: table.of(name, responses).score for name in item.verifier_names} if table else {}
        weights = item.weights_of(responses.problem_index, scores, responses.is_correct)
        kept = responses.frame.with_columns(weight=pl.Series(weights))
        kept = kept.filter(pl.Series((weights > 0) & _finished(kept)))
        return _with_prompts(lab, iteration, _capped(lab, kept))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {
            "examples": frame.height,
            "problems_with_examples": frame["problem_id"].n_unique(),
            "problems": lab.experiment.problems.train_per_iteration,
        }
        if frame.height:
            numbers["correct_fraction"] = share(frame["verdict"] == "correct")
        return numbers

    return lab.materialise("finetune_data", "finetune_data", iteration, compute, metadata)


def _finished(frame: pl.DataFrame) -> np.ndarray:
    return (frame["finish_reason"] == "stop").to_numpy()


def _capped(lab: Lab, kept: pl.DataFrame) -> pl.DataFrame:
    """At most ``max_per_problem`` rows of a problem and ``max_examples`` in all, drawn from the training seed."""
    settings = lab.experiment.training
    order = list(range(kept.height))
    random.Random(f"finetune_data:{settings.seed}").shuffle(order)
    if settings.max_per_problem is not None:
        seen: dict[str, int] = {}
        ids = kept["problem_id"].to_list()
        chosen = []
        for row in order:
            seen[ids[row]] = seen.get(ids[row], 0) + 1
            if seen[ids[row]] <= settings.max_per_problem:
                chosen.append(row)
        order = chosen
    return kept[sorted(order[: settings.max_examples])]


def _with_prompts(lab: Lab, iteration: int, kept: pl.DataFrame) -> pl.DataFrame:
    prompts = lab.prompt_format()
    problems = {problem.problem_id: problem for problem in problems_of(lab, iteration)}
    return kept.with_columns(
        prompt=pl.Series([prompts.solve(problems[identity]) for identity in kept["problem_id"]], dtype=pl.String),
        completion=pl.Series([prompts.completion(text, True) for text in kept["response"]], dtype=pl.String),
    ).select(list(polars_schema("finetune_data")))


def finetune_model(lab: Lab, iteration: int) -> dict[str, Any]:
    """Train the model of iteration + 1 and write its folder (GPU).

    Raises:
        DatasetError: when the filter kept nothing.
    """
    fingerprint = lab.plan.models[iteration + 1]
    if lab.store.has_model(fingerprint):
        return {"reused": True}
    import torch

    from ops.builtin.model import count_parameters
    from ops.engines.tokens import load_tokenizer
    from ops.engines.transformers_engine import load_model
    from ops.engines.transformers_settings import TransformersEngineSettings
    from ops.training.loss import check_head
    from ops.training.sft import finetune

    start = time.monotonic()
    settings = lab.experiment.training
    data = lab.store.read("finetune_data", lab.plan.fingerprints[asset_name("finetune_data", iteration)])
    if data.is_empty():
        raise DatasetError(
            f"experiment {lab.experiment.name}, iteration {iteration}",
            "the filter kept no response, so there is nothing to fine-tune on",
            field="filter",
            remedy="lower filter.threshold, or look at verification_scores by SQL",
        )
    examples = [
        TrainingExample(row["problem_id"], row["sample_index"], row["prompt"], row["completion"], row["weight"])
        for row in data.iter_rows(named=True)
    ]
    lab.free_memory()
    source = 0 if settings.start_from == "base" else iteration
    path = lab.model_path(source)
    device = getattr(lab.experiment.engine, "device", "auto")
    model = load_model(path, TransformersEngineSettings(device=device, dtype="float32"))
    check_head(model.config)
    tokenizer = load_tokenizer(path)
    work = lab.store.work_folder("finetuning", fingerprint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        result = finetune(
            model,
            tokenizer,
            examples,
            settings,
            replay=_replay(lab, iteration),
            work=work,
            progress=lab.progress,
            label=f"iteration {iteration}: fine-tuning",
        )
    n_parameters = count_parameters(model)
    numbers = {
        "n_parameters": n_parameters,
        "train_tokens": result.tokens,
        "train_flops": 6.0 * n_parameters * result.tokens,
        "optimizer_steps": result.steps,
        "final_loss": result.final_loss,
        "seconds": time.monotonic() - start,
    }
    save_model(lab, fingerprint, model, tokenizer, numbers)
    shutil.rmtree(work, ignore_errors=True)
    return {"reused": False, "examples": len(examples), **numbers}


def _replay(lab: Lab, iteration: int) -> Any:
    """The pretraining documents that this fine-tuning replays, or None."""
    settings = lab.experiment.training
    if settings.replay_fraction == 0.0 or not isinstance(lab.experiment.model, BuiltinModel):
        return None
    from ops.builtin.documents import Material, replay_batch
    from ops.builtin.sizes import RECIPES

    exercises = RECIPES[lab.experiment.model.recipe].exercises
    material = Material(exercises.keys(), exercises=exercises)
    seed = settings.seed * 1000 + iteration
    return lambda step, count: replay_batch(step, count, seed, material)


def register_model(lab: Lab, iteration: int) -> StageResult:
    """Commit the new model's row of the table ``models`` (CPU)."""
    source = 0 if lab.experiment.training.start_from == "base" else iteration

    def compute() -> pl.DataFrame:
        row = model_row(
            lab,
            lab.plan.models[iteration + 1],
            role="finetuned",
            generates=iteration + 1,
            parent=lab.plan.models[source],
        )
        return pl.DataFrame([row], schema=polars_schema("models"))

    return lab.materialise("models", "model", iteration, compute, model_metadata)
