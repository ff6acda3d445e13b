"""Score chain-of-thought verification (2412.02674 §3): the verifier reasons, then gives a score."""

from __future__ import annotations

from typing import ClassVar, Literal

from ops.prompts.base import PromptFormat, PromptKind
from ops.verifiers.base import Rising, VerificationItem
from ops.verifiers.writing import SampledVerifier

CUT = 0.8


class ScoreCot(SampledVerifier):
    """One reasoned score per response, on ``scale`` = (lowest, highest), both whole numbers.

    The paper's slide has 0-10, other material 1-10: open, so it is a parameter. Scores stay on the scale (they are not
    divided by it). One outside of the scale, or none at all, is unparseable.

    The verdict is 'correct' from ``threshold`` on; None: from 80 % of the scale on (8 of 0-10). That is our choice: the
    paper sweeps thresholds and names no default.
    """

    name: Literal["score_cot"] = "score_cot"
    scale: Rising[tuple[int, int]] = (0, 10)
    threshold: float | None = None
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "score_cot"

    @property
    def default_threshold(self) -> float:
        low, high = self.scale
        return low + CUT * (high - low) if self.threshold is None else self.threshold

    @property
    def score_range(self) -> tuple[float, float]:
        return float(self.scale[0]), float(self.scale[1])

    def question(self, prompts: PromptFormat, item: VerificationItem) -> str:
        return prompts.score_cot(item.problem, item.response, self.scale)

    def score_in(self, prompts: PromptFormat, transcript: str, finished: bool) -> float | None:
        return prompts.parse_score_cot(transcript, finished, self.scale)
