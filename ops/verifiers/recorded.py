"""Recorded scores: a numeric column that came with responses recorded elsewhere, as a verifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from ops.errors import ExperimentError
from ops.verifiers.base import DerivedVerifier, Rising, Verifier

COLUMN = "recorded_scores"


class Recorded(DerivedVerifier):
    """Score: the number under ``scores.<column>`` of the recorded response; unparseable where it is missing or null.

    ``threshold``: from where on the verdict is 'correct'; None: nothing is rejected, and the gap is by default that of
    the best fifth of each problem's responses. ``scale``: (lowest, highest) where scores are on a scale that maps to
    probabilities 0 and 1, for calibration.
    """

    name: Literal["recorded"] = "recorded"
    column: str = Field(min_length=1, max_length=200)
    threshold: float | None = None
    scale: Rising[tuple[float, float] | None] = None
    version: ClassVar[str] = "1"
    is_free: ClassVar[bool] = False

    @property
    def called(self) -> str:
        return self.label or self.column

    @property
    def default_threshold(self) -> float:
        return -np.inf if self.threshold is None else self.threshold

    @property
    def score_range(self) -> tuple[float, float] | None:
        return self.scale

    def derive(
        self, responses: pl.DataFrame, scores: Mapping[str, np.ndarray], verifiers: Mapping[str, Verifier]
    ) -> np.ndarray:
        where = f"verifier {self.called}"
        if COLUMN not in responses.columns or responses[COLUMN].null_count() == responses.height:
            raise ExperimentError(
                where,
                "the responses carry no recorded scores",
                field="verifiers",
                remedy="recorded verifiers need the replay engine and a file with a `scores` column",
            )
        rows = [json.loads(text) if text is not None else {} for text in responses[COLUMN]]
        values = [row.get(self.column) for row in rows]
        if all(value is None for value in values):
            names = sorted({name for row in rows for name in row})
            raise ExperimentError(
                where,
                f"no response has a score {self.column!r} (there are: {', '.join(names) or 'none'})",
                field="verifiers",
                remedy="name one of the numeric columns under `scores` of the replayed file",
            )
        return np.array([np.nan if value is None else _number(value, where, self.column) for value in values])


def _number(value: Any, where: str, column: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExperimentError(
            where, f"expected a number, got {value!r}", field=f"scores.{column}", remedy="correct the replayed file"
        )
    return float(value) if np.isfinite(value) else np.nan
