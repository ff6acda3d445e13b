"""Majority agreement (self-consistency, 2203.11171): how many of the responses share the final answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from ops.verifiers.base import DerivedVerifier, Verifier


class Majority(DerivedVerifier):
    """Score: share of a problem's parseable answers, in the same split, that equal the response's own, itself included.

    A response without a parseable answer has no score. The verdict is 'correct' from 0.5 on.
    """

    name: Literal["majority"] = "majority"
    version: ClassVar[str] = "1"
    default_threshold: ClassVar[float] = 0.5
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def derive(
        self, responses: pl.DataFrame, scores: Mapping[str, np.ndarray], verifiers: Mapping[str, Verifier]
    ) -> np.ndarray:
        same = pl.col("answer").count().over("split", "problem_id", "answer")
        parseable = pl.col("answer").count().over("split", "problem_id")
        score = pl.when(pl.col("answer").is_not_null()).then(same / parseable)
        return responses.select(score.fill_null(float("nan")).alias("score"))["score"].to_numpy()
