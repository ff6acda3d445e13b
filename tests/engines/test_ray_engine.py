"""The Ray engine: the samples of one engine from many, work for whoever has room, deaths, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.ray_drawing import Source
from ops.engines.ray_engine import RayEngine
from ops.engines.ray_group import Remote
from ops.engines.ray_settings import RaySettings
from ops.engines.ray_worker import Piece
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError
from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.base_model import obtain_base_model
from ops.stages.finetuning import finetune_model, register_model, select_finetune_data
from ops.stages.generations import SAMPLE_SCHEMA, grade_responses, sample_responses
from ops.stages.problems import make_problems
from ops.stages.scores import collect_scores
from ops.stages.verification import verify_responses
from tests.conftest import tiny_experiment

ray = pytest.importorskip("ray")
pytest.importorskip("vllm")  # the environment with both
pytestmark = [pytest.mark.vllm, pytest.mark.slow]

PROMPTS = ["<s> 10 8 6 -> 12 :", "<s> 3 4 5 -> 17 :", "<s> 1 2 :", "<s> 7 : 9 9 9 -> 3 + 5 :"]
SETTINGS = SamplingSettings(1.0, 1.0, 12, (".",))
REQUESTS = [SampleRequest(PROMPTS[i % 4], tuple(range(100 * i, 100 * i + 3 + i % 50))) for i in range(40)]


def settings(**changes) -> RaySettings:
    worker = {"name": "transformers", "device": "cpu", "batch_size": 16}
    fields = {"name": "ray", "workers": 2, "gpus_per_worker": 0, "worker": worker, "startup_timeout_seconds": 240}
    return RaySettings.model_validate({**fields, **changes})


def collect(engine, requests, wanted=SETTINGS):
    found = {}
    for group in engine.sample(iter(requests), wanted):
        for index, place, completion in group:
            assert (index, place) not in found
            found[index, place] = completion
    assert len(found) == sum(len(request.seeds) for request in requests)
    return found


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each on this machine."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client_port = free.getsockname()[1]
    head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": client_port}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.client_address = f"ray://127.0.0.1:{client_port}"
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def engine(cluster, tiny_model_folder) -> RayEngine:
    made = settings().load(tiny_model_folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def one(tiny_model_folder):
    return TransformersEngineSettings(device="cpu", batch_size=16).load(tiny_model_folder)


def test_the_workers_are_on_both_nodes_and_say_what_they_run(engine):
    import transformers

    assert len({node["NodeID"] for node in ray.nodes() if node["Alive"]}) == 2
    placed = {ray.get(worker.actor.__ray_call__.remote(_node_id)) for worker in engine._group.workers}
    assert len(placed) == 2
    assert engine.name == "ray"
    assert engine.version == f"{ray.__version__} transformers {transformers.__version__}"


def _node_id(_worker) -> str:
    return ray.get_runtime_context().get_node_id()


def test_the_samples_are_those_of_one_engine(engine, one):
    together, alone = collect(engine, REQUESTS), collect(one, REQUESTS)
    same = sum(together[key].text == alone[key].text for key in alone)
    assert same >= len(alone) * 0.998  # batches differ: rounding may move a draw over a boundary, very rarely
    close = [together[key].logprob == pytest.approx(alone[key].logprob, abs=1e-3) for key in alone]
    assert sum(close) >= same


def test_requests_are_read_as_workers_have_room(engine):
    read = 0

    def endless():
        nonlocal read
        while True:
            yield SampleRequest(PROMPTS[read % 4], (read,))
            read += 1

    drawing = engine.sample(endless(), SETTINGS)
    found = {key[:2] for _ in range(5) for key in next(drawing)}
    # Each of 2 workers: a round of 16 running, 4 ahead of it, and as much again in the parcels under way.
    assert len(found) <= read <= len(found) + 2 * (16 + 4 + 32 + 4)
    drawing.close()
    assert len(collect(engine, REQUESTS[:3])) == 3 + 4 + 5  # the workers are free again


def test_no_requests_no_samples(engine):
    assert list(engine.sample([], SETTINGS)) == []
    assert engine.choice_logprobs([], ["1"]).shape == (0, 1)
    assert engine.token_statistics([], []) == []


def test_choice_log_probabilities_and_token_statistics_come_in_order(engine, one):
    prompts = [f"<s> {i % 10} {i // 10} ->" for i in range(75)]
    assert np.allclose(engine.choice_logprobs(prompts, ["1", "2"]), one.choice_logprobs(prompts, ["1", "2"]), atol=1e-4)
    tails = [" ".join(["1"] * (1 + i % 4)) for i in range(75)]
    found, wanted = engine.token_statistics(prompts, tails), one.token_statistics(prompts, tails)
    assert [item.n_tokens for item in found] == [1 + i % 4 for i in range(75)]
    assert [item.logprob for item in found] == pytest.approx([item.logprob for item in wanted], abs=1e-4)
    assert engine.fits(prompts, 7) == one.fits(prompts, 7)
    assert engine.usage() == {}


def test_errors_of_the_worker_arrive_as_they_are(engine):
    with pytest.raises(EngineError, match="not fit"):
        list(engine.sample([SampleRequest(" ".join(["1"] * 400), (0,))], SETTINGS))
    with pytest.raises(EngineError, match="expected one"):
        engine.choice_logprobs(PROMPTS, ["no such word"])
    drawing = engine.sample(REQUESTS, SETTINGS)
    next(drawing)
    with pytest.raises(EngineError, match="while samples are being drawn"):
        engine.choice_logprobs(PROMPTS, ["1"])
    drawing.close()
    assert engine.choice_logprobs(PROMPTS, ["1"]).shape == (4, 1)


def test_a_slow_worker_does_not_hold_the_others(engine):
    """One worker waits half a second at each batch: the other takes nearly all of the work."""
    slow, fast = engine._group.workers
    ray.get(slow.actor.__ray_call__.remote(_slow_down, 0.5))
    ray.get(fast.actor.__ray_call__.remote(_slow_down, 0.0))
    requests = [SampleRequest(PROMPTS[i % 4], tuple(range(8))) for i in range(80)]
    assert len(collect(engine, requests)) == 640
    drawn = [ray.get(worker.actor.__ray_call__.remote(_drawn)) for worker in (slow, fast)]
    # A fifth at most: static halves would be 320 each.
    assert sum(drawn) == 640
    assert drawn[0] <= 128, drawn
    for worker in engine._group.workers:
        ray.get(worker.actor.__ray_call__.remote(_as_before))


def _slow_down(worker, seconds: float) -> None:
    plain, worker.drawn = worker._engine.sample, 0
    worker.plain = plain

    def sample(requests, wanted):
        for group in plain(requests, wanted):
            time.sleep(seconds)
            worker.drawn += len(group)
            yield group

    worker._engine.sample = sample


def _drawn(worker) -> int:
    return worker.drawn


def _as_before(worker) -> None:
    worker._engine.sample = worker.plain


@pytest.mark.parametrize("when", [1, 3])
def test_the_work_of_a_killed_worker_goes_to_the_others(cluster, one, tiny_model_folder, engine, when):
    engine.close()  # the cluster has two CPUs
    made = settings().load(tiny_model_folder)
    requests = [SampleRequest(PROMPTS[i % 4], tuple(range(100 * i, 100 * i + 40))) for i in range(20)]
    try:
        victim = made._group.workers[0]
        pid = int(victim.where.rsplit(" ", 1)[1])
        found = {}
        for number, group in enumerate(made.sample(iter(requests), SETTINGS), 1):
            if number == when:
                assert victim.owed
                os.kill(pid, signal.SIGKILL)
            for index, place, completion in group:
                assert (index, place) not in found
                found[index, place] = completion
        assert len(found) == 800
        assert len(made._group.workers) == 1
        assert victim not in made._group.workers
        alone = collect(one, requests)
        assert sum(found[key].text == alone[key].text for key in alone) >= 798
        # The last one dies while a list is asked for: nobody is left, and the error says so.
        os.kill(int(made._group.workers[0].where.rsplit(" ", 1)[1]), signal.SIGKILL)
        with pytest.raises(EngineError, match=r"worker 1 on node .* died, 0 workers are left"):
            made.choice_logprobs(PROMPTS * 10, ["1"])
        with pytest.raises(EngineError, match="no worker is left"):
            list(made.sample(requests, SETTINGS))
    finally:
        made.close()


def test_what_is_lost_is_given_back_once():
    # 70 seeds are cut into 32 + 32 + 6; the worker has finished two samples of the first piece.
    source = Source([SampleRequest("a", tuple(range(1000, 1070)))])
    pieces = source.take(70)
    assert [piece.places for piece in pieces] == [tuple(range(32)), tuple(range(32, 64)), tuple(range(64, 70))]
    assert source.take(1) == []
    assert source.empty
    owed = {(piece.index, place): piece for piece in pieces for place in piece.places}
    del owed[0, 0], owed[0, 5]
    source.give_back(Remote(None, "worker 3", owed), RuntimeError("gone"))
    assert not source.empty
    again = source.take(100)
    assert [len(piece.seeds) for piece in again] == [30, 32, 6]
    assert Counter(place for piece in again for place in piece.places) == Counter(set(range(70)) - {0, 5})
    assert all(seed == 1000 + place for piece in again for seed, place in zip(piece.seeds, piece.places, strict=True))
    twice = {(piece.index, place): piece for piece in again for place in piece.places}
    with pytest.raises(EngineError, match="worker 4 died with samples that another worker had died with before: gone"):
        source.give_back(Remote(None, "worker 4", twice), RuntimeError("gone"))


def test_a_piece_that_is_larger_than_the_room_still_goes():
    source = Source([SampleRequest("a", (1, 2, 3)), SampleRequest("b", (4,))])
    assert source.take(1) == [Piece(0, "a", (1, 2, 3), (0, 1, 2))]
    assert source.take(0) == []
    assert not source.empty


def test_a_worker_that_does_not_see_the_model_says_so(cluster, engine, tmp_path):
    engine.close()
    with pytest.raises(EngineError, match=r"worker \d on node .* does not see the checkpoint"):
        settings().load(tmp_path)


def test_too_many_workers_for_the_cluster(cluster, engine, tiny_model_folder):
    engine.close()
    with pytest.raises(EngineError, match="3 workers with 1 CPUs each, and there are 2"):
        settings(workers=3).load(tiny_model_folder)
    with pytest.raises(EngineError, match="2 workers with 1 GPUs each, and there are 0"):
        settings(gpus_per_worker=1).load(tiny_model_folder)
    with pytest.raises(EngineError, match=r"of 2 workers were not ready after 1 s; the cluster has 2 CPUs, 0 GPUs"):
        settings(startup_timeout_seconds=1).load(tiny_model_folder)


def test_two_vllm_workers(cluster, engine, tmp_path):
    from ops.builtin.model import new_model, new_tokenizer

    engine.close()
    folder = tmp_path / "xs"
    new_model("xs", 0).save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    worker = {"name": "vllm", "dtype": "float32", "kv_cache_gib": 0.25}
    made = settings(worker=worker).load(folder)
    try:
        together, choices = collect(made, REQUESTS), made.choice_logprobs(PROMPTS * 9, ["1", "2"])
        assert " vllm " in made.version
        assert made.usage()["prompt_tokens"] > 0
        with pytest.raises(EngineError, match="whole next-token distributions"):
            made.token_statistics(PROMPTS, PROMPTS)
        fits = made.fits(PROMPTS, 0)
    finally:
        made.close()
    alone = VllmSettings(dtype="float32", kv_cache_gib=0.25).load(folder)
    try:
        wanted = collect(alone, REQUESTS)
        assert np.allclose(choices, alone.choice_logprobs(PROMPTS * 9, ["1", "2"]), atol=1e-3)
        assert fits == alone.fits(PROMPTS, 0)
    finally:
        alone.close()
    assert sum(together[key].text == wanted[key].text for key in wanted) >= 0.98 * len(wanted)


VISITOR = """
import sys
from pathlib import Path
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.ray_settings import RaySettings

