"""A stage that trains, in a process of its own that tests kill: ``python killed_training.py STAGE HOME FILE``.

STAGE is ``finetuning`` or ``policy``, FILE holds the experiment as JSON. It prints every step that is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ops.config import Experiment
from ops.lab import Lab
from ops.stages.finetuning import finetune_model
from ops.stages.policy import train_policy
from ops.training import saves

STAGES = {
    # steps between two checkpoints, seconds of sleep in a step, the stage
    "finetuning": (7, 0.01, lambda lab: finetune_model(lab, 0)),
    "policy": (5, 0.02, train_policy),
}


def start(stage: str, home: Path, file: Path) -> subprocess.Popen:
    """The stage in a process of its own, whose lines can be read."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, stage, home, file]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def steps_of(process: subprocess.Popen) -> list[int]:
    """The steps that a process still prints until it ends, as it should."""
    lines = [int(line) for line in process.communicate(timeout=200)[0].splitlines()]
    assert process.returncode == 0
    return lines


def main(stage: str, home: str, file: str) -> None:
    saves.SAVE_STEPS, seconds, run = STAGES[stage]

    def progress(what, done, total, numbers):
        print(done, flush=True)
        time.sleep(seconds)  # so that the kill falls between two steps that are not the last ones

    lab = Lab.open(Experiment.model_validate_json(Path(file).read_text()), home=Path(home), progress=progress)
    run(lab)
    lab.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
