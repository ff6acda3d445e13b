"""Per-problem quantile: w = 1[s >= the q-quantile of that problem's own scores] (2412.02674 §2)."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.selection.base import Filter


class Quantile(Filter):
    """Keep each problem's responses at or above the ``q``-quantile of its parseable scores.

    The quantile is the lower order statistic (``method='lower'``), so at least one response of
    every problem with a parseable score is kept and ties at the quantile are all kept.
    """

    name: Literal["quantile"] = "quantile"
    verifier: str
    q: float = Field(ge=0.0, lt=1.0)
    version: ClassVar[str] = "1"

    @property
    def verifier_name(self) -> str:
        return self.verifier

    @property
    def threshold_value(self) -> float:
        return self.q

    @property
    def label(self) -> str:
        with localcontext(prec=400):  # exact, in decimals: 100 * (1 - 0.8) is not 20 in binary
            percent = (100 * (1 - Decimal(repr(self.q)))).normalize()
        return f"{self.verifier} top {percent:f} %"

    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        kept = np.zeros(len(score))
        order = np.lexsort((score, problem_index))  # NaN sorts last within each problem
        starts = np.flatnonzero(np.r_[True, np.diff(problem_index[order]) != 0]) if len(order) else np.array([], int)
        for start, stop in zip(starts, np.r_[starts[1:], len(order)], strict=True):
            group = order[start:stop]
            group = group[~np.isnan(score[group])]
            if len(group):
                cut = score[group[int(np.floor(self.q * (len(group) - 1)))]]
                kept[group[score[group] >= cut]] = 1.0
        return kept