settings = RaySettings(name="ray", workers=2, gpus_per_worker=0, address=sys.argv[2])
engine = settings.load(Path(sys.argv[1]))
import ray
requests = (SampleRequest("<s> 1 2 :", (i, i + 1)) for i in range(500))
drawn = [key[:2] for group in engine.sample(requests, SamplingSettings(1.0, 1.0, 12)) for key in group]
print(len(drawn), len(set(drawn)), engine.choice_logprobs(["<s> 1 2 :"] * 9, ["1"]).shape)
engine.close()
print(ray.is_initialized())
"""


@pytest.mark.parametrize("by", ["address", "client_address"])
def test_a_cluster_that_is_there_already(cluster, engine, tiny_model_folder, by):
    """Joined as a node's driver, or from outside through Ray Client; it goes on when the engine is closed."""
    engine.close()
    command = [sys.executable, "-c", VISITOR, str(tiny_model_folder), getattr(cluster, by)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=250)
    assert done.stdout == "1000 1000 (9, 1)\nFalse\n", done.stderr
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU") != 2.0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2.0  # its workers are gone


LONELY = """
import sys, time
from pathlib import Path
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.ray_settings import RaySettings
engine = RaySettings.model_validate({"name": "ray", "workers": 1, "gpus_per_worker": 0}).load(Path(sys.argv[1]))
drawing = engine.sample((SampleRequest("<s> 1 2 :", (i,)) for i in range(10**9)), SamplingSettings(1.0, 1.0, 12))
next(drawing)
print("drawing", flush=True)
if sys.argv[2] == "close":
    engine.close()
    print("closed", flush=True)
sys.stdin.read()
"""


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [item for item in process.children(recursive=True) if item.status() != psutil.STATUS_ZOMBIE]


