"""Verifiers by name: one file each, one line here."""

from ops.verifiers.binary_cot import BinaryCot
from ops.verifiers.logit import Logit

VERIFIERS = {
    "binary_cot": BinaryCot,
    "logit": Logit,
}
