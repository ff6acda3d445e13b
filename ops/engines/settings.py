"""What the settings of every engine say of it, before anything is loaded."""

from __future__ import annotations

import abc
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar

from ops.engines.base import Engine, PolicyEngine
from ops.errors import EngineError
from ops.progress import Progress, silent
from ops.variants import Strict

LOADING_PROGRESS: ContextVar[Progress] = ContextVar("LOADING_PROGRESS", default=silent)
"""Where an engine that takes minutes to load may say how far it is."""


class EngineSettings(Strict, abc.ABC):
    """Base of engine settings. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    None of them is part of a fingerprint: what an engine samples does not depend on how it is run, but for rounding.
    The engine's name and version are recorded with every response.
    """

    name: str
    replays: ClassVar[bool] = False
    """Whether responses come from a file instead of a model."""

    @property
    def loads_checkpoints(self) -> bool:
        """Whether it can load any checkpoint, also one that the lab has trained; False: a server has its one model."""
        return True

    @property
    def reads_choices(self) -> bool:
        """Whether it gives ``choice_logprobs``, which need log-probabilities of the next token."""
        return True

    @property
    def reads_distributions(self) -> bool:
        """Whether it gives ``token_statistics``, which need the model's whole next-token distributions."""
        return False

    @property
    def trains_policies(self) -> bool:
        """Whether it draws from a model in training, taking its weights after every step (``policy``)."""
        return False

    def policy(self, model: Any, tokenizer: Any, model_path: Path) -> PolicyEngine:
        """An engine that draws from ``model``, which is being trained in this process.

        Args:
            model: a transformers model.
            model_path: a checkpoint folder of the same architecture and tokenizer, for what is not in memory.

        Raises:
            EngineError: when the engine has no such way, is not installed, or cannot run the model.
        """
        raise EngineError(
            f"engine {self.name}", "does not draw from a model in training", remedy="take engine transformers or vllm"
        )

    @abc.abstractmethod
    def load(self, model_path: Path) -> Engine:
        """Load the checkpoint in ``model_path``.

        Raises:
            ModelError: when the folder is not a checkpoint that loads safely.
            EngineError: when the engine is not installed or the device is not there.
        """

    def release(self, *, wait: bool = True) -> None:
        """Give back what stays loaded outside this process after ``Engine.close``; most engines leave nothing.

        Called before training, which needs the memory, and at the end of a run; no engine of this process is open.

        Args:
            wait: until no other process uses it; False: leave it to them.

        Raises:
            EngineError: when it stays in use or cannot be ended.
        """
