"""What training did to a policy: every snapshot and the base model answer the same evaluation problems.

All metrics of ``diversity_metrics`` that grades and answers give, and the fraction of unparseable responses; the change
to the base model is paired by problem. pass@k is the unbiased estimator of 2107.03374 over the ``sampling.n_eval``
responses of each problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from ops.estimation.bootstrap import mean_intervals
from ops.estimation.gap import group_sizes, per_problem
from ops.estimation.paired import paired_mean
from ops.lab import Lab
from ops.plan import exploration_asset
from ops.stages.chosen import Source
from ops.stages.diversity import Metric, ProblemValues, answer_values, metric_key
from ops.stages.drawing import draw_asks, pool_responses
from ops.stages.measured import MEASURED, Responses, bootstrap_of, responses_in, without_nan
from ops.stages.problems import problems_of
from ops.stages.wanted import asks_for, n_samples
from ops.storage.schemas import polars_schema
from ops.types import Interval, StageResult

ASSET = exploration_asset("evaluation")


def policy_values(lab: Lab, step: int) -> ProblemValues:
    """Every metric of ``policy_evaluation`` of the policy after ``step`` steps, problem by problem.

    Problems are sorted by their ids, so two arms on the same task and problem seed can be paired position by position
    where ``responses.problem_ids`` agree.

    Args:
        step: a key of ``lab.plan.policies``; 0 is the base model.

    Raises:
        StorageError: when ``problems`` is not there, or some of the responses are not in their pool.
    """
    responses = _responses(lab, step)
    index, n_problems = responses.problem_index, len(responses.problem_ids)
    unparseable_N = (responses.frame["verdict"] == "unparseable").to_numpy().astype(float)
    unparseable_P = per_problem(index, unparseable_N, n_problems) / group_sizes(index, n_problems)
    return ProblemValues(responses, answer_values(responses) | {("unparseable_fraction", None): unparseable_P})


def _responses(lab: Lab, step: int) -> Responses:
    """The first ``sampling.n_eval`` responses of every evaluation problem; of millions of rows no texts are kept."""
    problems = problems_of(lab, 0, "eval")
    counts = [n_samples(lab, problem) for problem in problems]
    where = f"{lab.experiment.name}: evaluation after {step} steps"
    pieces = pool_responses(lab, policy_source(lab, step), problems, counts, lab.plan.policies[step], where)
    return responses_in(pl.concat([piece.select(*MEASURED, "n_tokens") for piece in pieces]), "eval")


def policy_source(lab: Lab, step: int) -> Source:
    """What the policy after ``step`` steps draws from."""
    return Source(lab.plan.policy_pools[step], lab.experiment.sampling.temperature)


def draw_evaluation(lab: Lab) -> dict[str, Any]:
    """Draw what the base model, every snapshot and the trained policy have not answered yet (GPU).

    No model is loaded of which nothing is missing: a larger ``sampling.n_eval`` draws the difference and trains
    nothing. The responses are looked for even where the table is there: pages and studies read them.

    Returns:
        how many were drawn and reused over all models, and the seconds and tokens per second of the drawing.
    """
    asks = asks_for(lab, problems_of(lab, 0, "eval"))
    drawn = reused = tokens = models = 0
    seconds = 0.0
    for step in lab.plan.policies:
        label = "evaluating the base model" if step == 0 else f"evaluating step {step}"
        found = draw_asks(lab, partial(lab.policy_engine, step), policy_source(lab, step), asks, label)
        drawn, reused = drawn + found["drawn"], reused + found["reused_samples"]
        tokens, seconds = tokens + found.get("new_tokens", 0), seconds + found.get("seconds", 0.0)
        models += found["drawn"] > 0
    numbers: dict[str, Any] = {"drawn": drawn, "reused_samples": reused, "models_asked": models}
    if drawn:
        numbers |= {"new_tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds}
    return numbers


def evaluate_policies(lab: Lab) -> StageResult:
    """Measure every model and commit the table ``policy_evaluation``; ``change`` is NULL of the base model itself.

    Raises:
        StorageError: when some of the responses are not in their pool.
    """

    def compute() -> pl.DataFrame:
        base = policy_values(lab, 0)
        counts_RP = bootstrap_of(lab, base.responses)  # of all models alike: what a change is paired by
        rows = _rows(lab, 0, base, None, counts_RP)
        for step in lab.plan.policies:
            rows += _rows(lab, step, policy_values(lab, step), base, counts_RP) if step > 0 else []
        return pl.DataFrame(rows, schema=polars_schema("policy_evaluation"))

    return lab.materialise("policy_evaluation", ASSET, None, compute, _shown)


def _rows(
    lab: Lab, step: int, values: ProblemValues, base: ProblemValues | None, counts_RP: np.ndarray
) -> list[dict[str, Any]]:
    """A row for every metric of one model; without ``base`` no change."""
    confidence = lab.experiment.statistics.confidence
    named = {metric_key(metric): value_P for metric, value_P in values.value_P.items()}
    intervals = mean_intervals(named, counts_RP, confidence)
    rows = []
    for metric, value_P in values.value_P.items():
        columns = {"value": intervals[metric_key(metric)]}
        if base is not None:
            columns["change"] = paired_mean(value_P, base.value_P[metric], counts_RP, confidence).difference
        about = {"step": step, "metric": metric[0], "k": metric[1], "n_problems": int((~np.isnan(value_P)).sum())}
        rows.append(without_nan({**about, **_cells(columns)}))
    return rows


def _cells(columns: Mapping[str, Interval]) -> dict[str, float | None]:
    """``value``, ``low``, ``high`` and ``change`` with its ends."""
    cells: dict[str, float | None] = dict.fromkeys(("change", "change_low", "change_high"))
    for name, item in columns.items():
        before = "" if name == "value" else f"{name}_"
        cells |= {name: item.value, f"{before}low": item.low, f"{before}high": item.high}
    return cells


def _shown(frame: pl.DataFrame) -> dict[str, Any]:
    """Accuracy and pass@k at the largest k, of the base model and of the trained policy, and how they changed."""
    last = max(frame["step"])
    largest: int | None = max(frame.filter(pl.col("metric") == "pass_at_k")["k"])
    numbers: dict[str, Any] = {"steps": last}
    metrics: tuple[Metric, ...] = (("accuracy", None), ("pass_at_k", largest))
    for metric, k in metrics:
        name = metric_key((metric, k))
        rows = frame.filter((pl.col("metric") == metric) & pl.col("k").eq_missing(k))
        for words, step in (("base", 0), ("final", last)):
            row = rows.row(by_predicate=pl.col("step") == step, named=True)
            numbers |= {f"{name}_{words}": row["value"]}
            numbers |= {f"{name}_{words}_{end}": row[end] for end in ("low", "high")}
        numbers |= {f"{name}_change{end}": row[f"change{end}"] for end in ("", "_low", "_high")}
    return numbers
