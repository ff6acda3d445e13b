"""A reward model: a sequence classifier with one output, such as those of RewardBench."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Literal

from pydantic import Field

from ops.evaluation.judges.base import Judge


class RewardModel(Judge):
    """A checkpoint of ``AutoModelForSequenceClassification`` with one label, read with its own chat template.

    P(model's response wins) = sigmoid((r - r_reference) / ``scale``); with ``estimand: accuracy`` the reward itself.
    Equal responses are a tie and are not read. ``max_tokens``: of question and response; longer ones are an error, as
    a reward of half a response is none.
    """

    name: Literal["reward_model"] = "reward_model"
    path: str
    scale: float = Field(1.0, gt=0.0)
    max_tokens: int = Field(4096, ge=8)
    batch_size: int = Field(8, ge=1)
    version: ClassVar[str] = "1"
    can_learn: ClassVar[bool] = True

    @property
    def called(self) -> str:
        return self.label or f"{self.name}@{self.path.rstrip('/').rpartition('/')[2] or self.path}"

    @staticmethod
    def text_id(question: str, response: str) -> str:
        """Identity of one reward: the texts decide it, so equal ones are read once. 32 hexadecimal characters."""
        return hashlib.blake2b(f"{question}\0{response}".encode(), digest_size=16).hexdigest()

    def identity(self) -> dict[str, Any]:
        return self.model_dump(exclude={"label", "path", "batch_size"})

    def single_identity(self) -> dict[str, Any]:
        return {"name": self.name}
