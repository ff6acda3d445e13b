"""``mindgap run tiny`` whose pretraining never ends: started by test_recover and killed there. Not a test itself."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import ops.stages.base_model


def never_ends(lab):
    """Say that the pool's slot is held, then hang like a GPU step."""
    Path(sys.argv[1]).touch()
    while True:
        time.sleep(0.1)


if __name__ == "__main__":
    ops.stages.base_model.obtain_base_model = never_ends
    from orchestration.cli_run import run_experiments

    sys.exit(run_experiments(["tiny"], every=False, verbose=False))
