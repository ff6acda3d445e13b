"""Responses that were sampled elsewhere, as rows of ``generations``."""

from __future__ import annotations

import polars as pl

from ops.identity import response_id
from ops.lab import Lab
from ops.recorded import read_recorded, scores_text
from ops.stages.grading import grade_texts
from ops.storage.schemas import polars_schema


def replayed_responses(lab: Lab, iteration: int) -> pl.DataFrame:
    """The responses of the experiment's file, graded: by the task, or by their own labels where it says so."""
    responses = read_recorded(lab.experiment.engine, lab.experiment.task)
    pool = lab.plan.sample_pools[iteration]
    problems = [item.problem for item in responses]
    items = [(item.problem, item.response, item.finish_reason == "stop") for item in responses]
    grades = [grade for grade in grade_texts(lab.experiment, items) if grade is not None]
    frame = pl.DataFrame(
        {
            "split": [problem.split for problem in problems],
            "problem_id": [problem.problem_id for problem in problems],
            "response_id": [response_id(pool, item.problem.problem_id, item.sample_index) for item in responses],
            "sample_index": [item.sample_index for item in responses],
            "response": [item.response for item in responses],
            "n_tokens": pl.Series([item.n_tokens for item in responses], dtype=pl.Int32),
            "logprob": pl.Series([item.logprob for item in responses], dtype=pl.Float64),
            "finish_reason": [item.finish_reason for item in responses],
            "label": pl.Series([item.label for item in responses], dtype=pl.String),
            "recorded_scores": pl.Series([scores_text(item.scores) for item in responses], dtype=pl.String),
            "answer": pl.Series([grade.answer for grade in grades], dtype=pl.String),
            "verdict": [grade.verdict for grade in grades],
            "strict_verdict": [grade.strict_verdict for grade in grades],
            "reason": [grade.reason for grade in grades],
        }
    ).with_columns(
        prompt=pl.lit(None, dtype=pl.String),
        seed=pl.lit(None, dtype=pl.Int64),
        engine=pl.lit("replay"),
        engine_version=pl.lit(pool),
        model_fingerprint=pl.lit(lab.plan.models[iteration]),
    )
    if getattr(lab.experiment.task, "grader", None) == "label":
        label = pl.col("label")
        frame = frame.with_columns(verdict=label, strict_verdict=label, reason=pl.lit(""))
    return frame.select(list(polars_schema("generations")))
