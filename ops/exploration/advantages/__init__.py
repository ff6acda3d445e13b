"""Advantages by name."""

from typing import Any

from ops.exploration.advantages.group_normalised import GroupNormalised

ADVANTAGES: dict[str, Any] = {
    "group_normalised": GroupNormalised,
}
