"""What a training run did, step by step: written beside the model, then committed as the table ``training_steps``."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from ops.lab import Lab
from ops.plan import asset_name
from ops.storage.schemas import polars_schema

STEPS = "training_steps.json"
"""Beside the weights of a model trained here; models from before it was written have none, and keep working."""


def register_steps(lab: Lab, iteration: int) -> None:
    """Commit the table ``training_steps`` of the asset ``model``, or adopt it; nothing where the model has no rows."""
    path = lab.store.model_folder(lab.plan.models[iteration + 1]) / STEPS
    fingerprint = lab.plan.fingerprints[asset_name("model", iteration)]
    if not path.is_file() and not lab.store.has("training_steps", fingerprint):
        return
    lab.materialise("training_steps", "model", iteration, lambda: _steps(path), _metadata)


def _steps(path: Any) -> pl.DataFrame:
    return pl.DataFrame(json.loads(path.read_text()), schema=polars_schema("training_steps"), orient="row")


def _metadata(frame: pl.DataFrame) -> dict[str, Any]:
    measured = frame.filter(pl.col("validation_loss").is_not_null())
    kept = frame.filter("kept")["step"].to_list()
    numbers: dict[str, Any] = {"optimizer_steps": frame["step"].max(), "kept_step": kept[0]}
    if measured.height:
        numbers["smallest_validation_loss"] = measured["validation_loss"].min()
    return numbers
