"""Accuracy and diversity of one iteration's responses, problem by problem and as a table with intervals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ops.estimation.bootstrap import mean_intervals
from ops.estimation.diversity import (
    answer_counts,
    correct_answers,
    entropy_nats,
    expected_distinct,
    hit_probability,
    measured_ks,
)
from ops.estimation.gap import group_sizes, per_problem
from ops.estimation.plurality import plurality_accuracy
from ops.estimation.text_diversity import self_bleu
from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.measured import MEASURED, SPLITS, Responses, bootstrap_of, responses_in, without_nan
from ops.stages.verification import response_blocks
from ops.storage.schemas import polars_schema
from ops.types import StageResult

SELF_BLEU_RESPONSES = 16
"""Responses of a problem, the first ones, whose texts are compared: self-BLEU grows with their number."""
SELF_BLEU_PROBLEMS = 1000
"""Problems of a split that it is measured on, the first by their ids, which are hashes: the same at every iteration."""

Metric = tuple[str, int | None]
"""Name and k."""


@dataclass(frozen=True)
class ProblemValues:
    """One split of one iteration, problem by problem.

    Attributes:
        responses: with the columns ``MEASURED`` and ``n_tokens``.
        value_P: of every metric, NaN where it is undefined.
    """

    responses: Responses
    value_P: Mapping[Metric, np.ndarray]


def problem_values(lab: Lab, iteration: int, splits: tuple[str, ...] = SPLITS) -> dict[str, ProblemValues]:
    """Every metric of ``diversity_metrics`` by split; a split without responses is left out."""
    fingerprint = lab.plan.fingerprints[asset_name("generations", iteration)]
    frame = lab.store.read("generations", fingerprint, [*MEASURED, "n_tokens"])
    texts = _first_texts(lab, iteration, splits, frame)
    found = {}
    for split in splits:
        responses = responses_in(frame, split)
        if responses.problem_ids:
            values = answer_values(responses) | {("self_bleu", None): _self_bleu(responses.problem_ids, texts[split])}
            found[split] = ProblemValues(responses, values)
    return found


def measure_diversity(lab: Lab, iteration: int) -> StageResult:
    """Measure both splits and commit the table ``diversity_metrics``."""
    confidence = lab.experiment.statistics.confidence

    def compute() -> pl.DataFrame:
        rows = []
        for split, found in problem_values(lab, iteration).items():
            intervals = mean_intervals(
                {metric_key(metric): value_P for metric, value_P in found.value_P.items()},
                bootstrap_of(lab, found.responses),
                confidence,
            )
            for (metric, k), value_P in found.value_P.items():
                interval = intervals[metric_key((metric, k))]
                about = {"split": split, "metric": metric, "k": k, "n_problems": int((~np.isnan(value_P)).sum())}
                rows.append(without_nan({**about, "value": interval.value, "low": interval.low, "high": interval.high}))
        return pl.DataFrame(rows, schema=polars_schema("diversity_metrics"))

    return lab.materialise("diversity_metrics", "diversity_metrics", iteration, compute, _shown)


def _shown(frame: pl.DataFrame) -> dict[str, Any]:
    """The evaluation split's numbers; with intervals where there is no k, and at the smallest and largest k."""
    shown = frame.filter(pl.col("split") == "eval").sort("k", nulls_last=False, maintain_order=True)
    ends = {None, shown["k"].min(), shown["k"].max()}
    numbers = {}
    for row in shown.iter_rows(named=True):
        name = metric_key((row["metric"], row["k"]))
        numbers[name] = row["value"]
        if row["k"] in ends:
            numbers |= {f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return numbers


def metric_key(metric: Metric) -> str:
    """``pass_at_k``, 64 -> ``pass_at_64``."""
    name, k = metric
    return name if k is None else f"{name.removesuffix('_k')}_{k}"


def answer_values(responses: Responses) -> dict[Metric, np.ndarray]:
    """Values [P] of what grades and answers say, NaN where a problem has fewer than k responses.

    Where no response of the split has an answer (recorded labels are the truth, say) nothing is known of how many are
    distinct: NaN, not 0.
    """
    index, n_problems = responses.problem_index, len(responses.problem_ids)
    size_P = group_sizes(index, n_problems)
    correct_P = per_problem(index, responses.is_correct.astype(float), n_problems)
    answers = responses.frame["answer"].to_list()
    tokens = responses.frame["n_tokens"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    values: dict[Metric, np.ndarray] = {
        ("accuracy", None): correct_P / size_P,
        ("strict_accuracy", None): per_problem(index, responses.is_strict.astype(float), n_problems) / size_P,
        ("majority_vote_accuracy", None): plurality_accuracy(index, answers, responses.is_correct, n_problems),
    }
    values |= _in_k(responses, answers, size_P, correct_P.astype(int))
    values["answer_entropy_nats", None] = np.array([entropy_nats(group) for group in _groups(responses, answers)])
    values["response_tokens", None] = per_problem(index, tokens, n_problems) / size_P
    return values


def _in_k(
    responses: Responses, answers: list[str | None], size_P: np.ndarray, correct_P: np.ndarray
) -> dict[Metric, np.ndarray]:
    """pass@k and expected distinct answers; ``measured_ks`` chooses k."""
    has_answers = any(answer is not None for answer in answers)
    right = correct_answers(answers, responses.is_correct.tolist())
    counts = {
        "distinct_answers_in_k": [answer_counts(group) for group in _groups(responses, answers)],
        "distinct_correct_in_k": [answer_counts(group) for group in _groups(responses, right)],
    }
    values: dict[Metric, np.ndarray] = {}
    for k in measured_ks(size_P):
        kernels = {size: hit_probability(size, k) for size in np.unique(size_P).tolist()}
        sizes = size_P.tolist()
        values["pass_at_k", k] = np.array([kernels[n][c] for n, c in zip(sizes, correct_P, strict=True)])
        for metric, groups in counts.items():
            distinct = [expected_distinct(group, kernels[n]) for n, group in zip(sizes, groups, strict=True)]
            values[metric, k] = np.array(distinct) if has_answers else np.full(len(groups), np.nan)
    return values


def _groups(responses: Responses, answers: list[str | None]) -> list[list[str | None]]:
    """Answers problem by problem."""
    bounds = np.flatnonzero(np.r_[True, np.diff(responses.problem_index) != 0, True])
    return [answers[start:stop] for start, stop in itertools.pairwise(bounds)]


def _first_texts(
    lab: Lab, iteration: int, splits: tuple[str, ...], frame: pl.DataFrame
) -> dict[str, dict[str, list[str]]]:
    """Texts of the first ``SELF_BLEU_RESPONSES`` of the first problems of ``frame``, by split and problem.

    The table is read block by block: what stays in memory is bounded.
    """
    problems = frame.select("split", "problem_id").unique()
    chosen = problems.filter(pl.col("problem_id").rank("ordinal").over("split") <= SELF_BLEU_PROBLEMS)
    found: dict[str, dict[str, list[str]]] = {split: {} for split in splits}
    for block in response_blocks(lab, iteration, ["split", "problem_id", "sample_index", "response"]):
        first = (
            block.filter(pl.col("split").is_in(splits))
            .join(chosen, on=["split", "problem_id"], how="semi")
            .filter(pl.col("sample_index").rank("ordinal").over("split", "problem_id") <= SELF_BLEU_RESPONSES)
        )
        for (split, problem_id), part in first.group_by("split", "problem_id", maintain_order=True):
            found[str(split)].setdefault(str(problem_id), []).extend(part["response"])
    return found


def _self_bleu(problem_ids: list[str], texts: Mapping[str, list[str]]) -> np.ndarray:
    return np.array([self_bleu(texts[name]) if name in texts else np.nan for name in problem_ids])
