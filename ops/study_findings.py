"""When a finding of 2412.02674 holds here: the decision rules, in one place (docs/studies.md says them in words).

The paper states its findings without such rules: every threshold below is a convention of this project. An outcome is
``holds`` or ``does not hold`` only where an interval over problems (95 % unless the study says otherwise) excludes the
opposite; everything else, undefined numbers included, is ``undecided``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ops.types import Interval

Outcome = Literal["holds", "does not hold", "undecided"]
HOLDS: Outcome = "holds"
FAILS: Outcome = "does not hold"
UNDECIDED: Outcome = "undecided"

LINEAR_R_SQUARED = 0.8
"""R² from which on a rise is called about linear."""
TOLERANCE = 0.01
"""Loss in gap (one percentage point of accuracy) below which a threshold is said to carry over."""
LOW_CORRELATION = 0.5
"""Pearson correlation below which two mechanisms are said to correlate little."""
MODELS_FOR_A_LINE = 3
ROUNDING = 1e-9
"""Differences of sums of the same numbers in another order."""


def above(item: Interval, limit: float = 0.0) -> Outcome:
    """Holds where the whole interval lies above ``limit``, does not where it lies at or below it.

    Undecided where every resample is exactly ``limit``: then nothing varied (no response was right, say).
    """
    if item.low > limit + ROUNDING:
        return HOLDS
    return FAILS if item.high <= limit + ROUNDING and item.low < limit - ROUNDING else UNDECIDED


def below(item: Interval, limit: float = 0.0) -> Outcome:
    """Holds where the whole interval lies below ``limit``, does not where it lies at or above it; as ``above``."""
    if item.high < limit - ROUNDING:
        return HOLDS
    return FAILS if item.low >= limit - ROUNDING and item.high > limit + ROUNDING else UNDECIDED


def rises_linearly(slope: Interval, slope_t: Interval, r_squared: Interval, n_models: int) -> Outcome:
    """1a: the relative gap of score CoT is about linear in log10 FLOPs within a family.

    Holds: both intervals of the slope (over problems, and the t interval of the residuals) lie above 0 and R² is at
    least ``LINEAR_R_SQUARED``. Does not hold: the slope's interval over problems lies at or below 0, or the whole
    interval of R² lies below ``LINEAR_R_SQUARED``. Undecided with fewer than three models.
    """
    if n_models < MODELS_FOR_A_LINE:
        return UNDECIDED
    if above(slope) == FAILS or r_squared.high < LINEAR_R_SQUARED:
        return FAILS
    if slope.low > 0.0 and slope_t.low > 0.0 and r_squared.value >= LINEAR_R_SQUARED:
        return HOLDS
    return UNDECIDED


def opposite(outcome: Outcome) -> Outcome:
    """1b: the absolute gap is *not* linear holds exactly where ``rises_linearly`` of the absolute gap does not."""
    return {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}[outcome]


def rises_with_threshold(slope: Interval, fall: Interval) -> Outcome:
    """3b: the gap of score CoT rises with the threshold.

    ``slope``: least squares over the grid of thresholds. ``fall``: the gap at its highest place, chosen on the train
    problems, minus that at the highest threshold, both on the evaluation problems. Holds: the slope's interval lies
    above 0 and the fall's does not lie above 0. Does not hold: the slope's lies at or below 0, or the fall's above 0.
    """
    if above(slope) == FAILS or fall.low > ROUNDING:
        return FAILS
    return HOLDS if above(slope) == HOLDS and fall.low <= ROUNDING else UNDECIDED


def beats_its_members(differences: Sequence[Interval]) -> Outcome:
    """4a: an AND has a larger gap than each of its members (paired differences, AND minus member).

    Holds: every difference's interval lies above 0. Does not hold: some difference's lies below 0. Undecided: the rest.
    """
    if any(below(item) == HOLDS for item in differences):
        return FAILS
    return HOLDS if differences and all(above(item) == HOLDS for item in differences) else UNDECIDED
