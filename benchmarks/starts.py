"""Cold and warm starts: how long a model takes to be ready, and how often an iteration pays for it.

    python benchmarks/starts.py CHECKPOINT [--engines transformers,vllm,vllm_server] [--rounds 3]

Cold: a new process imports, loads the checkpoint and draws one token. ``again``: the same lab asks once more for the
engine of the same model, as verification does after sampling. ``next_process`` (``vllm_server``): cold once more, in a
second process that finds the server which the first one left. Then one iteration of a small experiment (two verifiers
that ask the model) is run through the stages, and its loads are counted. Prints one JSON line for each engine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

SETTINGS: dict[str, dict[str, object]] = {
    "transformers": {},
    "vllm": {"dtype": "float32"},
    "vllm_server": {"dtype": "float32"},
}

EXPERIMENT = {
    "name": "starts",
    "hypothesis": "An iteration loads its model once.",
    "task": {"name": "countdown"},
    "problems": {"train_per_iteration": 4, "eval": 16},
    "sampling": {"n_train": 2, "n_eval": 8, "max_tokens": 24},
    "verifiers": [{"name": "logit"}, {"name": "binary_cot"}],
    "iterations": 0,
    "statistics": {"resamples": 200},
}


def child(name: str, checkpoint: str, count: bool, release: bool) -> None:
    """In a process of its own: load, draw, ask again; with ``count`` run an iteration and count the loads."""
    start = time.perf_counter()
    from ops.engines.base import SampleRequest, SamplingSettings
    from ops.engines.loading import LOADING

    kind = LOADING[name]
    settings = kind.model_validate({"name": name, **SETTINGS[name]})
    if count:
        print(json.dumps(iteration(name, kind)))
        return
    imported = time.perf_counter() - start
    engine = settings.load(Path(checkpoint))
    list(engine.sample([SampleRequest("<s> 10 8 6 -> 12 :", (1,))], SamplingSettings(1.0, 1.0, 1)))
    cold = time.perf_counter() - start
    engine.close()
    if release:
        settings.release()
    print(json.dumps({"ready_seconds": cold, "imports_seconds": imported}))


def iteration(name: str, kind) -> dict[str, object]:
    """Sampling and two verifiers of one iteration: loads, and seconds of the second use of the engine."""
    from ops.config import Experiment
    from ops.lab import Lab
    from ops.stages.base_model import obtain_base_model
    from ops.stages.generations import grade_responses, sample_responses
    from ops.stages.problems import make_problems
    from ops.stages.verification import verify_responses

    loads, load = [], kind.load

    def counted(self, path):
        start = time.perf_counter()
        engine = load(self, path)
        loads.append(time.perf_counter() - start)
        return engine

    kind.load = counted
    model = {"kind": "builtin", "recipe": "countdown", "size": "s", "steps": 20, "seed": 0}
    engine = {"name": name, **SETTINGS[name]}
    with tempfile.TemporaryDirectory() as home:
        os.environ["MINDGAP_HOME"] = home
        value = Experiment.model_validate_json(json.dumps({**EXPERIMENT, "model": model, "engine": engine}))
        lab = Lab.open(value, home=Path(home))
        for stage in (make_problems, obtain_base_model):
            stage(lab)
        for stage in (sample_responses, grade_responses):
            stage(lab, 0)
        start = time.perf_counter()
        lab.engine(0)
        again = time.perf_counter() - start
        verify_responses(lab, 0)
        lab.free_memory()
    return {"loads_per_iteration": len(loads), "load_seconds": loads[0], "again_seconds": again}


def run(name: str, checkpoint: str, *more: str, home: str) -> dict[str, float]:
    """The child's answer."""
    command = [sys.executable, str(Path(__file__).resolve()), checkpoint, "--child", name, *more]
    from ops.engines.server_records import OWNER_VARIABLE, own_mark

    environment = {**os.environ, "MINDGAP_HOME": home, OWNER_VARIABLE: own_mark()}  # this process is the run
    done = subprocess.run(command, env=environment, check=True, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Measure engine by engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--engines", default="transformers,vllm,vllm_server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--release", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.checkpoint, arguments.count, arguments.release)
        return
    for name in arguments.engines.split(","):
        cold, warm = [], []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as home:
                cold.append(run(name, arguments.checkpoint, home=home)["ready_seconds"])
                if name == "vllm_server":  # the server that the first process left
                    warm.append(run(name, arguments.checkpoint, "--release", home=home)["ready_seconds"])
        with tempfile.TemporaryDirectory() as home:
            counted = run(name, arguments.checkpoint, "--count", home=home)
        line = {
            "benchmark": "starts",
            "engine": name,
            "rounds": arguments.rounds,
            "cold_seconds": round(statistics.median(cold), 1),
            "load_seconds": round(counted["load_seconds"], 1),
            "again_seconds": round(counted["again_seconds"], 4),
            "loads_per_iteration": counted["loads_per_iteration"],
        }
        if warm:
            line["next_process_seconds"] = round(statistics.median(warm), 1)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
