"""Advantages by name."""

from typing import Any

from ops.exploration.advantages.group_normalised import GroupNormalised
from ops.exploration.advantages.mean_only import MeanOnly
from ops.exploration.advantages.pass_at_k import PassAtK
from ops.exploration.advantages.weighted import Weighted

ADVANTAGES: dict[str, Any] = {
    "group_normalised": GroupNormalised,
    "mean_only": MeanOnly,
    "pass_at_k": PassAtK,
    "weighted": Weighted,
}
