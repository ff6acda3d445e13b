"""Bonuses by name."""

from typing import Any

from ops.exploration.bonuses.batch import Batch
from ops.exploration.bonuses.entropy import Entropy
from ops.exploration.bonuses.none import NoBonus
from ops.exploration.bonuses.ucb import Ucb
from ops.exploration.bonuses.ucb_con import UcbCon
from ops.exploration.bonuses.ucb_mean import UcbMean

BONUSES: dict[str, Any] = {
    "none": NoBonus,
    "entropy": Entropy,
    "ucb": Ucb,
    "ucb_mean": UcbMean,
    "ucb_con": UcbCon,
    "batch": Batch,
}
