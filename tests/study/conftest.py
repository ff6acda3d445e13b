"""A study that runs in seconds: two sizes, hardly trained, one task, two checks, one of them crossed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.studies import changed_copy, study_writer

TINY: dict[str, Any] = {
    "name": "tiny",
    "hypothesis": "a tiny study runs through every stage, for tests only",
    "models": {
        "small": {"kind": "builtin", "size": "a", "steps": 12, "batch_size": 16},
        "large": {"kind": "builtin", "size": "xxs", "steps": 12, "batch_size": 16},
    },
    "tasks": [{"task": {"name": "countdown"}}],
    "verifiers": [{"name": "logit"}, {"name": "score_cot", "max_tokens": 24}],
    "cross": ["logit"],
    "problems": {"train_per_iteration": 6, "eval": 8},
    "sampling": {"n_train": 4, "n_eval": 4, "max_tokens": 16},
    "statistics": {"resamples": 200},
}


def changed(**changes: Any) -> dict[str, Any]:
    """The tiny study with fields replaced, by dotted name (``models__small__size``), or removed."""
    return changed_copy(TINY, changes)


@pytest.fixture
def write_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write ``studies/NAME.yaml`` in a folder of the test's own; MINDGAP_* point there."""
    return study_writer(tmp_path, monkeypatch, changed)
