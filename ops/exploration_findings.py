"""When what 2509.06941 says of diversity holds here: the decision rules, in one place (docs/studies.md has the words).

The paper states no such rules: every threshold below is a convention of this project. A statement is about an arm, not
about the trainings that happened to be run. An interval over problems holds the trainings fixed and one over seeds the
problems, so both have to say the same: ``holds`` and ``does not hold`` need both on one side. Everything else,
undefined numbers and a single seed included, is ``undecided``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ops.study_findings import FAILS, HOLDS, ROUNDING, UNDECIDED, Outcome
from ops.types import Interval

PASS_AT_1_TOLERANCE = 0.02
"""A loss of pass@1 (two percentage points) below which an arm is said to lose nothing."""
SEEDS_NEEDED = 2
"""Trainings of each arm without which nothing is said of the arm."""
QUESTIONS_NEEDED = 10
"""Unsolved questions of every seed without which nothing is said of them: below it the bootstrap is too narrow."""


class Both(NamedTuple):
    """A difference with both of its intervals.

    Attributes:
        problems: resamples problems, with these trainings.
        seeds: of ``seed_interval``: other trainings, with these problems; undefined with one seed.
    """

    problems: Interval
    seeds: Interval


def seed_interval(values: Sequence[float], confidence: float) -> Interval:
    """t interval of the mean of the seeds' paired differences, with n - 1 degrees of freedom; NaN with one seed."""
    n = len(values)
    if n < SEEDS_NEEDED:
        return Interval(float(values[0]) if n else math.nan, math.nan, math.nan)
    from scipy.stats import t  # type: ignore[import-untyped]

    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n)
    width = float(t.ppf(0.5 + confidence / 2, n - 1)) * error
    return Interval(mean, mean - width, mean + width)


def side(item: Both, limit: float = 0.0) -> int:
    """1 where both intervals lie strictly above ``limit``, -1 where both lie strictly below it, else 0."""
    if all(part.low > limit + ROUNDING for part in item):
        return 1
    return -1 if all(part.high < limit - ROUNDING for part in item) else 0


def loses_diversity(change: Both) -> Outcome:
    """7a: pass@k of the trained policy at the largest k, minus the base model's, lies below 0."""
    return {-1: HOLDS, 0: UNDECIDED, 1: FAILS}[side(change)]


def lies_above(difference: Both) -> Outcome:
    """7b: an arm's pass@k at the largest k, minus the reference arm's, lies above 0."""
    return {1: HOLDS, 0: UNDECIDED, -1: FAILS}[side(difference)]


def keeps_accuracy(difference: Both) -> Outcome:
    """7c: an arm's pass@1 is not lower than the reference arm's.

    Does not hold where both intervals of the difference lie below 0, however small the loss is. Holds where neither
    does, and no loss of ``PASS_AT_1_TOLERANCE`` or more lies within one of them.
    """
    if side(difference) < 0:
        return FAILS
    is_lower = any(part.high < -ROUNDING for part in difference)
    return HOLDS if side(difference, -PASS_AT_1_TOLERANCE) > 0 and not is_lower else UNDECIDED


def transfers_to_unsolved(by_seed: Sequence[Interval], seeds: Interval) -> Outcome:
    """7d: distinct answers to unsolved questions, policy minus base model at the same number of responses, below 0.

    Which questions are unsolved differs from seed to seed, so there is no interval over all of them. Holds where the
    interval of every seed and the one over seeds lie strictly below 0, does not where all lie strictly above. Whether
    there are seeds and questions enough is for the caller to say (``SEEDS_NEEDED``, ``QUESTIONS_NEEDED``).
    """
    sides = {side(Both(item, seeds)) for item in by_seed}
    return {-1: HOLDS, 0: UNDECIDED, 1: FAILS}[sides.pop()] if len(sides) == 1 else UNDECIDED
