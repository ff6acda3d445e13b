"""A tiny experiment with exploration, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ops.config import Experiment
from ops.lab import Lab
from ops.stages.base_model import obtain_base_model
from ops.stages.problems import make_problems

MODEL = {"kind": "builtin", "recipe": "arithmetic", "size": "a", "steps": 12, "batch_size": 16, "seed": 0}


def tiny_exploration(name: str = "tiny", **changes: Any) -> Experiment:
    """Twelve steps of 4 problems x 4 responses; the mapping ``exploration`` is merged, other changes replace."""
    exploration = {
        "steps": 12,
        "problems_per_step": 4,
        "responses_per_problem": 4,
        "learning_rate": 3e-3,
        "snapshots": 3,
        "bonus": {"name": "none"},
        **changes.pop("exploration", {}),
    }
    fields = {
        "name": name,
        "hypothesis": "A tiny policy is trained through every stage.",
        "model": MODEL,
        "task": {"name": "arithmetic", "min_steps": 2, "max_steps": 2, "max_number": 9},
        "problems": {"train_per_iteration": 10, "eval": 6},
        "sampling": {"n_eval": 8, "max_tokens": 20},
        "statistics": {"resamples": 200},
        "exploration": exploration,
    }
    return Experiment.model_validate({**fields, **changes})


def with_base_model(experiment: Experiment, home: Path) -> Lab:
    """A lab with the experiment's problems and its base model."""
    lab = Lab.open(experiment, home=home)
    make_problems(lab)
    obtain_base_model(lab)
    return lab
