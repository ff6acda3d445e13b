"""The models that an experiment may name: one it samples from, and those that verify for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

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


class RegistryModel(Strict):
    """A model of the MLflow registry, such as those that fine-tuning registers here: a version, an alias or the latest.

    Its identity is the content of the folder that the registry names, as for ``FolderModel``.
    """

    kind: Literal["registry"]
    name: str = Field(min_length=1)
    version: int | None = Field(None, ge=1)
    alias: str | None = None
    prompts: Literal["auto", "chat", "few_shot"] = "auto"

    @model_validator(mode="after")
    def _one_of_two(self) -> RegistryModel:
        if self.version is not None and self.alias is not None:
            raise ValueError("alias: a version or an alias, got both")
        return self

    @property
    def shown(self) -> str:
        """What tables and figures call it, as the file does: labels of verifiers are made of it before it is found."""
        return f"{self.name}:{f'v{self.version}' if self.version is not None else self.alias or 'latest'}"


class FoundModel(RegistryModel, FolderModel):
    """A registry model as an experiment holds it: with the version that answered and its folder.

    ``floats``: the file names no version, so another one may answer tomorrow.
    """

    kind: Literal["registry"]  # type: ignore[assignment]
    path: str
    floats: bool = False

    @property
    def shown(self) -> str:
        """As ``RegistryModel``: the version that answered is in the registered configuration."""
        return f"{self.name}:{(self.alias or 'latest') if self.floats else f'v{self.version}'}"


class RecordedModel(Strict):
    """A model of which only recorded responses are at hand: it can be measured, not asked."""

    kind: Literal["recorded"]
    label: str = Field("recorded", min_length=1, max_length=100)

    @property
    def shown(self) -> str:
        """What tables and figures call it."""
        return self.label


def askable(model: AskableModel | RecordedModel) -> AskableModel:
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


AskableModel = BuiltinModel | FolderModel | HubModel | RegistryModel
"""Models that can be loaded and asked."""

Askable = Annotated[AskableModel, Field(discriminator="kind")]
