"""The base model: pretrained here from a seed, or a checkpoint that is checked and fingerprinted."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl

from ops.config import BuiltinModel
from ops.errors import ModelError
from ops.lab import Lab
from ops.storage.schemas import polars_schema
from ops.types import StageResult

NUMBERS = "mindgap.json"
"""Beside the weights of a model trained here: how it was trained, in numbers."""


def obtain_base_model(lab: Lab) -> StageResult:
    """Pretrain, or adopt, the model of iteration 0 and commit its row of the table ``models`` (GPU).

    Raises:
        ModelError: when a checkpoint folder does not load.
    """

    def compute() -> pl.DataFrame:
        if isinstance(lab.experiment.model, BuiltinModel):
            return pl.DataFrame([_pretrained(lab, lab.experiment.model)], schema=polars_schema("models"))
        return pl.DataFrame([_adopted(lab)], schema=polars_schema("models"))

    return lab.materialise("models", "base_model", None, compute, model_metadata)


def model_metadata(frame: pl.DataFrame) -> dict[str, Any]:
    """Numbers of a model row that people want to see."""
    row = frame.row(0, named=True)
    return {
        name: row[name]
        for name in ("n_parameters", "train_tokens", "train_flops", "optimizer_steps", "final_loss", "path")
        if row[name] is not None
    }


def _pretrained(lab: Lab, wanted: BuiltinModel) -> dict[str, Any]:
    fingerprint = lab.plan.models[0]
    if not lab.store.has_model(fingerprint):
        _pretrain(lab, wanted, fingerprint)
    return model_row(lab, fingerprint, role="base", generates=0, parent=None)


def _pretrain(lab: Lab, wanted: BuiltinModel, fingerprint: str) -> None:
    from ops.builtin.model import count_parameters, new_model, new_tokenizer
    from ops.builtin.pretrain import pretrain
    from ops.tasks.countdown import Countdown, keys_of

    start = time.monotonic()
    task = Countdown()
    model, tokenizer = new_model(wanted.size, wanted.seed), new_tokenizer()
    work = lab.store.work_folder("pretraining", fingerprint)
    result = pretrain(
        model,
        tokenizer,
        keys_of(task.numbers, task.max_number, "train"),
        size=wanted.size,
        steps=wanted.steps,
        batch_size=wanted.batch_size,
        seed=wanted.seed,
        work=work,
        progress=lab.progress,
    )
    numbers = {
        "n_parameters": count_parameters(model),
        "train_tokens": result.tokens,
        "train_flops": result.flops,
        "optimizer_steps": result.steps,
        "final_loss": result.final_loss,
        "seconds": time.monotonic() - start,
    }
    save_model(lab, fingerprint, model, tokenizer, numbers)
    shutil.rmtree(work, ignore_errors=True)


def save_model(lab: Lab, fingerprint: str, model: Any, tokenizer: Any, numbers: dict[str, Any]) -> None:
    """Write a Hugging Face folder (safetensors) with its training numbers, whole or not at all."""
    for name, value in numbers.items():
        if isinstance(value, float) and value != value:
            raise ModelError(f"model {fingerprint}", f"{name} is not finite", remedy="lower the learning rate")
    with lab.store.new_model(fingerprint) as folder:
        model.eval()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / NUMBERS).write_text(json.dumps(numbers, indent=2))


def model_row(lab: Lab, fingerprint: str, *, role: str, generates: int, parent: str | None) -> dict[str, Any]:
    """The row of ``models`` for a model trained here, from the numbers beside its weights."""
    folder = lab.store.model_folder(fingerprint)
    numbers = json.loads((folder / NUMBERS).read_text())
    return {
        "role": role,
        "generates_iteration": generates,
        "model_fingerprint": fingerprint,
        "parent_fingerprint": parent,
        "path": str(folder.relative_to(lab.store.home)),
        **numbers,
    }


def _adopted(lab: Lab) -> dict[str, Any]:
    from ops.checkpoints import locate_checkpoint

    start = time.monotonic()
    folder = locate_checkpoint(lab.experiment.model)  # type: ignore[arg-type]
    if any(verifier.name == "logit" for verifier in lab.experiment.verifiers):
        _check_choices(lab, folder)
    return {
        "role": "base",
        "generates_iteration": 0,
        "model_fingerprint": lab.plan.models[0],
        "parent_fingerprint": None,
        "path": str(folder),
        "n_parameters": _stored_parameters(folder),
        "train_tokens": None,
        "train_flops": None,
        "optimizer_steps": None,
        "final_loss": None,
        "seconds": time.monotonic() - start,
    }


def _check_choices(lab: Lab, folder: Path) -> None:
    """Logit verification needs one token per choice; better known before anything is sampled."""
    from ops.engines.transformers_engine import load_tokenizer

    tokenizer = load_tokenizer(folder)
    for word in lab.prompt_format().choices:
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ModelError(
                str(folder),
                f"the choice {word!r} of logit verification is {len(ids)} tokens of this model, expected one token",
                field="verifiers",
                remedy="leave the logit verifier out",
            )


def _stored_parameters(folder: Path) -> int:
    """Parameters in the safetensors files, read from their headers."""
    import math

    from safetensors import SafetensorError, safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(str(path), f"cannot be read: {error}", remedy="download the file again") from None
    return total
