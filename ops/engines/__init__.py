"""Engines by name: those that run a model, and the one that replays recorded responses."""

from typing import Any

from ops.engines.loading import LOADING
from ops.engines.replay import ReplaySettings

ENGINES: dict[str, Any] = {**LOADING, "replay": ReplaySettings}
