"""How much of an experiment's wall time is not compute: imports, orchestration, storage, catalog, MLflow, report.

    python benchmarks/overhead.py [EXPERIMENT [HOME]]

Runs the experiment from scratch in a new home (HOME, if named, is kept afterwards), exactly as ``mindgap run`` does,
and sums the time spent inside sampling, verification, pretraining, fine-tuning, grading and estimation. The rest of
the wall time, the start of the process included, is overhead. Chunks are committed while sampling goes on, in a
thread of its own; their seconds are shown and are no part of the sum, nor is what sampling waited for them. Then
everything is run again, reused: what is left per result is what a step costs. Prints one JSON line.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
COMPUTE = (
    ("ops.stages.base_model", "_pretrain"),
    ("ops.stages.drawing", "_draw"),
    ("ops.stages.drawing", "_graded"),
    ("ops.stages.verification", "_score"),
    ("ops.training.loop", "train"),
    ("ops.stages.gap", "_row"),
    ("ops.stages.diversity", "_per_problem"),
)


def child(experiment: str) -> None:
    """Run the experiment with timers around the compute and write them to the file named in BENCHMARK_OUT."""
    sys.path.insert(0, str(PROJECT))
    import importlib

    from ops.stages.chunks import ChunkWriter
    from ops.storage.pool import Pool

    seconds: dict[str, float] = {}

    def timed(function, name):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            start = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.monotonic() - start

        return wrapper

    for module_name, function_name in COMPUTE:
        module = importlib.import_module(module_name)
        setattr(module, function_name, timed(getattr(module, function_name), function_name.strip("_")))
    Pool.append = timed(Pool.append, "append")
    ChunkWriter._wait = timed(ChunkWriter._wait, "waited")
    from orchestration.cli_run import run_experiments

    code = run_experiments([experiment], every=False, verbose=False)
    Path(os.environ["BENCHMARK_OUT"]).write_text(json.dumps(seconds))
    sys.exit(code)


def main(experiment: str, home: str | None) -> None:
    """Measure in a process of its own and print the shares."""
    if home is not None and Path(home).exists():
        sys.exit(f"{home} exists; the benchmark needs a new home")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        environment = {**os.environ, "MINDGAP_HOME": home or f"{folder}/home", "BENCHMARK_OUT": str(out)}
        start = time.monotonic()
        command = [sys.executable, str(Path(__file__).resolve()), "--child", experiment]
        subprocess.run(command, env=environment, check=True, cwd=PROJECT)
        wall = time.monotonic() - start
        seconds = json.loads(out.read_text())
        start = time.monotonic()
        again = subprocess.run(command, env=environment, check=True, cwd=PROJECT, capture_output=True, text=True)
        reused = time.monotonic() - start
        found = re.search(r"\((\d+) results computed, (\d+) reused\)", again.stdout + again.stderr)
        if found is None or found[1] != "0":
            sys.exit(f"the second run computed something: {again.stderr[-500:]}")
    compute = sum(seconds.values()) - seconds.get("append", 0.0) - 2 * seconds.get("waited", 0.0)
    line = {
        "benchmark": "overhead",
        "experiment": experiment,
        "wall_seconds": round(wall, 1),
        "compute_seconds": round(compute, 1),
        "overhead_fraction": round(1 - compute / wall, 4),
        "results": int(found[2]),
        "reused_wall_seconds": round(reused, 1),
        "reused_seconds_per_result": round(reused / int(found[2]), 3),
        "parts_seconds": {name: round(value, 2) for name, value in sorted(seconds.items())},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "demo", sys.argv[2] if len(sys.argv) > 2 else None)
