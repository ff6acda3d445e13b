"""Score chain-of-thought verification (2412.02674 §3): the verifier reasons, then gives a score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from ops.engines.base import Engine, SamplingSettings
from ops.prompts.base import PromptFormat, PromptKind
from ops.types import Verification
from ops.variants import Seed
from ops.verifiers.asking import ask
from ops.verifiers.base import SampledVerifier, VerificationItem

CUT = 0.8


class ScoreCot(SampledVerifier):
    """One reasoned score per response, on ``scale`` = (lowest, highest), both whole numbers.

    The paper's slide has 0-10, other material 1-10: open, so it is a parameter. Scores stay on the scale (they are not
    divided by it). One outside of the scale, or none at all, is unparseable.

    The verdict is 'correct' from ``threshold`` on; None: from 80 % of the scale on (8 of 0-10). That is our choice: the
    paper sweeps thresholds and names no default.
    """

    name: Literal["score_cot"] = "score_cot"
    scale: tuple[int, int] = (0, 10)
    threshold: float | None = None
    temperature: float = Field(1.0, ge=0.0, le=10.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(48, ge=1, le=32768)
    seed: Seed = 0
    version: ClassVar[str] = "1"
    prompt_kind: ClassVar[PromptKind] = "score_cot"

    @field_validator("scale", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("scale")
    @classmethod
    def _rising(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] >= value[1]:
            raise ValueError("[lowest, highest] with the lowest below the highest")
        return value

    @property
    def default_threshold(self) -> float:
        low, high = self.scale
        return low + CUT * (high - low) if self.threshold is None else self.threshold

    @property
    def score_range(self) -> tuple[float, float]:
        return float(self.scale[0]), float(self.scale[1])

    def verify(
        self, engine: Engine, prompts: PromptFormat, items: Sequence[VerificationItem]
    ) -> Iterator[list[tuple[int, Verification]]]:
        settings = SamplingSettings(self.temperature, self.top_p, self.max_tokens, prompts.check_stop)
        questions = [prompts.score_cot(item.problem, item.response, self.scale) for item in items]
        for group in ask(engine, questions, [item.identity for item in items], f"{self.name}:{self.seed}", settings):
            done = []
            for index, said in group:
                score = prompts.parse_score_cot(said.text, said.finish_reason == "stop", self.scale)
                done.append((index, Verification(score, self.verdict_of(score), said.text, said.n_tokens)))
            yield done
