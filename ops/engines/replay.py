"""The replay engine: responses that were sampled elsewhere, read from a file instead of a model."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ops.engines.base import Engine
from ops.engines.loading import LOADING
from ops.engines.settings import EngineSettings
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.variants import union


class ReplaySettings(EngineSettings):
    """Responses from a JSONL or Parquet file, one row each (docs/replay.md); graded and measured as if sampled here."""

    name: Literal["replay"]
    path: str
    train_fraction: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the problems, by a hash of their id, on which thresholds are chosen; the others are evaluated."""
    max_response_bytes: int = Field(65_536, ge=1, le=900_000)
    """Of one response; a line of JSONL holds at most a megabyte in all."""
    verifying: union(LOADING) = TransformersEngineSettings()  # type: ignore[valid-type]
    """What runs the models of verifiers."""
    replays: ClassVar[bool] = True

    @property
    def loads_checkpoints(self) -> bool:
        return self.verifying.loads_checkpoints

    @property
    def reads_choices(self) -> bool:
        return self.verifying.reads_choices

    @property
    def reads_distributions(self) -> bool:
        return self.verifying.reads_distributions

    def load(self, model_path: Path) -> Engine:
        """Load the checkpoint of a verifier; the responses themselves need no engine."""
        return self.verifying.load(model_path)

    def release(self, *, wait: bool = True) -> None:
        """As that of the verifiers' engine."""
        self.verifying.release(wait=wait)
