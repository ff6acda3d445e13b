"""A tiny experiment with evaluation, for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ops.config import Experiment

JUDGE = {"name": "bradley_terry", "verifier": {"name": "logit"}, "label": "logit"}


def builtin(seed: int, steps: int = 3) -> dict[str, Any]:
    """The smallest built-in model, hardly trained."""
    return {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": steps, "batch_size": 16, "seed": seed}


def fields(**changes: Any) -> dict[str, Any]:
    """Of an experiment file: a reference, two models, one judge; the mapping ``evaluation`` is merged."""
    evaluation = {
        "models": [{"model": builtin(1), "label": "one"}, {"model": builtin(2), "label": "two"}],
        "judges": [JUDGE],
        "labels": {"source": "gold", "count": 6},
        **changes.pop("evaluation", {}),
    }
    known = {
        "name": "pairs",
        "hypothesis": "A tiny experiment compares models by pairs.",
        "model": builtin(0),
        "task": {"name": "countdown"},
        "problems": {"eval": 8},
        "sampling": {"n_eval": 3, "max_tokens": 16},
        "statistics": {"resamples": 200},
        "evaluation": evaluation,
    }
    return {**known, **changes}


def evaluated(**changes: Any) -> Experiment:
    """The experiment of ``fields``."""
    return Experiment.model_validate(fields(**changes))


def written(folder: Path, prompts: int, models: Iterable[str], samples: int = 1, **changes: Any) -> Experiment:
    """An experiment on open-ended prompts with recorded responses: files of both in ``folder``.

    The first of ``models`` is the reference; the response of model m to prompt i, sample j, is ``m wrote j to i``.
    """
    labels = list(models)
    problems = [
        {"problem_id": f"p{i}", "problem": f"Write about {i}.", "category": "ab"[i % 2]} for i in range(prompts)
    ]
    rows = [
        {"problem_id": f"p{i}", "model": label, "response": f"{label} wrote {j} to {i}"}
        for i in range(prompts)
        for label in labels
        for j in range(samples)
    ]
    evaluation = {
        "models": [{"label": label} for label in labels[1:]],
        "judges": [],
        "labels": {"source": "file"},
        "responses": str(write_rows(folder / "responses.jsonl", rows)),
        **changes.pop("evaluation", {}),
    }
    known = fields(evaluation=evaluation, task={"name": "open"})
    del known["sampling"]
    known |= {"model": {"kind": "recorded", "label": labels[0]}}
    known |= {"problems": {"eval": prompts, "eval_file": str(write_rows(folder / "prompts.jsonl", problems))}}
    return Experiment.model_validate({**known, **changes})


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
