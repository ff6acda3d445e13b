"""Memory, storage and queries at many responses: the real stages with an engine that makes responses up.

    python benchmarks/scale.py [--responses 10000000] [--iterations 4] [--home FOLDER]

Samples so many Countdown responses in all, iteration by iteration, through ``sample_responses`` (identities, seeds,
grading, chunks) and ``grade_responses`` (the table), brings the catalog up to date, asks it for accuracy and pass@k by
iteration. What the engine says is taken from 600 texts per problem, a fifth of them right. Prints one JSON line; the
peak memory is that of this process. FOLDER, if named, is kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ops.config import Experiment
from ops.engines.base import Fit
from ops.lab import Lab
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.problems import make_problems, problems_of
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.tasks.steps import apply
from ops.types import Completion

PROBLEMS, TEXTS = 500, 600
PASS_K = (1, 8, 64)

QUERY = """
WITH by_problem AS (
    SELECT iteration, problem_id, count(*) AS n, count(*) FILTER (verdict = 'correct') AS c
    FROM generations WHERE experiment = 'scale' AND split = 'eval' GROUP BY ALL
)
SELECT iteration, sum(c) / sum(n) AS accuracy, {passes}
FROM by_problem GROUP BY iteration ORDER BY iteration
"""
PASS = """avg(CASE WHEN n - c < {k} THEN 1 ELSE
    1 - exp(lgamma(n - c + 1) + lgamma(n - {k} + 1) - lgamma(n - c - {k} + 1) - lgamma(n + 1)) END) AS pass_{k}"""


class MadeUp:
    """Answers at once, in groups of 2,048, with texts of about a real length."""

    name, version = "made-up", "1"

    def __init__(self, texts: dict[str, list[str]]) -> None:
        self._texts = texts

    def sample(self, requests, settings):
        """See ``Engine.sample``."""
        done = []
        for index, request in enumerate(requests):
            texts = self._texts[request.prompt]
            for place, seed in enumerate(request.seeds):
                done.append((index, place, Completion(texts[seed % TEXTS], 12, -5.0 - seed % 1000 / 1000, "stop")))
                if len(done) == 2048:
                    yield done
                    done = []
        if done:
            yield done

    def fits(self, prompts, new_tokens=0, continuations=None):
        """Everything does."""
        return [Fit(8, new_tokens, None) for _ in prompts]

    def usage(self):
        """Nothing is spent."""
        return {}

    def close(self):
        """Nothing is held."""


def texts_of(lab: Lab, iteration: int) -> dict[str, list[str]]:
    """What can be said to every prompt; more of it is right at later iterations."""
    rng, found = random.Random(iteration), {}
    for problem in problems_of(lab, iteration):
        numbers, target = problem.data["numbers"], problem.data["target"]
        right = solution(numbers, target)
        wrong = []
        for _ in range(TEXTS):
            a, b, c = rng.sample(numbers, 3)
            wrong.append(f"{a} + {b} = {a + b} ; {a + b} - {c} = {rng.randrange(99)}")
        share = TEXTS * (4 + iteration) // 20
        found[lab.prompt_format().solve(problem)] = ([right] * share + wrong)[:TEXTS]
    return found


def solution(numbers: list[int], target: int) -> str:
    """A right response, by trying."""
    for a, b, c in itertools.permutations(numbers):
        for first, second in itertools.product("+-*", repeat=2):
            x = apply(a, first, b)
            for left, right in ((x, c), (c, x)):
                if x is not None and apply(left, second, right) == target:
                    return f"{a} {first} {b} = {x} ; {left} {second} {right} = {target}"
    raise SystemExit(f"no solution of {numbers} -> {target}")


def experiment(responses: int, iterations: int) -> Experiment:
    """So many evaluation responses in all, over iterations 0..iterations-1; one training response a problem."""
    n = responses // iterations // PROBLEMS
    return Experiment.model_validate(
        {
            "name": "scale",
            "hypothesis": "Memory does not grow with the number of responses.",
            "model": {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 1, "seed": 0},
            "task": {"name": "countdown"},
            "problems": {"train_per_iteration": 1, "eval": PROBLEMS},
            "sampling": {"n_train": 1, "n_eval": n, "max_tokens": 24},
            "verifiers": [{"name": "majority"}],
            "filter": {"name": "none"},
            "iterations": iterations - 1,
            "training": {"name": "sft"},
        }
    )


def measure(home: Path, responses: int, iterations: int) -> dict[str, object]:
    """Run the stages and the queries."""
    lab = Lab.open(experiment(responses, iterations), home=home, run_id="benchmark")
    make_problems(lab)
    seconds = {"sample": 0.0, "table": 0.0}
    before = _peak()
    for k in range(iterations):
        engine = MadeUp(texts_of(lab, k))
        Lab.engine = lambda self, iteration, verifier=None, engine=engine: engine
        for name, stage in (("sample", sample_responses), ("table", grade_responses)):
            start = time.perf_counter()
            stage(lab, k)
            seconds[name] += time.perf_counter() - start
        print(f"iteration {k}: {seconds}, peak {_peak():.2f} GiB", file=sys.stderr, flush=True)
    start = time.perf_counter()
    rebuild_catalog(home)
    seconds["catalog"] = time.perf_counter() - start
    sql = QUERY.format(passes=", ".join(PASS.format(k=k) for k in PASS_K))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        rows = query(home, sql)
        times.append(time.perf_counter() - start)
    print(rows, file=sys.stderr)
    start = time.perf_counter()
    count = query(home, "SELECT count(*), count(DISTINCT response_id) FROM generations")
    seconds["count_distinct"] = time.perf_counter() - start
    total = lab.experiment.sampling.n_eval * PROBLEMS * iterations + iterations
    drawn = count.row(0)
    if drawn != (total, total):
        sys.exit(f"{drawn} rows and identities, {total} asked for")
    return {
        "benchmark": "scale",
        "responses": total,
        "iterations": iterations,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "responses_per_second": round(total / (seconds["sample"] + seconds["table"])),
        "query_seconds_median": round(statistics.median(times), 2),
        "query_seconds_first": round(times[0], 2),
        "peak_memory_gib": round(_peak(), 2),
        "memory_before_gib": round(before, 2),
        "disk_gib": round(sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) / 1024**3, 2),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=10_000_000)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    if arguments.home is not None:
        print(json.dumps(measure(arguments.home, arguments.responses, arguments.iterations)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), arguments.responses, arguments.iterations)))


if __name__ == "__main__":
    main()
