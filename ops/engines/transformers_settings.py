"""Settings of the transformers engine; loading it imports torch, reading the settings does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ops.engines.base import Engine, PolicyEngine
from ops.engines.settings import EngineSettings


class TransformersEngineSettings(EngineSettings):
    """The embedded engine: any CPU or GPU that torch sees.

    ``batch_size`` counts sequences in flight, at most: it is halved where memory runs out. ``threads`` None takes all
    cores torch sees.
    """

    name: Literal["transformers"] = "transformers"
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: int = Field(2048, ge=1, le=65536)
    threads: int | None = Field(None, ge=1)

    @property
    def reads_distributions(self) -> bool:
        return True

    @property
    def trains_policies(self) -> bool:
        return True

    def load(self, model_path: Path) -> Engine:
        from ops.engines.transformers_engine import TransformersEngine

        return TransformersEngine(model_path, self)

    def policy(self, model: Any, tokenizer: Any, model_path: Path) -> PolicyEngine:
        """See ``EngineSettings.policy``: the model itself is drawn from, in its own dtype and on its own device."""
        from ops.engines.policy import TransformersPolicy

        return TransformersPolicy(model, tokenizer, self)
