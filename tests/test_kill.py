"""kill -9 of everything in mid-sampling and in mid-training: recover, run again, nothing lost, doubled or stuck."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from ops.experiment_files import load_experiment
from ops.lab import Lab
from ops.plan import make_plan
from ops.stages.finetuning import finetune_model
from ops.storage.query import query

PROJECT = Path(__file__).resolve().parent.parent
EXPERIMENT = yaml.safe_load(
    """
name: killed
hypothesis: A run that was killed resumes at its last chunk.
model: {kind: builtin, recipe: countdown, size: a, steps: 20, batch_size: 16}
task: {name: countdown}
problems: {train_per_iteration: 40, eval: 150}
sampling: {n_train: 16, n_eval: 64, max_tokens: 20}
verifiers: [{name: logit}]
filter: {name: none}
iterations: 1
training: {name: sft, epochs: 12, batch_size: 32}
engine: {name: transformers, batch_size: 256, threads: 1}
statistics: {resamples: 200}
"""
)


def _start(home: Path, folder: Path, *command: str) -> subprocess.Popen:
    environment = {**os.environ, "MINDGAP_HOME": str(home), "MINDGAP_EXPERIMENTS": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", *command],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _finish(home: Path, folder: Path, *command: str) -> str:
    process = _start(home, folder, *command)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def _kill_when(process: subprocess.Popen, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not ready():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the moment to kill never came"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _files(home: Path, pattern: str) -> list[Path]:
    return [path for path in home.glob(pattern) if not path.name.startswith(".")]


@pytest.mark.slow
def test_killed_in_sampling_and_in_training(tmp_path, monkeypatch):
    folder, home = tmp_path / "experiments", tmp_path / "home"
    folder.mkdir()
    (folder / "killed.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    monkeypatch.setenv("MINDGAP_HOME", str(home))
    monkeypatch.setenv("MINDGAP_EXPERIMENTS", str(folder))
    plan = make_plan(load_experiment(folder / "killed.yaml"))

    _kill_when(
        _start(home, folder, "run", "killed"),
        lambda: bool(_files(home, f"pools/samples/{plan.sample_pools[0]}/*.parquet")),
    )
    chunks = _files(home, f"pools/samples/{plan.sample_pools[0]}/*.parquet")
    kept = pl.concat([pl.read_parquet(path) for path in chunks])
    assert 0 < kept.height < 40 * 16 + 150 * 64
    assert not (home / "tables" / "generations" / plan.fingerprints["iteration_0/generations"]).exists()
    assert "marked failed" in _finish(home, folder, "recover")
    assert _stuck() == []

    _kill_when(_start(home, folder, "run", "killed"), lambda: bool(_files(home, "work/finetuning/*/step-*")))
    assert not _files(home, f"models/{plan.models[1]}")
    assert "marked failed" in _finish(home, folder, "recover")
    assert _stuck() == []

    output = _finish(home, folder, "run", "killed")
    assert "killed: done" in output
    assert _stuck() == []
    rows = query(
        home,
        "SELECT iteration, count(*) AS n, count(DISTINCT response_id) AS ids FROM generations GROUP BY 1 ORDER BY 1",
    )
    assert rows.rows() == [(0, 10240, 10240), (1, 10240, 10240)]
    after = query(home, "SELECT response_id, response, seed FROM generations WHERE iteration = 0")
    joined = kept.join(after, on="response_id", suffix="_after")
    assert joined.height == kept.height  # what was committed before the kill is what is there now
    assert (joined["response"] == joined["response_after"]).all()
    assert (home / "pools" / "samples" / plan.sample_pools[0] / chunks[0].name).exists()
    steps = query(home, "SELECT optimizer_steps FROM models WHERE generates_iteration = 1")["optimizer_steps"].to_list()
    examples = query(home, "SELECT count(*) AS n FROM finetune_data")["n"][0]
    assert steps == [math.ceil(12 * examples / 32)]
    assert steps[0] > 50  # the killed training had left a checkpoint to resume from
    assert not list(home.rglob("*.mindgap-tmp"))
    assert not _files(home, "work/*/*")
    _check_uninterrupted_training(home, tmp_path / "uninterrupted", folder)


def _check_uninterrupted_training(home: Path, other: Path, folder: Path) -> None:
    """In a home with the same responses, training that nobody kills writes the same file of weights, to the bit."""
    shutil.copytree(home, other)
    lab = Lab.open(load_experiment(folder / "killed.yaml"), home=other)
    name = f"models/{lab.plan.models[1]}/model.safetensors"
    shutil.rmtree((other / name).parent)
    assert finetune_model(lab, 0)["reused"] is False
    lab.close()
    assert (home / name).read_bytes() == (other / name).read_bytes()


def _stuck() -> list[str]:
    """Runs that look alive, slots of the pool ``gpu`` that are taken, MLflow runs that still run."""
    from orchestration.instance import open_instance, prepare_environment

    prepare_environment()
    with open_instance() as instance:
        alive = [run.run_id for run in instance.get_runs() if not run.is_finished]
        info = instance.event_log_storage.get_concurrency_info("gpu")
        return alive + [f"slot: {slot}" for slot in info.claimed_slots] + _running_in_mlflow()


def _running_in_mlflow() -> list[str]:
    """MLflow runs that still say RUNNING, read from its database."""
    import sqlite3

    path = Path(os.environ["MINDGAP_HOME"]) / "mlflow" / "mlflow.db"
    if not path.is_file():
        return []
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT run_uuid FROM runs WHERE status = 'RUNNING'").fetchall()
    return [f"mlflow: {run}" for (run,) in rows]
