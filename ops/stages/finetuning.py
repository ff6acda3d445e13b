"""Fine-tuning: what the filter chose becomes the next iteration's model."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ops.errors import DatasetError
from ops.lab import Lab
from ops.models import BuiltinModel
from ops.plan import asset_name
from ops.stages.base_model import model_metadata, model_row, save_model
from ops.stages.filtering import filter_weights, finished, training_responses
from ops.stages.measured import share
from ops.stages.problems import problems_of
from ops.stages.training_steps import STEPS, register_steps
from ops.storage.schemas import polars_schema
from ops.types import StageResult


def select_finetune_data(lab: Lab, iteration: int) -> StageResult:
    """Choose the examples and commit them: kept responses as ``finetune_data``, or pairs as ``preference_pairs``.

    A response that was cut at max_tokens is never trained on: it has no ending.
    """
    table = lab.experiment.training.examples_table
    if table == "preference_pairs":
        from ops.stages.preference_pairs import pairs_metadata, select_pairs

        pairs = lambda: select_pairs(lab, iteration)  # noqa: E731
        return lab.materialise(table, "finetune_data", iteration, pairs, lambda frame: pairs_metadata(lab, frame))

    def compute() -> pl.DataFrame:
        responses = training_responses(lab, iteration)
        weights, _ = filter_weights(lab, iteration, responses)
        kept = responses.frame.with_columns(weight=pl.Series(weights))
        kept = kept.filter(pl.Series((weights > 0) & finished(kept)))
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

    return lab.materialise(table, "finetune_data", iteration, compute, metadata)


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
        DatasetError: when there is nothing to train on.
        ModelError: when the model cannot be trained with these settings, or memory runs out.
    """
    fingerprint = lab.plan.models[iteration + 1]
    if lab.store.has_model(fingerprint):
        return {"reused": True}
    from ops.builtin.model import count_parameters
    from ops.engines.tokens import load_tokenizer
    from ops.engines.transformers_engine import load_model
    from ops.engines.transformers_settings import TransformersEngineSettings
    from ops.training.pretrained import check_head, check_logits, make_saveable

    start = time.monotonic()
    examples = _examples(lab, iteration)
    n_examples, prompt = examples.height, examples["prompt"][0]
    rows = examples.iter_rows(named=True)
    del examples  # the rows are made to tokens one by one, and nothing else holds them
    lab.free_memory()
    path = lab.model_path(0 if lab.experiment.training.start_from == "base" else iteration)
    device = getattr(lab.experiment.engine, "device", "auto")
    model = load_model(path, TransformersEngineSettings(device=device, dtype="float32"))
    check_head(model.config)
    make_saveable(model)
    tokenizer = load_tokenizer(path)
    check_logits(model, tokenizer(prompt, add_special_tokens=False)["input_ids"])
    work = lab.store.work_folder("finetuning", fingerprint)
    result = _train(lab, iteration, model, tokenizer, rows, work)
    n_parameters = count_parameters(model)
    numbers = {
        "n_parameters": n_parameters,
        "train_tokens": result.tokens,
        "train_flops": _flops(n_parameters, result, adapters=lab.experiment.training.lora is not None),
        "optimizer_steps": result.steps,
        "final_loss": result.final_loss,
        "seconds": time.monotonic() - start,
    }
    save_model(lab, fingerprint, model, tokenizer, numbers, {STEPS: json.dumps(result.rows)})
    shutil.rmtree(work, ignore_errors=True)
    return {"reused": False, "examples": n_examples, **numbers}


def _train(lab: Lab, iteration: int, model: Any, tokenizer: Any, rows: Iterator[dict[str, Any]], work: Path) -> Any:
    """Train ``model`` in place on the rows of the examples.

    Raises:
        ModelError: when the loss is no longer finite, or memory runs out.
    """
    import torch

    from ops.training.loop import train
    from ops.training.memory import told_of_memory
    from ops.training.sft import pad_token

    label = f"iteration {iteration}: fine-tuning"
    settings = lab.experiment.training.bounded(is_builtin=isinstance(lab.experiment.model, BuiltinModel))
    with torch.random.fork_rng(devices=[]), told_of_memory(label, settings.tokens_per_micro_batch):
        torch.manual_seed(settings.seed)
        objective = settings.objective(model, tokenizer, rows, work, lab.progress)
        return train(
            model,
            objective,
            settings,
            replay=_replay(lab, iteration),
            pad_id=pad_token(tokenizer),
            work=work,
            progress=lab.progress,
            label=label,
        )


def _examples(lab: Lab, iteration: int) -> pl.DataFrame:
    """The rows that the asset ``finetune_data`` committed, and of these what the method reads.

    Raises:
        DatasetError: when there is none, with what to do about it.
    """
    settings = lab.experiment.training
    table, fingerprint = settings.examples_table, lab.plan.fingerprints[asset_name("finetune_data", iteration)]
    data = lab.store.read(table, fingerprint, list(settings.examples_columns))
    if data.is_empty():
        pairs = table == "preference_pairs"
        raise DatasetError(
            f"experiment {lab.experiment.name}, iteration {iteration}",
            "no problem has both a response that the filter keeps and one that it drops, so there are no pairs to learn"
            if pairs
            else "the filter kept no response, so there is nothing to fine-tune on",
            field="filter",
            remedy=f"{'move' if pairs else 'lower'} filter.threshold, or look at verification_scores by SQL",
        )
    return data


def _flops(n_parameters: int, result: Any, *, adapters: bool) -> float:
    """2 FLOPs of a parameter and token forward, and 4 backward; 2 backward where the weights are frozen (adapters)."""
    per_token = 4.0 if adapters else 6.0
    return per_token * n_parameters * result.tokens + 2.0 * n_parameters * result.forward_tokens


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
    """Commit the new model's row of the table ``models``, and its ``training_steps`` (CPU)."""
    fingerprint = lab.plan.models[iteration + 1]
    source = 0 if lab.experiment.training.start_from == "base" else iteration

    def compute() -> pl.DataFrame:
        row = model_row(lab, fingerprint, role="finetuned", generates=iteration + 1, parent=lab.plan.models[source])
        return pl.DataFrame([row], schema=polars_schema("models"))

    register_steps(lab, iteration)
    return lab.materialise("models", "model", iteration, compute, model_metadata)
