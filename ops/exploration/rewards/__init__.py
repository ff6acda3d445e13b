"""Rewards by name."""

from typing import Any

from ops.exploration.rewards.darling import Darling
from ops.exploration.rewards.unlikeliness import Unlikeliness
from ops.exploration.rewards.verifiable import Verifiable

REWARDS: dict[str, Any] = {
    "verifiable": Verifiable,
    "unlikeliness": Unlikeliness,
    "darling": Darling,
}
