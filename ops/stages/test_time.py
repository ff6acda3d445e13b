"""Test-time improvement: accuracy of best-of-n, verifier-weighted vote and majority vote against n."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ops.estimation.ranks import ranks_within
from ops.estimation.test_time import CurvePoint, best_of_n_curve, pass_at_n_curve
from ops.estimation.voting import vote_curve
from ops.lab import Lab
from ops.stages.measured import ScoreTable, bootstrap_of, splits_of, with_ends, without_nan
from ops.stages.verifier_metrics import probability_of
from ops.storage.schemas import polars_schema
from ops.types import StageResult
from ops.verifiers.base import Verifier


def measure_test_time(lab: Lab, iteration: int) -> StageResult:
    """Measure every verifier on the evaluation split and commit the table ``test_time_metrics``.

    Subsets of n responses are drawn without replacement: exact where a closed form or enumeration reaches, otherwise by
    random subsets whose error the interval includes.
    """
    statistics = lab.experiment.statistics

    def compute() -> pl.DataFrame:
        table, splits = ScoreTable(lab, iteration), splits_of(lab, iteration)
        rows: list[dict[str, Any]] = []
        if "eval" not in splits:
            return pl.DataFrame(rows, schema=polars_schema("test_time_metrics"))
        responses = splits["eval"]
        counts_RP, confidence, seed = bootstrap_of(lab, responses), statistics.confidence, statistics.seed
        index, truth, answers = responses.problem_index, responses.is_correct, responses.frame["answer"].to_list()
        rows += _rows("oracle", None, pass_at_n_curve(index, truth, counts_RP, confidence))
        rows += _rows("majority_vote", None, vote_curve(index, answers, truth, counts_RP, confidence, seed=seed))
        for verifier in lab.experiment.verifiers:
            score = table.of(verifier.called, responses).score
            best = best_of_n_curve(index, score, truth, counts_RP, confidence)
            weights = vote_weights(verifier, index, score)
            voted = vote_curve(index, answers, truth, counts_RP, confidence, weights=weights, seed=seed)
            rows += [*_rows("best_of_n", verifier.called, best), *_rows("weighted_vote", verifier.called, voted)]
        return pl.DataFrame(rows, schema=polars_schema("test_time_metrics"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        largest = frame["n"].max()
        numbers: dict[str, Any] = {"n": largest}
        for row in frame.filter(pl.col("n") == largest).iter_rows(named=True):
            prefix = row["method"] if row["verifier"] is None else f"{row['verifier']}_{row['method']}"
            numbers |= {f"{prefix}{end}": row[f"accuracy{end}"] for end in ("", "_low", "_high")}
        return numbers

    return lab.materialise("test_time_metrics", "test_time_metrics", iteration, compute, metadata)


def vote_weights(verifier: Verifier, problem_index: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Weights [N] of a vote: the score as a probability where it has a range, otherwise its rank in the problem.

    Ranks are the share of the problem's responses that score no higher: Borda voting with exponent 1 (2502.18581). NaN
    where unparseable: no vote.
    """
    probability = probability_of(verifier, score)
    if probability is not None:
        return probability
    ranks = ranks_within(problem_index, score)
    share = (ranks.below_N + 0.5 * (ranks.tied_N + 1)) / ranks.size_N
    return np.where(np.isnan(score), np.nan, share)


def _rows(method: str, verifier: str | None, points: list[CurvePoint]) -> list[dict[str, Any]]:
    return [
        without_nan(
            {
                "split": "eval",
                "method": method,
                "verifier": verifier,
                "n": point.n,
                **with_ends(accuracy=point.accuracy),
                "n_problems": point.n_problems,
            }
        )
        for point in points
    ]
