"""Training of several seeds as one curve: ``training_dynamics`` of all experiments of a study of exploration."""

from __future__ import annotations

import math

import polars as pl

from ops.exploration_bench import ExplorationBench
from ops.reporting.dynamics_plots import PER_QUESTION, Curve
from ops.storage.schemas import polars_schema

BASE_MODEL = "base model"


def read_training(bench: ExplorationBench) -> pl.DataFrame:
    """``training_dynamics`` of every experiment that has it, in the order of the study.

    Columns ``task``, ``arm``, ``seed``, ``responses_per_question`` (so far, over all training questions), then those of
    the table.

    Raises:
        StorageError: when such a table is damaged.
    """
    frames = []
    for name, member in bench.members.items():
        frame = bench.dynamics(name)
        if frame is not None and frame.height:
            n_questions = frame.filter(metric="solved_questions")["n_problems"].max()
            place = {"task": pl.lit(member.task), "arm": pl.lit(member.arm), "seed": pl.lit(member.seed, pl.Int64)}
            share = pl.col("n_responses") / pl.lit(n_questions, pl.Int64)
            frames.append(frame.with_columns(**place, responses_per_question=share))
    own = {"task": pl.String(), "arm": pl.String(), "seed": pl.Int64(), "responses_per_question": pl.Float64()}
    empty = pl.DataFrame(schema={**own, **polars_schema("training_dynamics")})
    return pl.concat([empty, *(frame.select(empty.columns) for frame in frames)])


def seed_curve(
    training: pl.DataFrame, task: str, arm: str, sampler: str, metric: str, questions: str = "all", *, x: str
) -> Curve:
    """Mean over seeds with a band of one standard error; of a single seed its interval over problems.

    Only steps at which the value is defined with every seed of the arm: a seed that drops out half-way (no question is
    unsolved any more, say) would move the mean although nothing changed.

    Args:
        x: ``PER_QUESTION`` or ``STEPS``.
    """
    rows = training.filter(task=task, arm=arm, sampler=sampler, metric=metric, questions=questions)
    n_seeds = rows["seed"].n_unique()
    place = "responses_per_question" if x == PER_QUESTION else "step"
    over = (
        rows.filter(pl.col("value").is_not_null())
        .group_by("step")
        .agg(
            pl.col(place).cast(pl.Float64).mean().alias("x"),
            pl.col("value").mean(),
            pl.col("low", "high").mean(),
            (pl.col("value").std() / pl.len().sqrt()).alias("standard_error"),
            pl.len().alias("n"),
        )
        .filter(pl.col("n") == n_seeds)
        .sort("step")
    )
    if n_seeds > 1:
        over = over.with_columns(
            low=pl.col("value") - pl.col("standard_error"), high=pl.col("value") + pl.col("standard_error")
        )
    ends = over.select(pl.col("x", "value", "low", "high").fill_null(math.nan))
    x_, value, low, high = (ends[name].to_list() for name in ends.columns)
    is_base = sampler == "base"
    return Curve(BASE_MODEL if is_base else arm, x_, value, low, high, is_base)
