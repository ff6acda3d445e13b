"""The layers hold, and reading a configuration is light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "mlflow", "vllm", "dagster", "matplotlib")


def test_import_contracts(monkeypatch):
    """orchestration -> assets -> ops, and dagster in ops.gpu_ops only (pyproject.toml)."""
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    monkeypatch.chdir(ROOT)
    assert lint_imports(cache_dir=None, is_debug_mode=False, show_timings=False) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize(
    "module",
    ["ops.config", "ops.plan", "ops.tasks", "ops.verifiers", "ops.selection", "ops.storage.store", "ops.reporting"],
)
def test_reading_a_configuration_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == []
