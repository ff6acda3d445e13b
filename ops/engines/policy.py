"""Drawing from a transformers model while it is trained: the engine runs the very model, without a copy."""

from __future__ import annotations

from typing import Any

from ops.engines.base import Engine
from ops.engines.transformers_engine import TransformersEngine
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.errors import EngineError


class TransformersPolicy:
    """A ``PolicyEngine`` on the model in training itself: nothing is handed over, nothing is held twice.

    The model runs as it is, in its own dtype and on its own device; ``dtype`` and ``device`` of the settings are for
    checkpoints that the engine loads itself.
    """

    holds_a_copy = False

    def __init__(self, model: Any, tokenizer: Any, settings: TransformersEngineSettings) -> None:
        self._engine = TransformersEngine.from_model(model, tokenizer, settings)
        self.engine: Engine = self._engine

    def update(self, model: Any) -> float:
        """Nothing to hand over: 0 seconds.

        Raises:
            EngineError: when ``model`` is another one.
        """
        if model is not self._engine.model:
            raise EngineError(
                "engine transformers",
                "draws from the model that it was made with, and was given another",
                remedy="give update() the model that policy() was given",
            )
        return 0.0

    def close(self) -> None:
        """Let go of the model; whoever trains it keeps it."""
        self.engine.close()
