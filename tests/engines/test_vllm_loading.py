"""Loading vLLM: again and again in one process, what it leaves behind, and what it cannot load."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError, ModelError

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

REQUESTS = [SampleRequest("<s> 10 8 6 -> 12 :", tuple(range(16)))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two untrained models of head_dim 32, and one of head_dim 16."""
    root = tmp_path_factory.mktemp("models")
    for name, size, seed in (("one", "xs", 0), ("two", "xs", 1), ("narrow", "a", 0)):
        new_model(size, seed).save_pretrained(root / name)
        new_tokenizer().save_pretrained(root / name)
    return root


def load(folder, **settings):
    return VllmSettings(**{"dtype": "float32", "kv_cache_gib": 0.1, **settings}).load(folder)


def drawn(engine):
    settings = SamplingSettings(1.0, 1.0, 12)
    return {(i, j): item.text for group in engine.sample(REQUESTS, settings) for i, j, item in group}


def test_models_one_after_another_give_back_their_memory(folders):
    found, resident = {}, []
    for k in range(6):
        name = ("one", "two")[k % 2]
        engine = load(folders / name)
        found.setdefault(name, []).append(drawn(engine))
        engine.close()
        engine.close()  # twice is once
        resident.append(psutil.Process().memory_info().rss / 2**20)
    assert found["one"][0] == found["one"][1] == found["one"][2]
    assert found["two"][0] == found["two"][1] == found["two"][2]
    assert found["one"][0] != found["two"][0]
    assert resident[-1] - resident[1] < 40, resident  # MiB; one engine has 100 MiB of cache


def test_nothing_is_left_behind(folders):
    load(folders / "one").close()  # imports, with what they set once
    environment, set_num_threads, cores = dict(os.environ), torch.set_num_threads, os.sched_getaffinity(0)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    engine = load(folders / "one")
    try:
        assert psutil.Process().children(recursive=True) == []
        listening = [c for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert [c.laddr.ip for c in listening if c.laddr.ip not in ("127.0.0.1", "::1")] == []
        assert dict(os.environ) == environment
        assert torch.set_num_threads is set_num_threads
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
        assert os.sched_getaffinity(0) == cores
    finally:
        engine.close()


def test_a_second_engine_at_a_time_is_refused(folders):
    engine = load(folders / "one")
    try:
        with pytest.raises(EngineError, match="another model is loaded"):
            load(folders / "two")
        assert len(drawn(engine)) == 16
    finally:
        engine.close()


def test_a_model_that_vllm_cannot_run_is_refused_while_loading(folders):
    if torch.cuda.is_available():
        pytest.skip("this shape runs on a GPU")
    with pytest.raises(EngineError, match="head_dim=16") as caught:
        load(folders / "narrow")
    assert "engine transformers" in caught.value.remedy
    engine = load(folders / "one")  # nothing of it stands in the way of the next
    assert len(drawn(engine)) == 16
    engine.close()


@pytest.mark.parametrize("gib", [100_000, 1e-5])
def test_no_memory_for_the_cache_is_one_clear_error(folders, gib):
    with pytest.raises(EngineError, match="no memory for the model") as caught:
        load(folders / "one", kv_cache_gib=gib)
    assert caught.value.field == "engine.kv_cache_gib"


def test_settings_that_vllm_refuses_are_named(folders):
    with pytest.raises(EngineError, match="max_num_batched_tokens"):
        load(folders / "one", max_num_seqs=512, max_num_batched_tokens=100)


def test_a_folder_without_safetensors_is_refused(folders, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folders / "one" / name).read_bytes())
    with pytest.raises(ModelError, match="no safetensors"):
        load(tmp_path)


WORKERS = """
import os, signal, sys
from pathlib import Path
if __name__ == "__main__":
    import psutil
    from ops.engines.base import SampleRequest, SamplingSettings
    from ops.engines.vllm_settings import VllmSettings
    engine = VllmSettings(dtype="float32", kv_cache_gib=0.1, tensor_parallel_size=2).load(Path(sys.argv[1]))
    request = SampleRequest("<s> 10 8 6 -> 12 :", tuple(range(16)))
    found = [item for group in engine.sample([request], SamplingSettings(0.0, 1.0, 12)) for item in group]
    workers = [child.pid for child in psutil.Process().children(recursive=True)]
    print("samples", len(found), "workers", *workers, flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    engine.close()
    print("left", *[child.pid for child in psutil.Process().children(recursive=True)
                    if "resource_tracker" not in " ".join(child.cmdline())], flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "kill"])
def test_workers_of_tensor_parallelism_end_with_the_engine(folders, tmp_path, end):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    run = subprocess.run(
        [sys.executable, str(script), str(folders / "one"), end],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    said = dict(line.split(maxsplit=1) for line in run.stdout.splitlines() if line.startswith(("samples", "left ")))
    words = said["samples"].split()
    assert words[:2] == ["16", "workers"], run.stderr
    workers = [int(word) for word in words[2:]]
    assert len(workers) >= 2
    assert "left" not in said
    until = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.2)
    assert [pid for pid in workers if psutil.pid_exists(pid)] == []
