"""Engines by name: one file each, one line here."""

from ops.engines.replay import ReplaySettings
from ops.engines.transformers_settings import TransformersEngineSettings

ENGINES = {
    "transformers": TransformersEngineSettings,
    "replay": ReplaySettings,
}
