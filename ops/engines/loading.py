"""Engines that run a model, by name: one file each, one line here."""

from __future__ import annotations

from typing import Any

from ops.engines.transformers_settings import TransformersEngineSettings

LOADING: dict[str, Any] = {
    "transformers": TransformersEngineSettings,
}
