"""An experiment whose pairs and labels are written by hand: the longer response wins, whoever wrote it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ops.builtin.model import new_model, new_tokenizer
from ops.config import Experiment
from ops.identity import short_hash
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages.problems import make_problems
from ops.storage.schemas import polars_schema

N_PROBLEMS = 40
MODELS = ("one", "two", "three")
TUNED = {"name": "tuned", "of": "logit", "epochs": 12, "learning_rate": 3e-3, "batch_size": 16}
LOGIT = {"name": "bradley_terry", "verifier": {"name": "logit"}}


def planted_experiment(
    judge: Mapping[str, Any] = LOGIT,
    estimand: str = "win_rate",
    labels: Mapping[str, Any] | None = None,
    **tuned: Any,
) -> Experiment:
    """Three models against a built-in reference; ``judge`` and its fine-tuned copy (``tuned``: changed fields)."""
    builtin = {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16}
    compared = [{"model": {**builtin, "seed": i + 1}, "label": label} for i, label in enumerate(MODELS)]
    evaluation = {"estimand": estimand, "models": compared, "judges": [judge, {**TUNED, **tuned}]}
    evaluation |= {} if labels is None else {"labels": labels}
    return Experiment.model_validate(
        {
            "name": "planted",
            "hypothesis": "A judge that is fine-tuned on labels agrees with them on the model left out.",
            "model": {**builtin, "seed": 0},
            "task": {"name": "countdown"},
            "problems": {"eval": N_PROBLEMS},
            "sampling": {"max_tokens": 16},
            "statistics": {"resamples": 200},
            "evaluation": evaluation,
        }
    )


def open_planted(home: Path, experiment: Experiment, flip: str | None = None, labelled: int = N_PROBLEMS) -> Lab:
    """A lab with problems, the untrained judge, pairs and labels.

    Args:
        flip: the model whose labels are turned round.
        labelled: pairs of each model with a label.
    """
    lab = Lab.open(experiment, home=home)
    make_problems(lab)
    if not lab.store.has_model(lab.plan.models[0]):
        with lab.store.new_model(lab.plan.models[0]) as folder:
            new_model("a", 0).save_pretrained(folder)
            new_tokenizer().save_pretrained(folder)
    pairs = planted_pairs(lab)
    lab.materialise("pairs", evaluation_asset("pairs"), None, lambda: pairs, lambda frame: {})
    labels = planted_labels(pairs, flip, labelled)
    lab.materialise("human_labels", evaluation_asset("human_labels"), None, lambda: labels, lambda frame: {})
    return lab


def planted_pairs(lab: Lab) -> pl.DataFrame:
    """One pair of each model and problem; of the first problem an identical one."""
    problems = lab.store.read("problems", lab.plan.fingerprints["problems"], ["problem_id"])["problem_id"].sort()
    alone = lab.evaluation.estimand == "accuracy"
    rows = []
    for i, problem_id in enumerate(problems):
        reference = _response(i, "reference")
        for model in (*(["countdown/a"] if alone else []), *MODELS):
            response = reference if i == 0 or model == "countdown/a" else _response(i, model)
            rows.append(
                {
                    "pair_id": short_hash(f"{problem_id}/{model}"),
                    "problem_id": problem_id,
                    "model": model,
                    "reference": None if alone else "countdown/a",
                    "sample_index": 0,
                    "response": response,
                    "reference_response": None if alone else reference,
                    "response_id": short_hash(f"{problem_id}/{model}/response"),
                    "reference_response_id": None if alone else short_hash(f"{problem_id}/reference"),
                    "is_identical": not alone and response == reference,
                    "shown_first": "model",
                }
            )
    return pl.DataFrame(rows, schema=polars_schema("pairs"))


def _response(i: int, model: str) -> str:
    draw = random.Random(f"planted:{i}:{model}")
    return " ".join(draw.choice("123456789+-*") for _ in range(draw.randint(1, 14)))


def planted_labels(pairs: pl.DataFrame, flip: str | None, labelled: int) -> pl.DataFrame:
    """1 where the model's response is longer, 0 where it is shorter, 1/2 where neither; alone: longer than 7."""
    rows = []
    seen: dict[str, int] = {}
    for row in pairs.iter_rows(named=True):
        seen[row["model"]] = seen.get(row["model"], 0) + 1
        if seen[row["model"]] > labelled:
            continue
        reference = row["reference_response"]
        own, other = len(row["response"].split()), 7.5 if reference is None else len(reference.split())
        label = 0.5 if own == other else float(own > other)
        label = 1.0 - label if row["model"] == flip else label
        rows.append({"pair_id": row["pair_id"], "model": row["model"], "annotator": "k", "label": label})
    frame = pl.DataFrame(rows)
    kinds = polars_schema("human_labels")
    absent = [pl.lit(None, dtype=kind).alias(name) for name, kind in kinds.items() if name not in frame.columns]
    return frame.with_columns(absent).select(pl.col(name).cast(kind) for name, kind in kinds.items())
