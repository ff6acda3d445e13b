"""The base model: pretrained here from a seed, or a checkpoint that is checked and fingerprinted."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ops.errors import ModelError
from ops.evaluation.judges.base import ModelJudge
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.plan import compared_models, judging_model
from ops.lab import Lab
from ops.models import AskableModel, BuiltinModel, FolderModel, HubModel, RecordedModel, RegistryModel, askable
from ops.stages.problems import check_problem_files
from ops.storage.schemas import polars_schema
from ops.types import StageResult
from ops.verifiers.choices import ChoiceVerifier

NUMBERS = "mindgap.json"
"""Beside the weights of a model trained here: how it was trained, in numbers."""


def obtain_base_model(lab: Lab) -> StageResult:
    """Pretrain, or adopt, the model of iteration 0 and those that cross-verify, and commit the table ``models`` (GPU).

    With ``evaluation``: the reference, the models that are compared with it, and those that judge.

    Raises:
        ModelError: when a checkpoint folder does not load, or cannot be trained with the experiment's settings.
        DatasetError: with ``evaluation``, when a file of problems, responses or judgements cannot be used.
    """

    def compute() -> pl.DataFrame:
        if lab.experiment.evaluation is not None:
            return pl.DataFrame(_evaluation_rows(lab), schema=polars_schema("models"))
        rows = [_row(lab, lab.experiment.model, lab.plan.models[0], "base")]
        seen = {lab.plan.models[0]}
        for i, model in lab.experiment.verifier_models():
            fingerprint = lab.plan.verifier_models[lab.experiment.verifiers[i].called]
            if fingerprint not in seen:
                rows.append(_row(lab, model, fingerprint, "verifier"))
                seen.add(fingerprint)
        return pl.DataFrame(rows, schema=polars_schema("models"))

    if lab.experiment.evaluation is not None:
        check_problem_files(lab.experiment)
        _check_writers(lab)
        _check_judges(lab)
    _check_choices(lab)
    _check_trainable(lab)
    return lab.materialise("models", "base_model", None, compute, model_metadata)


def _evaluation_rows(lab: Lab) -> list[dict[str, Any]]:
    """A row for every model that writes, under its label, and for those that only judge."""
    plan = lab.evaluation_plan
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for label, writer in compared_models(lab.experiment, lab.evaluation).items():
        fingerprint = plan.models[label]
        if isinstance(writer, RecordedModel) or fingerprint not in seen:  # one file has the responses of all
            role = "compared" if rows else "reference"
            rows.append(_row(lab, writer, fingerprint, role) | {"model": label})
            seen.add(fingerprint)
    for judge in lab.evaluation.judges:
        model = judging_model(lab.experiment, judge)
        if model is not None and plan.judge_models[judge.called] not in seen:
            rows.append(_row(lab, model, plan.judge_models[judge.called], "judge"))
            seen.add(plan.judge_models[judge.called])
    return rows


def _row(lab: Lab, model: AskableModel | RecordedModel, fingerprint: str, role: str) -> dict[str, Any]:
    if isinstance(model, RecordedModel):
        return _row_without_training(fingerprint, role, model.shown, path=None, n_parameters=None)
    if isinstance(model, BuiltinModel):
        if not lab.store.has_model(fingerprint):
            _pretrain(lab, model, fingerprint)
        row = model_row(lab, fingerprint, role=role, generates=0, parent=None)
        return row | {"model": model.shown, "generates_iteration": 0 if role == "base" else None}
    return _adopted(lab, model, fingerprint, role)


def model_metadata(frame: pl.DataFrame) -> dict[str, Any]:
    """Numbers of a model row that people want to see."""
    row = frame.row(0, named=True)
    return {
        name: row[name]
        for name in ("n_parameters", "train_tokens", "train_flops", "optimizer_steps", "final_loss", "path")
        if row[name] is not None
    }


def _pretrain(lab: Lab, wanted: BuiltinModel, fingerprint: str) -> None:
    from ops.builtin.model import count_parameters, new_model, new_tokenizer
    from ops.builtin.pretrain import pretrain
    from ops.builtin.sizes import RECIPES

    start = time.monotonic()
    exercises = RECIPES[wanted.recipe].exercises
    model, tokenizer = new_model(wanted.size, wanted.seed), new_tokenizer()
    work = lab.store.work_folder("pretraining", fingerprint)
    lab.free_memory()
    result = pretrain(
        model,
        tokenizer,
        exercises.keys(),
        size=wanted.size,
        steps=wanted.steps,
        batch_size=wanted.batch_size,
        seed=wanted.seed,
        work=work,
        progress=lab.progress,
        exercises=exercises,
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


def save_model(
    lab: Lab,
    fingerprint: str,
    model: Any,
    tokenizer: Any,
    numbers: dict[str, Any],
    extra_files: Mapping[str, str] | None = None,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Write a Hugging Face folder (safetensors) with its training numbers, whole or not at all.

    Args:
        extra_files: texts of further files by name.
        add: writes more files into the folder, before it appears.

    Raises:
        ModelError: when a number is not finite.
    """
    for name, value in numbers.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ModelError(f"model {fingerprint}", f"{name} is not finite", remedy="lower the learning rate")
    with lab.store.new_model(fingerprint) as folder:
        model.eval()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / NUMBERS).write_text(json.dumps(numbers, indent=2))
        for name, text in (extra_files or {}).items():
            (folder / name).write_text(text)
        if add is not None:
            add(folder)


