"""The tuning of judges in a process of its own that tests kill: ``python killed_tuning.py tuning HOME FILE``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ops.stages.tuned_judgements import tune_judges
from tests.killed_training import STAGES, main


def start(home: Path, file: Path) -> subprocess.Popen:
    """The stage in a process of its own, whose lines can be read."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "tuning", home, file]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


if __name__ == "__main__":
    STAGES["tuning"] = (7, 0.01, tune_judges)  # a checkpoint every 7 steps
    main(*sys.argv[1:])
