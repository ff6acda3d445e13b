"""kill -9 at random moments of a stage that samples through vLLM: nothing lost, nothing doubled, nobody left behind."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import polars as pl
import psutil
import pytest

from ops.lab import Lab
from ops.stages.base_model import obtain_base_model
from ops.stages.generations import grade_responses
from ops.stages.problems import make_problems
from tests.conftest import sample_pool, tiny_experiment

pytest.importorskip("vllm")

PROJECT = Path(__file__).resolve().parent.parent
MARK = "MINDGAP_TEST_MARK"
CHUNK, KILLS, SAMPLES = 1024, 10, 40 * 512
IN_FLIGHT = 64
"""The log counts a group before it is added to the chunk; a group is at most what is in flight."""
MOST_BEFORE_A_KILL = SAMPLES // 12
"""Responses: so many times ``KILLS`` are fewer than all, however fast the machine is."""

EXPERIMENT = tiny_experiment(
    model={"kind": "builtin", "recipe": "countdown", "size": "xs", "steps": 12, "batch_size": 16, "seed": 0},
    problems={"train_per_iteration": 1, "eval": 40},
    sampling={"n_train": 1, "n_eval": 512, "max_tokens": 20},
    verifiers=[{"name": "majority"}],
    iterations=0,
    engine={"name": "vllm", "dtype": "float32", "kv_cache_gib": 1.0, "max_num_seqs": IN_FLIGHT},
)

SCRIPT = textwrap.dedent(f"""
    import sys, time
    from pathlib import Path
    import ops.stages.chunks as chunks
    chunks.CHUNK_ROWS = {CHUNK}
    from ops.config import Experiment
    from ops.engines.vllm_engine import VllmEngine
    from ops.lab import Lab
    from ops.stages.generations import sample_responses

    sample, log = VllmEngine.sample, open(sys.argv[2], "a")

    def logged(self, requests, settings):
        for group in sample(self, requests, settings):
            log.write(f"{{len(group)}} {{time.time()}}\\n")
            log.flush()
            yield group

    if __name__ == "__main__":
        VllmEngine.sample = logged
        lab = Lab.open(Experiment.model_validate_json(Path(sys.argv[3]).read_text()), home=Path(sys.argv[1]))
        print(sample_responses(lab, 0))
        lab.close()
""")


def _marked(mark: str) -> list[psutil.Process]:
    """Processes that inherited the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _drawn(log: Path) -> tuple[int, float]:
    """How many responses the engine finished, and when the last one came."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    lines = [line for line in lines if len(line) == 2]
    return sum(int(count) for count, _ in lines), float(lines[-1][1]) if lines else 0.0


def _wait(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def _wait_for_responses(process: subprocess.Popen, log: Path, wanted: int, seconds: float) -> None:
    """Until the process has drawn so many, has ended, or the time is over."""
    end = time.monotonic() + seconds
    while process.poll() is None and _drawn(log)[0] < wanted and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_ten_times_nothing_is_lost_or_doubled_and_nobody_stays_behind(tmp_path):
    home, mark = tmp_path / "home", f"kill-{os.getpid()}"
    lab = Lab.open(EXPERIMENT, home=home, run_id="t")
    make_problems(lab)
    obtain_base_model(lab)
    lab.close()
    script, config = tmp_path / "sample.py", tmp_path / "experiment.json"
    script.write_text(SCRIPT)
    config.write_text(EXPERIMENT.model_dump_json())
    environment = {**os.environ, MARK: mark, "PYTHONPATH": str(PROJECT)}
    pool = sample_pool(lab, 0)
    rng, committed, repeated = random.Random(os.environ.get("MINDGAP_KILL_SEED", "4")), 0, []

    def start(number):
        log = tmp_path / f"{number}.log"
        output = (tmp_path / f"{number}.out").open("w")
        command = [sys.executable, str(script), str(home), str(log), str(config)]
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True), log

    for number in range(KILLS):
        process, log = start(number)
        if number % 5:  # in sampling, after so many responses of this run
            _wait_for_responses(process, log, rng.randint(1, MOST_BEFORE_A_KILL), 300)
            assert _drawn(log)[0] > 0, "no response came"
        else:  # every fifth time at any moment of the start, at the latest when the first response is there
            _wait_for_responses(process, log, 1, rng.uniform(1.0, 8.0))
        assert process.poll() is None, (tmp_path / f"{number}.out").read_text()[-3000:]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _wait(lambda: not _marked(mark), 10, f"left behind: {_marked(mark)}")
        now = len(pool.keys())
        repeated.append(_drawn(log)[0] - (now - committed))
        committed = now
    assert 0 < committed < SAMPLES
    assert all(0 <= count <= CHUNK + IN_FLIGHT for count in repeated), repeated

    process, log = start("last")
    assert process.wait(600) == 0, (tmp_path / "last.out").read_text()[-3000:]
    ended = time.time()
    n_last, last_response = _drawn(log)
    assert ended - last_response < 10, "the step ends soon after its last response"
    _wait(lambda: not _marked(mark), 1, "left behind after a clean end")
    assert n_last == SAMPLES + 1 - committed, "only what was missing is drawn"
    rows = pl.concat([pl.read_parquet(path, columns=["response_id"]) for path in pool.chunks()])
    assert rows.height == rows["response_id"].n_unique() == SAMPLES + 1
    grade_responses(lab, 0)
    table = lab.store.read("generations", lab.plan.fingerprints["iteration_0/generations"])
    assert table.height == table["response_id"].n_unique() == SAMPLES + 1
    assert set(table["engine"]) == {"vllm"}
    print(f"repeated after each kill: {repeated}; exit {ended - last_response:.1f} s after the last response")
