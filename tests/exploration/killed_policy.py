"""The training of a policy in a process of its own, for ``test_policy_resume``: ``python killed_policy.py HOME FILE``.

FILE holds the experiment as JSON. It prints every step that is done.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ops.config import Experiment
from ops.lab import Lab
from ops.stages.policy import train_policy
from ops.training import saves


def main(home: str, file: str) -> None:
    saves.SAVE_STEPS = 5

    def progress(what, done, total, numbers):
        print(done, flush=True)
        time.sleep(0.02)  # so that the kill falls between two steps that are not the last ones

    lab = Lab.open(Experiment.model_validate_json(Path(file).read_text()), home=Path(home), progress=progress)
    train_policy(lab)
    lab.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
