"""Filters by name: one file each, one line here."""

from ops.selection.conjunction import And
from ops.selection.gold import Gold
from ops.selection.kl import Kl
from ops.selection.no_filter import NoFilter
from ops.selection.quantile import Quantile
from ops.selection.threshold import Threshold
from ops.selection.top_n import TopN

FILTERS = {
    "threshold": Threshold,
    "quantile": Quantile,
    "top_n": TopN,
    "kl": Kl,
    "and": And,
    "gold": Gold,
    "none": NoFilter,
}
