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
"""R² from which on a line is called about linear. A lower one refutes nothing: noise of the points lowers it too."""
MATERIAL_BOW = 0.25
"""Bow of a parabola, as a share of the line's rise, beyond which its points lie on no line: there one end is flat."""
TOLERANCE = 0.01
"""Loss in gap (one percentage point of accuracy) below which a threshold is said to carry over."""
LOW_CORRELATION = 0.5
"""Pearson correlation below which two mechanisms are said to correlate little."""
MODELS_FOR_A_LINE = 3
MODELS_FOR_A_BOW = 4
"""Through three points there is always a parabola."""
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


def is_linear(slope: Interval, slope_t: Interval, r_squared: Interval, beyond: Interval, n_models: int) -> Outcome:
    """A statistic is about linear in log10 FLOPs within a family, rising or falling.

    Args:
        slope, slope_t: of the line, over problems and as the t interval of the residuals.
        beyond: how far a parabola's bow exceeds ``MATERIAL_BOW`` of the line's rise (``ops.stages.study_bow``).

    Holds: both intervals of the slope exclude 0 on the same side, R² is at least ``LINEAR_R_SQUARED`` and the interval
    of ``beyond`` does not lie above 0. Does not hold: with at least ``MODELS_FOR_A_BOW`` models the interval of
    ``beyond`` lies above 0, whatever the slope. A low R² alone decides nothing.
    """
    if n_models < MODELS_FOR_A_LINE:
        return UNDECIDED
    if n_models >= MODELS_FOR_A_BOW and beyond.low > ROUNDING:
        return FAILS
    is_sloped = any(all(decide(item) == HOLDS for item in (slope, slope_t)) for decide in (above, below))
    return HOLDS if is_sloped and r_squared.value >= LINEAR_R_SQUARED else UNDECIDED


def rises_linearly(slope: Interval, slope_t: Interval, r_squared: Interval, beyond: Interval, n_models: int) -> Outcome:
    """1a: the relative gap of score CoT is about linear in log10 FLOPs within a family, and rises.

    As ``is_linear``, and the slope's interval over problems lies above 0; where it lies at or below 0 the finding does
    not hold.
    """
    if n_models >= MODELS_FOR_A_LINE and above(slope) == FAILS:
        return FAILS
    return is_linear(slope, slope_t, r_squared, beyond, n_models)


def opposite(outcome: Outcome) -> Outcome:
    """1b: the absolute gap is *not* linear holds exactly where ``is_linear`` of it, rising or falling, does not."""
    return {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}[outcome]


def rises_with_threshold(slope: Interval, fall: Interval) -> Outcome:
    """3b: the gap of score CoT rises with the threshold.

    ``slope``: least squares over the grid of thresholds. ``fall``: the gap at its highest place, chosen on the train
    problems, minus that at the highest threshold, both on the evaluation problems. Holds: the slope's interval lies
    above 0 and the fall's does not lie above 0. Does not hold: the slope's lies at or below 0, or the fall's above 0.
    An undefined fall (no train problems to choose the peak on) leaves a rising slope undecided.
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
