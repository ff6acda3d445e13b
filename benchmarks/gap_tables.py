"""How long gap tables take: 1,319 problems, 128 responses, 4 verifiers, 10,000 bootstrap resamples.

    python benchmarks/gap_tables.py [RESAMPLES [LOOP_RESAMPLES]]

Computes accuracy, filtered accuracy, gap, relative gap, precision, recall and AUROC of every verifier with their
intervals, the drawing of the resamples included. Beside it, in the same run, a plain NumPy loop over resamples computes
the same statistics on fewer resamples; its time is linear in their number and scaled up (``loop_seconds_scaled``).
The two must agree, resample by resample: up to rounding, and for the AUROC up to the 1,024 rank levels that its draws
are computed on. Prints one JSON line.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ops.estimation.auroc import auroc_draws, auroc_interval
from ops.estimation.bootstrap import mean_draws, ratio_draws, resample_counts
from ops.estimation.classification import classify
from ops.estimation.gap import estimate_gap, per_problem, problem_gaps
from ops.types import Interval

PROBLEMS, GROUP, VERIFIERS = 1319, 128, 4
STATISTICS = ("accuracy", "filtered_accuracy", "gap", "relative_gap", "precision", "recall", "auroc")


def responses(seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Problem index, correctness and four verifiers' scores; 2 % of the verdicts unparseable, one verifier binary."""
    rng = np.random.default_rng(seed)
    problem = np.repeat(np.arange(PROBLEMS), GROUP)
    truth = rng.random(len(problem)) < rng.beta(1.0, 1.5, PROBLEMS)[problem]
    scores = {}
    for i in range(VERIFIERS):
        score = 0.4 * (i + 1) * truth + rng.normal(size=len(problem)) + 0.3 * rng.normal(size=PROBLEMS)[problem]
        score = (score > 0.5).astype(float) if i == 3 else score
        scores[f"verifier_{i}"] = np.where(rng.random(len(problem)) < 0.02, np.nan, score)
    return problem, truth, scores


def accept(score: np.ndarray) -> np.ndarray:
    """The global threshold 0.5."""
    return np.where(np.isnan(score), 0.0, score >= 0.5).astype(float)


def tables(
    problem: np.ndarray, truth: np.ndarray, scores: dict[str, np.ndarray], resamples: int
) -> dict[str, dict[str, Interval]]:
    """Every interval of every verifier."""
    counts_RP = resample_counts(PROBLEMS, resamples, 0)
    found = {}
    for name, score in scores.items():
        weights = accept(score)
        gap = estimate_gap(problem, truth, weights, counts_RP, 0.95)
        verdicts = classify(problem, truth, weights, counts_RP, 0.95, ~np.isnan(score))
        area = auroc_interval(problem, score, truth, counts_RP, 0.95)
        values = (gap.accuracy, gap.filtered_accuracy, gap.gap, gap.relative_gap)
        found[name] = dict(zip(STATISTICS, (*values, verdicts.precision, verdicts.recall, area), strict=True))
    return found


def vectorised_draws(problem: np.ndarray, truth: np.ndarray, score: np.ndarray, counts_RP: np.ndarray) -> np.ndarray:
    """The draws behind one verifier's intervals, [R, 7]."""
    weights = accept(score)
    gaps = problem_gaps(problem, truth, weights, PROBLEMS)
    means = [gaps.accuracy_P, gaps.filtered_P, gaps.gap_P, gaps.relative_gap_P]
    hit_P, kept_P, true_P = (per_problem(problem, value, PROBLEMS) for value in (weights * truth, weights, 1.0 * truth))
    return np.stack(
        [
            *(mean_draws(value_P, counts_RP) for value_P in means),
            ratio_draws(hit_P, kept_P, counts_RP),
            ratio_draws(hit_P, true_P, counts_RP),
            auroc_draws(problem, score, truth, counts_RP)[1],
        ],
        axis=1,
    )


def loop_draws(truth: np.ndarray, score: np.ndarray, counts_RP: np.ndarray) -> np.ndarray:
    """The same draws, [R, 7], by the plain way: take the drawn problems' responses, compute, repeat."""
    truth_PG, score_PG = truth.reshape(PROBLEMS, GROUP), score.reshape(PROBLEMS, GROUP)
    draws = []
    for counts_P in counts_RP:
        drawn = np.repeat(np.arange(PROBLEMS), counts_P.astype(int))
        true, value = truth_PG[drawn], score_PG[drawn]
        kept = value >= 0.5  # False for NaN
        accuracy = true.mean(1)
        n_kept = kept.sum(1)
        filtered = np.where(n_kept > 0, (kept & true).sum(1) / np.maximum(n_kept, 1), accuracy)
        open_ = accuracy < 1
        relative = ((filtered - accuracy)[open_] / (1 - accuracy[open_])).mean()
        hits = (kept & true).sum()
        row = [accuracy.mean(), filtered.mean(), (filtered - accuracy).mean(), relative]
        draws.append([*row, hits / kept.sum(), hits / true.sum(), _auroc(value.ravel(), true.ravel())])
    return np.array(draws)


def _auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """By sorting: the mean rank of the correct ones (Mann-Whitney), ties with their mean rank."""
    used = ~np.isnan(score)
    _, level, count = np.unique(score[used], return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    positive = truth[used]
    n_positive, n_negative = positive.sum(), (~positive).sum()
    return float((mean_rank[level][positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def main(resamples: int, loop_resamples: int) -> None:
    """Measure both, check that they agree, print."""
    problem, truth, scores = responses()
    start = time.perf_counter()
    found = tables(problem, truth, scores, resamples)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    counts_RP = resample_counts(PROBLEMS, loop_resamples, 1)
    start = time.perf_counter()
    plain = [loop_draws(truth, score, counts_RP) for score in scores.values()]
    loop = (time.perf_counter() - start) * resamples / loop_resamples
    ours = [vectorised_draws(problem, truth, score, counts_RP) for score in scores.values()]
    difference = np.abs(np.array(ours) - np.array(plain)).max(axis=(0, 1))
    if difference[:-1].max() > 1e-10 or difference[-1] > 1e-4:
        sys.exit(f"the two disagree: {dict(zip(STATISTICS, difference, strict=True))}")
    if any(np.isnan([item.low, item.high]).any() for row in found.values() for item in row.values()):
        sys.exit("an interval is undefined")
    line = {
        "benchmark": "gap_tables",
        "problems": PROBLEMS,
        "responses_per_problem": GROUP,
        "verifiers": VERIFIERS,
        "resamples": resamples,
        "seconds": round(seconds, 2),
        "peak_memory_gib": round(peak, 2),
        "loop_resamples": loop_resamples,
        "loop_seconds_scaled": round(loop, 1),
        "ratio": round(loop / seconds, 1),
        "largest_difference": float(f"{difference[:-1].max():.1e}"),
        "largest_difference_auroc": float(f"{difference[-1]:.1e}"),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main(*(int(text) for text in (sys.argv[1:] + ["10000", "20"][len(sys.argv) - 1 :])))
