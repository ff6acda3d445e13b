"""Engines by name: one file each, one line here. Settings of an engine never enter a fingerprint."""

from ops.engines.transformers_settings import TransformersEngineSettings

ENGINES = {
    "transformers": TransformersEngineSettings,
}
