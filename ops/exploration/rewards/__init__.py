"""Rewards by name."""

from typing import Any

from ops.exploration.rewards.verifiable import Verifiable

REWARDS: dict[str, Any] = {
    "verifiable": Verifiable,
}
