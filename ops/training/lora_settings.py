"""Settings of low-rank adapters (LoRA, 2106.09685)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ops.variants import Strict

ALL_LINEAR = "all-linear"
"""Every linear module of the model but its output layer."""


def _names(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class Lora(Strict):
    """Train W + (alpha / rank)·B·A with W frozen; A is rank × inputs, B is outputs × rank and starts at 0 (2106.09685).

    ``target_modules``: ``all-linear``, or the last part of the names of linear modules, such as ``q_proj``.
    ``dropout``: on the inputs of A, in training only.
    """

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0.0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    target_modules: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field((ALL_LINEAR,), min_length=1)
