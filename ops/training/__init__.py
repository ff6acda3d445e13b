"""Training methods by name: one file each, one line here."""

from ops.training.dpo_settings import Dpo
from ops.training.sft_settings import FilteredSft

METHODS = {
    "sft": FilteredSft,
    "dpo": Dpo,
}
