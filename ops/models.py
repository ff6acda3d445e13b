"""The models that an experiment may name: one it samples from, and those that verify for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ops.builtin.sizes import RECIPES, SIZES
from ops.errors import ModelError
from ops.variants import Seed, Strict


class BuiltinModel(Strict):
    """A tiny decoder that the lab pretrains itself: a model organism whose verifying was taught with gold labels."""

    kind: Literal["builtin"]
    recipe: str = "countdown"
    size: str = "s"
    steps: int = Field(2100, ge=1, le=1_000_000)
    batch_size: int = Field(64, ge=1, le=4096)
    seed: Seed = 0

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, value: str) -> str:
        if value not in RECIPES:
            raise ValueError(f"one of {', '.join(RECIPES)}")
        return value

    @field_validator("size")
    @classmethod
    def _known_size(cls, value: str) -> str:
        if value not in SIZES:
            raise ValueError(f"one of {', '.join(SIZES)}")
        return value

    @property
    def shown(self) -> str:
        """What tables and figures call it."""
        return f"{self.recipe}/{self.size}"


class FolderModel(Strict):
    """A Hugging Face checkpoint folder on disk (config.json, *.safetensors, tokenizer)."""

    kind: Literal["folder"]
    path: str
    prompts: Literal["auto", "chat", "few_shot"] = "auto"

    @property
    def shown(self) -> str:
        """What tables and figures call it: the folder's own name."""
        return self.path.rstrip("/").rpartition("/")[2] or self.path


class HubModel(Strict):
    """A Hugging Face hub id; needs the hub, or a cache that already holds the revision."""

    kind: Literal["hub"]
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = "main"
    prompts: Literal["auto", "chat", "few_shot"] = "auto"

    @property
    def shown(self) -> str:
        """What tables and figures call it."""
        return self.id if self.revision == "main" else f"{self.id}@{self.revision}"


class RecordedModel(Strict):
    """A model of which only recorded responses are at hand: it can be measured, not asked."""

    kind: Literal["recorded"]
    label: str = Field("recorded", min_length=1, max_length=100)

    @property
    def shown(self) -> str:
        """What tables and figures call it."""
        return self.label


def askable(model: BuiltinModel | FolderModel | HubModel | RecordedModel) -> BuiltinModel | FolderModel | HubModel:
    """The model, if it can be loaded and asked.

    Raises:
        ModelError: for one of which there are recorded responses only.
    """
    if isinstance(model, RecordedModel):
        raise ModelError(
            f"model {model.label}",
            "there are only recorded responses of it, so it cannot be asked",
            field="model",
            remedy="give the verifier a model of its own, or name the checkpoint under model",
        )
    return model


AskableModel = BuiltinModel | FolderModel | HubModel
"""Models that can be loaded and asked."""

Askable = Annotated[AskableModel, Field(discriminator="kind")]