def _alive(processes) -> list[psutil.Process]:
    return [item for item in processes if item.is_running() and item.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("end", ["close", "kill"])
def test_nothing_is_left_behind(tiny_model_folder, end):
    """A Ray of the lab's own ends with close(), and soon after a kill -9 of the lab in mid-sampling; its files too."""
    folder = Path(tempfile.mkdtemp(prefix="mg-", dir="/tmp"))  # short: the sockets of Ray are in it
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", LONELY, str(tiny_model_folder), end]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stdout.readline() == "drawing\n"
        family = _family(psutil.Process(child.pid))
        if end == "kill":
            names = " ".join(" ".join(item.cmdline()) for item in family)
            assert "raylet" in names
            assert "gcs_server" in names
            assert not [address for item in family for address in _open_to_all(item)]
            child.kill()
        else:
            assert child.stdout.readline() == "closed\n"
        deadline = time.monotonic() + 20
        while (_alive(family) or list(folder.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert _alive(family) == []
        assert list(folder.iterdir()) == []
    finally:
        child.kill()
        child.communicate()
        shutil.rmtree(folder)


def _open_to_all(process: psutil.Process) -> list[str]:
    """Addresses other than loopback that a process listens on."""
    found = [item.laddr.ip for item in process.net_connections(kind="tcp") if item.status == psutil.CONN_LISTEN]
    return [address for address in found if address not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")]


def test_a_run_of_the_lab(cluster, engine, tmp_path: Path):
    """Sample, verify and train once, and sample and verify with what was trained; then the same with one engine."""
    engine.close()
    frames = []
    for changes in ({"engine": settings().model_dump()}, {}):
        lab = Lab.open(tiny_experiment(**changes), home=tmp_path / f"home-{len(frames)}", run_id="test")
        try:
            make_problems(lab)
            obtain_base_model(lab)
            for iteration in (0, 1):
                sample_responses(lab, iteration)
                grade_responses(lab, iteration)
                verify_responses(lab, iteration)
                collect_scores(lab, iteration)
                if iteration == 0:
                    select_finetune_data(lab, iteration)
                    finetune_model(lab, iteration)
                    register_model(lab, iteration)
            names = [asset_name(asset, 1) for asset in ("generations", "verification_scores")]
            frames.append([lab.store.read(name.split("/")[-1], lab.plan.fingerprints[name]) for name in names])
            samples = lab.store.pool("samples", lab.plan.sample_pools[1], SAMPLE_SCHEMA).read()
        finally:
            lab.close()
        if len(frames) == 1:
            assert set(samples["engine"]) == {"ray"}
            assert all(" transformers " in version for version in samples["engine_version"])
    (drawn, scored), (drawn_alone, scored_alone) = frames
    assert drawn.height == 6 * 4 + 8 * 8
    assert scored.height == scored_alone.height == 2 * drawn.height
    same = (drawn["response"] == drawn_alone["response"]).sum()
    assert same >= 0.95 * drawn.height  # an iteration later: the trained weights are those of nearly the same samples
