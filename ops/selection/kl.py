"""KL weight: w = exp(s / beta), the policy that a KL-regularised objective would reach (2412.02674 §2)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.selection.base import Filter, shortest


class Kl(Filter):
    """Weigh each response by exp(score / ``beta``); an unparseable verdict weighs 0.

    Within a problem only ratios of weights matter, so the problem's highest score is subtracted first: the best
    response weighs 1 and nothing overflows. A response more than about 745 ``beta`` below it underflows to 0 and counts
    as not kept. The weights accept nothing and reject nothing, so precision and recall are undefined for them.
    """

    name: Literal["kl"] = "kl"
    verifier: str
    beta: float = Field(gt=0.0)
    version: ClassVar[str] = "1"
    accepts: ClassVar[bool] = False
    drops: ClassVar[bool] = False

    @property
    def verifier_name(self) -> str:
        return self.verifier

    @property
    def threshold_value(self) -> float:
        return self.beta

    @property
    def label(self) -> str:
        return f"exp({self.verifier} / {shortest(self.beta)})"

    def weights(self, problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray) -> np.ndarray:
        parseable = ~np.isnan(score)
        value = score[parseable]
        best_P = np.full(int(problem_index.max(initial=-1)) + 1, -np.inf)
        np.maximum.at(best_P, problem_index[parseable], value)
        best = best_P[problem_index[parseable]]
        weight = np.zeros(len(score))
        # Equal to the best is 1 by definition: infinite scores would subtract to NaN.
        behind = np.subtract(value, best, out=np.zeros_like(value), where=value != best)
        weight[parseable] = np.exp(behind / self.beta)
        return weight
