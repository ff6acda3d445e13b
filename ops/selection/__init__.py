"""Filters by name: one file each, one line here."""

from ops.selection.gold import Gold
from ops.selection.no_filter import NoFilter
from ops.selection.quantile import Quantile
from ops.selection.threshold import Threshold

FILTERS = {
    "threshold": Threshold,
    "quantile": Quantile,
    "gold": Gold,
    "none": NoFilter,
}
