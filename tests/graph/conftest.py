"""An experiment small enough for every stage to run in seconds, and a home of its own for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

TINY = {
    "name": "tiny",
    "hypothesis": "a tiny run through every stage, for tests only",
    "model": {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 20, "batch_size": 16, "seed": 0},
    "task": {"name": "countdown", "numbers": 3, "max_number": 12},
    "problems": {"seed": 0, "train_per_iteration": 12, "eval": 8},
    "sampling": {"n_train": 4, "n_eval": 4, "max_tokens": 16, "seed": 0},
    "verifiers": [{"name": "binary_cot"}, {"name": "logit"}],
    "filter": {"name": "none"},
    "iterations": 1,
    "training": {
        "name": "sft",
        "start_from": "previous",
        "learning_rate": 1e-3,
        "epochs": 1,
        "batch_size": 8,
        "seed": 0,
    },
    "statistics": {"resamples": 200},
}

Write = Callable[..., Path]


@pytest.fixture
def lab_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MINDGAP_HOME (not made yet) and an empty MINDGAP_EXPERIMENTS beside it."""
    (tmp_path / "experiments").mkdir()
    monkeypatch.setenv("MINDGAP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINDGAP_EXPERIMENTS", str(tmp_path / "experiments"))
    for name in ("MINDGAP_DAGSTER_POSTGRES_URL", "MINDGAP_MLFLOW_POSTGRES_URL", "MINDGAP_K8S_GPUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in (
        "MINDGAP_LABELS",
        "MINDGAP_EXECUTOR",
        "MINDGAP_PROGRESS",
        "MINDGAP_LAUNCH_NEW",
        "MINDGAP_NOTIFY",
        "MINDGAP_NOTIFY_ON",
        "MINDGAP_DAGSTER",
        "MINDGAP_DAGSTER_FILES",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def write_experiment(lab_home: Path) -> Write:
    """Write ``NAME.yaml``: the tiny experiment with top-level fields replaced."""

    def write(name: str = "tiny", **changes: object) -> Path:
        path = lab_home.parent / "experiments" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**TINY, "name": name, **changes}))
        return path

    return write
