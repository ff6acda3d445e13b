"""A study of arms that runs in seconds: four arms, two seeds, hardly trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.studies import changed_copy, study_writer

TINY: dict[str, Any] = {
    "name": "tiny",
    "hypothesis": "a tiny study of arms runs through every stage, for tests only",
    "experiment": {
        "model": {"kind": "builtin", "size": "a", "steps": 12, "batch_size": 16},
        "task": {"name": "countdown"},
        "problems": {"train_per_iteration": 6, "eval": 8},
        "sampling": {"n_train": 4, "n_eval": 4, "max_tokens": 16},
        "verifiers": [{"name": "logit"}],
        "iterations": 1,
        "training": {"name": "sft", "epochs": 1, "batch_size": 8},
        "statistics": {"resamples": 200},
    },
    "arms": {
        "self": {"filter": {"name": "threshold", "verifier": "logit", "threshold": 0.0}},
        "cross": {
            "verifiers": [
                {"name": "logit"},
                {
                    "name": "logit",
                    "label": "logit@xxs",
                    "model": {"kind": "builtin", "size": "xxs", "steps": 12, "batch_size": 16},
                },
            ],
            "filter": {"name": "threshold", "verifier": "logit@xxs", "threshold": 0.0},
        },
        "gold": {"filter": {"name": "gold"}},
        "unfiltered": {"filter": {"name": "none"}},
    },
    "seeds": [0, 1],
    "reference": "unfiltered",
}


def changed(**changes: Any) -> dict[str, Any]:
    """The tiny study with fields replaced, by dotted name (``arms__self__filter``), or removed."""
    return changed_copy(TINY, changes)


@pytest.fixture
def write_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write ``studies/NAME.yaml`` in a folder of the test's own; MINDGAP_* point there."""
    return study_writer(tmp_path, monkeypatch, changed)
