"""The layers hold, and reading a configuration is light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "mlflow", "vllm", "dagster", "matplotlib")


def test_import_contracts():
    """orchestration -> assets -> ops, and dagster in ops.gpu_ops only (pyproject.toml).

    In a process of its own: the linter silences all loggers that exist when it starts.
    """
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "module",
    ["ops.config", "ops.plan", "ops.tasks", "ops.verifiers", "ops.selection", "ops.storage.store", "ops.reporting"],
)
def test_reading_a_configuration_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == []
