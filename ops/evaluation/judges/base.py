"""What a judge is: a synthetic judgement of every pair, cheap enough to have for all of them.

A judge need not be right: control variates only use how much it varies with the human labels, and a useless one costs
next to nothing (about one label, and its own price; arXiv 2502.10563 §3). With ``estimand: accuracy`` a judge says of
one response how likely it is correct.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal

from pydantic import Field

from ops.models import Askable
from ops.variants import Strict
from ops.verifiers.base import LABEL_PATTERN

Estimand = Literal["win_rate", "accuracy"]


class Judge(Strict, abc.ABC):
    """Base of judges. Subclasses add ``name: Literal[...]`` and their parameters as fields.

    ``label`` is what tables and figures call it; by default its name, and ``name@model`` where it asks a model of its
    own.
    """

    name: str
    label: str | None = Field(None, pattern=LABEL_PATTERN)
    version: ClassVar[str]
    estimands: ClassVar[tuple[Estimand, ...]] = ("win_rate", "accuracy")
    """What it can judge."""
    learns: ClassVar[bool] = False
    """Whether it is fine-tuned on human labels (of other models than the one that it then judges)."""

    @property
    def called(self) -> str:
        """The label, or its default."""
        return self.label or self.name

    def identity(self) -> dict[str, Any]:
        """The fields that define a judgement, for fingerprints: not what it is called, nor whom it asks."""
        return self.model_dump(exclude={"label", "model"})

    def single_identity(self) -> dict[str, Any]:
        """Of ``identity`` what decides a single judgement in its pool: not what turns several into one."""
        return self.identity()


class ModelJudge(Judge):
    """A judge that asks a model: ``model``, or where that is left out the reference model itself."""

    model: Askable | None = None

    @property
    def called(self) -> str:
        return self.label or (self.name if self.model is None else f"{self.name}@{self.model.shown}")
