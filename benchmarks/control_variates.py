"""How long one estimate by control variates takes, against ppi_python in the same run.

    python benchmarks/control_variates.py [--rounds 7] [--repeats 200]

Both get n labels and scores of N pairs and give an estimate with its interval. Ours: ``disjoint`` (the same quantity)
and ``estimate`` (nested, clustered by problem, with t and score interval, and with 2,000 bootstrap resamples). Theirs:
``ppi_mean_pointestimate`` and ``ppi_mean_ci``. Every round times all in turn; ratios are taken round by round. Prints
one JSON line per size: microseconds (medians) and ratios to ppi_python (median, lowest, highest). A first round warms
up and is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ops.control_variates.data import LabelledPairs
from ops.control_variates.disjoint import disjoint
from ops.control_variates.estimate import estimate

SIZES = ((100, 1_000), (300, 3_000), (1_000, 20_000))
RESAMPLES = 2_000


def ways(n: int, n_pairs: int) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, by name, with the part of the repeats that it gets."""
    import ppi_py

    rng = np.random.default_rng(0)
    labels = rng.choice([0.0, 0.5, 1.0], n_pairs, p=[0.3, 0.1, 0.6])
    scores = labels + rng.normal(size=n_pairs)
    near, far = scores[:n], scores[n:]
    shown = np.where(np.arange(n_pairs) < n, labels, np.nan)
    wave = np.where(np.isnan(shown), -1, 0)
    pairs = LabelledPairs(shown, scores[:, None], np.arange(n_pairs), np.zeros(n_pairs, dtype=int), wave)

    def theirs() -> None:
        ppi_py.ppi_mean_pointestimate(labels[:n], near, far)
        ppi_py.ppi_mean_ci(labels[:n], near, far, alpha=0.05)

    return {
        "ppi_python": (theirs, 1),
        "disjoint": (lambda: disjoint(labels[:n], near[:, None], far[:, None]), 1),
        "nested": (lambda: estimate(pairs, "control_variate"), 1),
        "nested_cross_fitted": (lambda: estimate(pairs, "cross_fitted"), 1),
        "nested_with_bootstrap": (lambda: estimate(pairs, "control_variate", resamples=RESAMPLES), 100),
    }


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    """Time every size and print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    for n, n_pairs in SIZES:
        timed = ways(n, n_pairs)
        repeats = max(1, arguments.repeats * SIZES[0][1] // n_pairs)
        rounds = [
            {name: seconds(run, max(1, repeats // part)) for name, (run, part) in timed.items()}
            for _ in range(arguments.rounds + 1)
        ][1:]
        ratios = {name: [each[name] / each["ppi_python"] for each in rounds] for name in timed if name != "ppi_python"}
        print(
            json.dumps(
                {
                    "benchmark": "control_variates",
                    "labels": n,
                    "pairs": n_pairs,
                    "microseconds": {
                        name: round(1e6 * statistics.median(each[name] for each in rounds)) for name in timed
                    },
                    "to_ppi_python": {name: round(statistics.median(found), 2) for name, found in ratios.items()},
                    "to_ppi_python_range": {
                        name: [round(min(found), 2), round(max(found), 2)] for name, found in ratios.items()
                    },
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
