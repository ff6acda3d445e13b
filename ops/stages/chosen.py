"""Where responses come from and what the filter keeps, where an experiment leaves that to a pilot of each iteration."""

from __future__ import annotations

from dataclasses import dataclass

from ops.lab import Lab
from ops.plan import asset_name
from ops.selection.base import Filter
from ops.types import Split

CHOSEN = "chosen training filter"
"""The ``rule`` of what compares or joins iterations whose training filters have different thresholds."""


@dataclass(frozen=True)
class Source:
    """A pool of single samples, and the temperature at which they are drawn.

    Attributes:
        pool: its fingerprint.
    """

    pool: str
    temperature: float


@dataclass(frozen=True)
class Choice:
    """One row of ``sampling_choices``: the chosen one.

    Attributes:
        threshold: of the training filter; None where it has none.
        balance_score: mean over the pilot's problems.
    """

    temperature: float
    threshold: float | None
    rule: str
    balance_score: float


def choice_of(lab: Lab, iteration: int) -> Choice:
    """What the pilot of an iteration chose.

    Raises:
        StorageError: where no pilot has been there yet.
    """
    fingerprint = lab.plan.fingerprints[asset_name("sampling_choices", iteration)]
    columns = ["temperature", "threshold", "rule", "balance_score", "chosen"]
    frame = lab.store.read("sampling_choices", fingerprint, columns)
    row = frame.filter(frame["chosen"]).drop("chosen").row(0, named=True)
    return Choice(**row)


def source_of(lab: Lab, iteration: int, split: Split) -> Source:
    """What an iteration draws a split's responses from.

    Training responses follow the pilot, where there is one; evaluation responses are always drawn at
    ``sampling.temperature``, so that iterations and experiments can be compared.

    Raises:
        StorageError: where there is to be a pilot and none has been there yet.
    """
    if lab.experiment.adapt is None or split == "eval":
        return Source(lab.plan.sample_pools[iteration], lab.experiment.sampling.temperature)
    return pilot_sources(lab, iteration)[choice_of(lab, iteration).temperature]


def pilot_sources(lab: Lab, iteration: int) -> dict[float, Source]:
    """What the pilot of an iteration draws from, by temperature, in the order of preference."""
    return {value: Source(pool, value) for value, pool in lab.plan.pilot_pools[iteration].items()}


def training_filter(lab: Lab, iteration: int) -> Filter:
    """The filter that decides what the next model is trained on: the experiment's, with the threshold chosen for it.

    Raises:
        StorageError: where there is to be a pilot and none has been there yet.
    """
    item, adapt = lab.experiment.filter, lab.experiment.adapt
    if adapt is None or not adapt.thresholds:
        return item
    rule = choice_of(lab, iteration).rule
    return next(one for one in adapt.filters(item) if one.label == rule)


def measured_filters(lab: Lab, iteration: int) -> tuple[Filter, ...]:
    """Filters whose gap is measured at an iteration: the experiment's, and where a pilot chooses the threshold the
    training filter with the one that it chose.

    Raises:
        StorageError: where there is to be a pilot and none has been there yet.
    """
    found = lab.experiment.measured_filters()
    if not lab.experiment.chooses_threshold:
        return found
    item = training_filter(lab, iteration)
    return found if item in found else (*found, item)


def filters_over_iterations(lab: Lab, iteration: int) -> dict[str, Filter]:
    """Filters whose gaps make a curve over the iterations, by what the curve is called: the experiment's by their
    labels, and ``CHOSEN`` where a pilot chooses the threshold.

    Raises:
        StorageError: where there is to be a pilot and none has been there yet.
    """
    found: dict[str, Filter] = {item.label: item for item in lab.experiment.measured_filters()}
    return found | ({CHOSEN: training_filter(lab, iteration)} if lab.experiment.chooses_threshold else {})
