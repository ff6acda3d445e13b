"""Engines that run a model, by name: one file each, one line here."""

from __future__ import annotations

from typing import Any

from ops.engines.openai_settings import OpenaiSettings
from ops.engines.ray_settings import RaySettings
from ops.engines.server_settings import VllmServerSettings
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.engines.vllm_settings import VllmSettings

LOADING: dict[str, Any] = {
    "transformers": TransformersEngineSettings,
    "vllm": VllmSettings,
    "vllm_server": VllmServerSettings,
    "openai": OpenaiSettings,
    "ray": RaySettings,
}
