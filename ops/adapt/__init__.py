"""Ways of adapting an iteration's sampling and selection to its model, by name: one file each, one line here."""

from ops.adapt.balance import Balance

ADAPTATIONS = {
    "balance": Balance,
}
