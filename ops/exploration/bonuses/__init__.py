"""Bonuses by name."""

from typing import Any

from ops.exploration.bonuses.none import NoBonus

BONUSES: dict[str, Any] = {
    "none": NoBonus,
}
