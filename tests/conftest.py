"""Fixtures that more than one test folder needs: a tiny model made here, and a lab in a temporary home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny: waiting threads would cost more than they help

from ops.config import Experiment
from ops.lab import Lab

SLOW_SECONDS = 1200
"""A slow test starts processes that start others; on a busy machine each may take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests without a limit of their own get a longer one than everyday tests."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def tiny_experiment(name: str = "tiny", **changes) -> Experiment:
    """A complete experiment that runs in seconds: the smallest model, hardly trained."""
    fields = {
        "name": name,
        "hypothesis": "A tiny experiment runs through every stage.",
        "model": {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16, "seed": 0},
        "task": {"name": "countdown"},
        "problems": {"train_per_iteration": 6, "eval": 8},
        "sampling": {"n_train": 4, "n_eval": 8, "max_tokens": 16},
        "verifiers": [{"name": "binary_cot", "max_tokens": 24}, {"name": "logit"}],
        "filter": {"name": "none"},
        "iterations": 1,
        "training": {"name": "sft", "epochs": 1, "batch_size": 8, "replay_fraction": 0.5},
        "statistics": {"resamples": 200},
    }
    return Experiment.model_validate({**fields, **changes})


def sample_pool(lab: Lab, iteration: int, split: str = "eval"):
    """The pool of single samples that an iteration draws a split's responses from."""
    from ops.stages.chosen import source_of
    from ops.stages.drawing import source_pool

    return source_pool(lab, source_of(lab, iteration, split))


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with an untrained model of the smallest built-in size."""
    from ops.builtin.model import new_model, new_tokenizer

    folder = tmp_path_factory.mktemp("model") / "tiny"
    new_model("a", 0).save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab with ``tiny_experiment`` in an empty home."""
    lab = Lab.open(tiny_experiment(), home=tmp_path / "home", run_id="test")
    yield lab
    lab.close()
