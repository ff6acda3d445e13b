"""The OpenAI-compatible engine against a real vLLM server on loopback, compared with the transformers engine."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import psutil
import pytest

pytest.importorskip("vllm")
pytest.importorskip("openai")

from ops.builtin.model import new_model, new_tokenizer
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.openai_settings import OpenaiSettings
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.errors import EngineError

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

KEY = "sk-secret-0123456789"
PROMPTS = ["<s> 10 8 6 -> 12 :", "<s> 3 4 5 -> 17 :", "<s> 1 2 :", "<s> 7 : 9 9 9 -> 3 + 5 :"]
SAMPLED = SamplingSettings(1.0, 1.0, 12)


def die_with_parent():
    """SIGTERM when the parent is gone, however it went: vLLM then ends its own children."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained model of head size 32, with weights large enough that its next tokens differ."""
    import torch

    folder = tmp_path_factory.mktemp("model") / "xs"
    made = new_model("xs", 0)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() > 1:
                weight.mul_(8)
    made.save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    """The address of a vLLM server, and its process; nothing of it is left afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(model), "--served-model-name", "tiny", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-num-seqs", "64", "--disable-uvicorn-access-log"]
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_API_KEY": KEY,
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True, preexec_fn=die_with_parent
        )
    children = []
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        children = psutil.Process(process.pid).children(recursive=True)
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        _, left = psutil.wait_procs(children, timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for child in left:
            child.kill()
        process.wait(10)
    assert not left


def wait_for(address, process, log, seconds=300):
    for _ in range(seconds):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        assert process.poll() is None, log.read_text()[-4000:]
        time.sleep(1)
    raise AssertionError(f"no server after {seconds} s: {log.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def engine(server, model):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        engine = OpenaiSettings(base_url=server[0], concurrency=32, max_retries=4).load(model)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(model):
    return TransformersEngineSettings(device="cpu").load(model)


def collect(engine, requests, settings):
    found = {}
    for group in engine.sample(requests, settings):
        for index, place, completion in group:
            assert (index, place) not in found
            found[index, place] = completion
    return found


def test_what_is_known_of_the_server(engine, model):
    import vllm

    assert (engine.name, engine.version) == ("openai", f"vllm {vllm.__version__}")
    assert engine.served.model == "tiny" and engine.served.root == str(model)
    assert engine.fits([PROMPTS[0]])[0].context == 256


def test_the_wrong_key_and_the_wrong_checkpoint(server, model, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "0")
    with pytest.raises(EngineError, match=r"(?s)HTTP 401.*OPENAI_API_KEY") as caught:
        OpenaiSettings(base_url=server[0]).load(model)
    assert KEY not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(EngineError, match=f"serves 'tiny' from '{model}'"):
        OpenaiSettings(base_url=server[0]).load(tmp_path)


@pytest.mark.parametrize("stop", [(), (".",), ("38 22",)])
def test_greedy_agrees_with_transformers(engine, reference, stop):
    settings = SamplingSettings(0.0, 1.0, 12, stop)
    requests = [SampleRequest(prompt, (0,)) for prompt in PROMPTS]
    found, expected = collect(engine, requests, settings), collect(reference, requests, settings)
    assert len({one.text for one in expected.values()}) > 1
    for key, one in expected.items():
        got = found[key]
        assert (got.text, got.n_tokens, got.finish_reason) == (one.text, one.n_tokens, one.finish_reason)
        assert got.logprob == pytest.approx(one.logprob, abs=1e-3)


def test_seeds_draw_the_same_again_whatever_else_runs(engine):
    requests = [SampleRequest(prompt, tuple(range(100 * i, 100 * i + 40))) for i, prompt in enumerate(PROMPTS)]
    together = collect(engine, requests, SAMPLED)
    again = collect(engine, [SampleRequest(PROMPTS[1], (103,)), *requests], SAMPLED)
    same = sum(one.text == again[index + 1, place].text for (index, place), one in together.items())
    assert same >= len(together) - 1  # rounding may move a draw over a boundary, very rarely
    assert again[0, 0].text == together[1, 3].text
    assert len({one.text for one in together.values()}) > 100


def test_counts_and_log_probabilities_are_those_of_the_model(engine, reference):
    """Teacher forcing of every sampled text, its end of sequence written out, gives the same sum."""
    settings = SamplingSettings(0.8, 0.9, 12)  # the sum is of temperature 1 and the whole distribution all the same
    found = collect(engine, [SampleRequest(prompt, tuple(range(30))) for prompt in PROMPTS], settings)
    prompts = [PROMPTS[index] for index, _ in found]
    texts = [f"{one.text} </s>" if one.finish_reason == "stop" else one.text for one in found.values()]
    compared = 0
    for one, expected in zip(found.values(), reference.token_statistics(prompts, texts), strict=True):
        if expected.n_tokens == one.n_tokens:  # no special token within, which the text leaves out
            assert one.logprob == pytest.approx(expected.logprob, abs=1e-3)
            compared += 1
    assert compared > 0.8 * len(found)


def test_choices_agree_with_transformers(engine, reference):
    words = ["yes", "no", "+"]
    found = engine.choice_logprobs(PROMPTS * 2, words)
    assert np.abs(found - reference.choice_logprobs(PROMPTS * 2, words)).max() < 1e-3
    assert engine.usage()["choices_missing"] == 0


def test_a_closed_stream_leaves_nothing_on_the_server(engine, server):
    long = SamplingSettings(1.0, 1.0, 240)
    stream = engine.sample((SampleRequest("<s> 1 2 :", tuple(range(64))) for _ in range(1000)), long)
    next(stream)
    stream.close()
    address = server[0].removesuffix("/v1") + "/metrics"
    for _ in range(40):
        lines = urllib.request.urlopen(address).read().decode().splitlines()
        running = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("vllm:num_requests_running{")]
        assert running
        if not sum(running):
            break
        time.sleep(0.25)
    assert sum(running) == 0


def test_a_server_that_dies_is_an_error(engine, server):
    long = SamplingSettings(1.0, 1.0, 240)
    stream = engine.sample((SampleRequest("<s> 1 2 :", tuple(range(64))) for _ in range(1000)), long)
    next(stream)
    server[1].terminate()
    with pytest.raises(EngineError, match=server[0]):
        for _ in stream:
            pass
