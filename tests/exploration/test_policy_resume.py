"""kill -9 in the training of a policy: it goes on with the same counts and ends with the same weights and responses."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from pathlib import Path

import polars as pl
import pytest

from ops.lab import Lab
from ops.stages.policy import train_policy
from tests.exploration.tiny import tiny_exploration, with_base_model
from tests.killed_training import start, steps_of

STEPS = 32
TRAININGS = {
    # counts decide the bonus, and so everything behind them
    "ucb": {"bonus": {"name": "ucb", "coefficient": 0.5, "unparseable": "one"}},
    # several optimiser steps on a step's responses, the base model beside it, a schedule
    "batch": {
        "bonus": {"name": "batch", "coefficient": 0.3},
        "kl_coefficient": 0.05,
        "mini_batches": 2,
        "passes": 2,
        "schedule": "cosine",
        "loss": "dapo",
    },
}


def counts_at(home: Path, lab: Lab, step: int) -> object:
    """What the checkpoint after ``step`` steps counted, made of the responses that the home has kept."""
    state = home / "work" / "exploration" / lab.plan.policies[STEPS] / f"step-{step:08d}" / "state.json"
    return json.loads(state.read_text())["extra"]["counts"]


@pytest.mark.slow
@pytest.mark.parametrize("arm", sorted(TRAININGS))
def test_a_killed_training_goes_on_with_the_same_counts(tmp_path, arm):
    experiment = tiny_exploration(exploration={"steps": STEPS, "snapshots": 2, **TRAININGS[arm]})
    file = tmp_path / "experiment.json"
    file.write_text(experiment.model_dump_json())
    with_model = with_base_model(experiment, tmp_path / "whole")
    with_model.close()
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    model, work = f"models/{with_model.plan.policies[STEPS]}", f"work/exploration/{with_model.plan.policies[STEPS]}"

    counted: dict[str, dict[int, object]] = {"whole": {}, "cut": {}}

    def follow(home: str, until: int | None) -> subprocess.Popen:
        """Read the program's lines, noting what every checkpoint has counted; stop at a step where one is given."""
        process = start("policy", tmp_path / home, file)
        for line in process.stdout:
            for path in (tmp_path / home / work).glob("step-*/state.json"):
                step = int(path.parent.name.removeprefix("step-"))
                if step not in counted[home]:
                    try:
                        counted[home][step] = counts_at(tmp_path / home, with_model, step)
                    except FileNotFoundError:
                        continue  # the next checkpoint has just taken its place
            if until is not None and int(line) >= until and any((tmp_path / home / work).glob("step-*")):
                break
        return process

    assert steps_of(follow("whole", None)) == []
    for least, most in ((6, 14), (18, STEPS - 4)):
        process = follow("cut", random.randint(least, most))  # any step will do: not drawn from a seed
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "cut" / model).exists()
    resumed = follow("cut", None)
    resumed.wait()
    assert resumed.returncode == 0
    both = sorted(set(counted["whole"]) & set(counted["cut"]))
    assert both, "checkpoints of both runs were seen"
    assert all(counted["whole"][step] == counted["cut"][step] for step in both)

    for step, fingerprint in with_model.plan.policies.items():
        if step > 0:
            paths = [tmp_path / home / "models" / fingerprint for home in ("whole", "cut")]
            files = ("model.safetensors", "config.json")
            assert all((paths[0] / name).read_bytes() == (paths[1] / name).read_bytes() for name in files), step
    whole, cut = (tmp_path / home / model for home in ("whole", "cut"))
    rollouts = [pl.read_parquet(path / "rollouts.parquet") for path in (whole, cut)]
    assert rollouts[0].equals(rollouts[1]) and rollouts[0].height == STEPS * 16
    rows = [json.loads((path / "policy_steps.json").read_text()) for path in (whole, cut)]
    untimed = [[{**row, "seconds": 0} for row in found] for found in rows]
    assert untimed[0] == untimed[1]
    assert not (tmp_path / "cut" / work).exists()
    again = Lab.open(experiment, home=tmp_path / "cut")
    assert train_policy(again) == {"reused": True}
    again.close()