def model_row(lab: Lab, fingerprint: str, *, role: str, generates: int, parent: str | None) -> dict[str, Any]:
    """The row of ``models`` for a model trained here, from the numbers beside its weights."""
    folder = lab.store.model_folder(fingerprint)
    numbers = json.loads((folder / NUMBERS).read_text())
    return {
        "role": role,
        "model": f"{lab.experiment.model.shown}, iteration {generates}",
        "generates_iteration": generates,
        "model_fingerprint": fingerprint,
        "parent_fingerprint": parent,
        "path": str(folder.relative_to(lab.store.home)),
        **numbers,
    }


def _adopted(lab: Lab, model: FolderModel | HubModel | RegistryModel, fingerprint: str, role: str) -> dict[str, Any]:
    from ops.checkpoints import locate_checkpoint

    start = time.monotonic()
    folder = locate_checkpoint(model)
    row = _row_without_training(fingerprint, role, model.shown, str(folder), _stored_parameters(folder))
    return row | {"seconds": time.monotonic() - start}


def _row_without_training(
    fingerprint: str, role: str, shown: str, path: str | None, n_parameters: int | None
) -> dict[str, Any]:
    known = {
        "role": role,
        "model": shown,
        "generates_iteration": 0 if role == "base" else None,
        "model_fingerprint": fingerprint,
        "path": path,
        "n_parameters": n_parameters,
    }
    return {name: known.get(name) for name in polars_schema("models")}


def _check_writers(lab: Lab) -> None:
    """Every model that writes can be spoken to, and no two of them are the same: their responses would be, too."""
    label_of: dict[str, str] = {}
    for label, model in compared_models(lab.experiment, lab.evaluation).items():
        if isinstance(model, RecordedModel):
            continue
        lab.writer_format(label)
        _check_tokenizer(model)
        pool = lab.evaluation_plan.sample_pools[label]
        if pool in label_of:
            raise ModelError(
                f"model {label}",
                f"the same model as {label_of[pool]}, spoken to in the same way: it would write the same responses",
                field="evaluation.models",
                remedy="leave one of the two out, or give one of them other prompts (chat or few_shot)",
            )
        label_of[pool] = label


def _check_judges(lab: Lab) -> None:
    """Every model that judges can be spoken to; a reward model gives one number."""
    from ops.checkpoints import locate_checkpoint
    from ops.training.pretrained import configuration_of

    for i, judge in enumerate(lab.evaluation.judges):
        model = judging_model(lab.experiment, judge)
        if model is None:
            continue
        _check_tokenizer(model)
        if isinstance(judge, ModelJudge):
            lab.judge_format(judge)
        elif isinstance(model, FolderModel):
            folder = locate_checkpoint(model)
            labels = configuration_of(folder).num_labels
            if labels != 1:
                raise ModelError(
                    str(folder),
                    f"a classifier of {labels} labels; a reward model gives one number",
                    field=f"evaluation.judges[{i}].path",
                    remedy="take a sequence classifier with num_labels 1; a model that writes judges as pairwise, or "
                    "as bradley_terry with a verifier",
                )


def _check_tokenizer(model: AskableModel) -> None:
    from ops.checkpoints import locate_checkpoint
    from ops.engines.tokens import load_tokenizer

    if not isinstance(model, BuiltinModel):
        load_tokenizer(locate_checkpoint(model))


def _asked_verifiers(lab: Lab) -> list[tuple[str, Any, Any]]:
    """(field, verifier, model or None for the experiment's own) of verifiers, those of judges included."""
    asked: list[tuple[str, Any, Any]] = [
        ("verifiers", item, getattr(item, "model", None)) for item in lab.experiment.verifiers
    ]
    if lab.experiment.evaluation is not None:
        asked += [
            (f"evaluation.judges[{i}].verifier", judge.verifier, judge.model)
            for i, judge in enumerate(lab.experiment.evaluation.judges)
            if isinstance(judge, BradleyTerry)
        ]
    return asked


def _check_choices(lab: Lab) -> None:
    """Each choice has to be one token of the model that is asked; better known before sampling."""
    from ops.checkpoints import locate_checkpoint
    from ops.engines.tokens import load_tokenizer, no_single_token

    for field, verifier, asked in _asked_verifiers(lab):
        if not isinstance(verifier, ChoiceVerifier):
            continue
        model = asked or askable(lab.experiment.model)
        if isinstance(model, BuiltinModel):
            continue
        folder = locate_checkpoint(model)
        tokenizer = load_tokenizer(folder)
        for word in verifier.words(lab.prompt_format(model)):
            problem = no_single_token(tokenizer, word)
            if problem is not None:
                raise ModelError(
                    str(folder),
                    f"the choice {word!r} of {verifier.called} verification {problem}",
                    field=field,
                    remedy=f"leave the {verifier.called} {'verifier' if field == 'verifiers' else 'judge'} out",
                )


def _check_trainable(lab: Lab) -> None:
    """What training would refuse, better known before sampling: read from configurations, no weights loaded."""
    experiment, explores = lab.experiment, lab.experiment.exploration
    if (experiment.iterations == 0 and explores is None) or isinstance(experiment.model, RecordedModel):
        return
    section = "training" if explores is None else "exploration"
    settings = experiment.training if explores is None else explores
    from ops.engines.transformers_engine import device_of
    from ops.training.loss import check_precision
    from ops.training.pretrained import check_configuration, configuration_of

    if isinstance(experiment.model, BuiltinModel):
        from ops.builtin.model import new_model

        config = new_model(experiment.model.size, 0).config
    else:
        config = configuration_of(lab.model_path(0))
    check_configuration(config, settings, experiment.model.shown, section)
    if settings.precision != "float32":
        check_precision(device_of(getattr(experiment.engine, "device", "auto")).type, settings.precision, section)


def _stored_parameters(folder: Path) -> int:
    """Parameters in the safetensors files, read from their headers."""
    from safetensors import SafetensorError, safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(str(path), f"cannot be read: {error}", remedy="download the file again") from None
    return total
