"""Diversity metrics: pass@k, expected distinct answers in k, answer entropy, with intervals over problems."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl

from ops.estimation.bootstrap import mean_interval
from ops.estimation.diversity import distinct_in_k, entropy_nats, hit_probability, measured_ks
from ops.lab import Lab
from ops.stages.measured import Responses, bootstrap_of, splits_of
from ops.storage.schemas import polars_schema
from ops.types import StageResult


def measure_diversity(lab: Lab, iteration: int) -> StageResult:
    """Measure both splits and commit the table ``diversity_metrics``."""
    statistics = lab.experiment.statistics

    def compute() -> pl.DataFrame:
        rows = []
        for split, responses in splits_of(lab, iteration).items():
            counts_RP = bootstrap_of(lab, responses)
            for (metric, k), value_P in _per_problem(responses).items():
                interval = mean_interval(value_P, counts_RP, statistics.confidence)
                rows.append(
                    {
                        "split": split,
                        "metric": metric,
                        "k": k,
                        "value": _or_none(interval.value),
                        "low": _or_none(interval.low),
                        "high": _or_none(interval.high),
                        "n_problems": int((~np.isnan(value_P)).sum()),
                    }
                )
        return pl.DataFrame(rows, schema=polars_schema("diversity_metrics"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        shown = frame.filter(pl.col("split") == "eval").sort("k", nulls_last=True)
        return {
            row["metric"] if row["k"] is None else f"{row['metric'].replace('_k', '')}_{row['k']}": row["value"]
            for row in shown.iter_rows(named=True)
        }

    return lab.materialise("diversity_metrics", "diversity_metrics", iteration, compute, metadata)


def _per_problem(responses: Responses) -> dict[tuple[str, int | None], np.ndarray]:
    """Values [P] of every (metric, k), NaN where a problem has fewer than k responses; ``measured_ks`` chooses k.

    Where no response of the split has an answer (recorded labels are the truth, say) nothing is known of how many are
    distinct: NaN, not 0.
    """
    answers = responses.frame["answer"].to_list()
    bounds = np.flatnonzero(np.r_[True, np.diff(responses.problem_index) != 0, True])
    groups = [answers[start:stop] for start, stop in itertools.pairwise(bounds)]
    correct_P = np.bincount(responses.problem_index, weights=responses.is_correct).astype(int)
    has_answers = any(answer is not None for answer in answers)
    values: dict[tuple[str, int | None], np.ndarray] = {}
    for k in measured_ks(np.array([len(group) for group in groups])):
        kernels = {len(group): hit_probability(len(group), k) for group in groups}
        values["pass_at_k", k] = np.array([kernels[len(g)][c] for g, c in zip(groups, correct_P, strict=True)])
        distinct_P = np.array([distinct_in_k(group, k) for group in groups])
        values["distinct_answers_in_k", k] = distinct_P if has_answers else np.full(len(groups), np.nan)
    values["answer_entropy_nats", None] = np.array([entropy_nats(group) for group in groups])
    return values


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
