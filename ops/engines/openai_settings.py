"""Settings of the OpenAI-compatible engine; loading it imports the openai package, reading the settings does not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from ops.engines.base import Engine
from ops.engines.settings import EngineSettings


class OpenaiSettings(EngineSettings):
    """A server that speaks OpenAI's completions protocol (``vllm serve`` and the like) and has the checkpoint loaded.

    The key is read from the environment variable ``api_key_variable`` when the engine is loaded, and stands nowhere
    else. Prices are per million tokens in any currency; the cost in ``Engine.usage`` is in the same.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # somebody will paste the key itself

    name: Literal["openai"] = "openai"
    base_url: str = Field(json_schema_extra={"secret": True})
    """Up to and including the version, as clients of that protocol take it: ``http://127.0.0.1:8000/v1``."""
    model: str | None = None
    """Its name on the server; None: the only one there, if the server says what checkpoint that is."""
    served_path: str | None = None
    """What the server says it has loaded (``root`` in /v1/models), where that is not the checkpoint's path here."""
    concurrency: int = Field(256, ge=1, le=4096)
    timeout_seconds: float = Field(600.0, gt=0.0, le=86400.0)
    max_retries: int = Field(8, ge=0, le=100)
    api_key_variable: str = Field(
        "OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", json_schema_extra={"secret": True}
    )
    price_per_million_input_tokens: float | None = Field(None, ge=0.0)
    price_per_million_output_tokens: float | None = Field(None, ge=0.0)
    max_model_len: int | None = Field(None, ge=1)
    logprobs: bool = True
    """Whether log-probabilities are asked for; False for a server without them."""
    top_logprobs: int = Field(20, ge=1, le=1000)
    """Where choices are looked for on servers that are not vLLM."""

    @property
    def loads_checkpoints(self) -> bool:
        return False

    @property
    def reads_choices(self) -> bool:
        return self.logprobs

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("http:// or https:// and a host, as in http://127.0.0.1:8000/v1")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("an address without user, password, query and fragment; a key is never part of it")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _both_prices(self) -> Self:
        if (self.price_per_million_input_tokens is None) != (self.price_per_million_output_tokens is None):
            side = "input" if self.price_per_million_input_tokens is None else "output"
            raise ValueError(
                f"price_per_million_{side}_tokens: both prices or none (a cost of half the tokens is none)"
            )
        return self

    def load(self, model_path: Path) -> Engine:
        from ops.engines.openai_engine import OpenaiEngine

        return OpenaiEngine(model_path, self)
