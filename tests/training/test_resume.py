"""kill -9 in mid-training: the resumed run ends with the same weights, to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

PROGRAM = Path(__file__).with_name("killed.py")
SAVED_EVERY = 7


def start(method: str, work: Path, out: Path) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PROGRAM), method, str(work), str(out), str(SAVED_EVERY)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill_at(method: str, work: Path, out: Path, step: int) -> None:
    """SIGKILL as soon as the process says that it has done ``step``."""
    process = start(method, work, out)
    for line in process.stdout:
        if int(line) >= step:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL and not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "lora", "dpo", "stopped"])
def test_killed_and_resumed_to_the_bit(tmp_path, method):
    whole = start(method, tmp_path / "whole", tmp_path / "whole.safetensors")
    lines = [int(line) for line in whole.communicate(timeout=200)[0].splitlines()]
    assert whole.returncode == 0 and lines == list(range(1, len(lines) + 1)) and len(lines) > 3 * SAVED_EVERY
    expected = load_file(tmp_path / "whole.safetensors")
    work, out = tmp_path / "cut", tmp_path / "cut.safetensors"
    first = random.randint(SAVED_EVERY + 1, 2 * SAVED_EVERY)  # any step will do: not drawn from a seed
    second = random.randint(2 * SAVED_EVERY + 1, len(lines) - 3)
    for step in (first, second):
        kill_at(method, work, out, step)
        assert [path.name for path in work.glob("step-*")], "there was a checkpoint to resume from"
    resumed = start(method, work, out)
    again = [int(line) for line in resumed.communicate(timeout=200)[0].splitlines()]
    assert resumed.returncode == 0 and again[0] > SAVED_EVERY and again[-1] == len(lines)
    found = load_file(out)
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name].nan_to_num(-1.0), expected[name].nan_to_num(-1.0)), (name, first, second)
