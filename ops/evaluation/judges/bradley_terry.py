"""A verifier's score of each response alone, turned into a preference by Bradley and Terry's model."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ops.evaluation.judges.base import ModelJudge
from ops.evaluation.rewards import log_odds
from ops.variants import union
from ops.verifiers import VERIFIERS
from ops.verifiers.base import ModelVerifier
from ops.verifiers.choices import ChoiceVerifier

SCALAR = {
    name: verifier
    for name, verifier in VERIFIERS.items()
    if issubclass(verifier, ModelVerifier) and not verifier.whole_groups
}
"""Verifiers that score a response by itself."""


class BradleyTerry(ModelJudge):
    """P(model's response wins) = sigmoid((r - r_reference) / ``scale``).

    The reward r of a response is the log-odds of its score, mapped to [0, 1] by the verifier's range and kept 1e-6 away
    from both ends; the score itself where that has no range (a log-probability, say). With ``estimand: accuracy`` the
    judgement is the score as a probability, or the score itself. Equal responses are a tie and are not asked about;
    where one of the two scores is unparseable there is no judgement.
    """

    name: Literal["bradley_terry"] = "bradley_terry"
    verifier: union(SCALAR)  # type: ignore[valid-type]
    scale: float = Field(1.0, gt=0.0)
    version: ClassVar[str] = "1"

    @property
    def can_learn(self) -> bool:
        """Whether its reward has a gradient: read off the next token's logits, not off a text that is written."""
        return isinstance(self.verifier, ChoiceVerifier)

    @property
    def called(self) -> str:
        if self.label is not None:
            return self.label
        return self.verifier.called if self.model is None else f"{self.verifier.called}@{self.model.shown}"

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "scale": self.scale, "verdict": self.verifier.verdict_fields()}

    def probabilities(self, score_N: np.ndarray) -> np.ndarray:
        """Scores float [N] of the verifier mapped to [0, 1] by its range; as they are where it has none.

        NaN (unparseable) stays NaN.
        """
        if self.verifier.score_range is None:
            return np.asarray(score_N, np.float64)
        low, high = self.verifier.score_range
        return np.clip((np.asarray(score_N, np.float64) - low) / (high - low), 0.0, 1.0)

    def rewards(self, score_N: np.ndarray) -> np.ndarray:
        """Rewards float [N]: log-odds of ``probabilities``; the scores themselves where the verifier has no range."""
        probability_N = self.probabilities(score_N)
        return probability_N if self.verifier.score_range is None else log_odds(probability_N)
