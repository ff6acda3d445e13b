"""When findings 5 and 6 of 2412.02674 hold here: the decision rules, in one place (docs/studies.md says them in words).

The paper states its findings without such rules: every threshold below is a convention of this project. As in
``ops.study_findings`` an outcome is ``holds`` or ``does not hold`` only where an interval over problems excludes the
opposite; everything else, undefined numbers included, is ``undecided``. Intervals say nothing of other seeds: the
standard error over seeds stands beside them in the evidence.
"""

from __future__ import annotations

from ops.study_findings import FAILS, HOLDS, UNDECIDED, Outcome, above, below
from ops.types import Interval

NEARLY_CLOSED = 0.25
"""A gap is called about 0 where it is at most this share of the gap at iteration 0, above or below 0."""
CLOSED_BY = 3
"""The last of the iterations within which the paper sees the gap close (two to three)."""
CLOSED_FROM = 2
"""The first of them: with fewer iterations nothing is decided."""


def gap_closes(first: Interval, excess: Interval, deficit: Interval) -> Outcome:
    """5a: the gap goes to about 0, from either side.

    Args:
        first: the gap at iteration 0. Undecided unless it lies above 0: there is nothing to close otherwise.
        excess: the gap at the later iteration minus ``NEARLY_CLOSED`` of the first one, paired by problem.
        deficit: the same plus ``NEARLY_CLOSED`` of the first one.

    Holds where the whole interval of ``excess`` lies below 0 and that of ``deficit`` above; does not where ``excess``
    lies above 0 (the gap is open), or ``deficit`` below (the filter has come to choose worse than no filter).
    """
    if above(first) != HOLDS:
        return UNDECIDED
    outcomes = (below(excess), above(deficit))
    if FAILS in outcomes:
        return FAILS
    return HOLDS if outcomes == (HOLDS, HOLDS) else UNDECIDED


def curves_cross(smallest: Interval, largest: Interval) -> Outcome:
    """5b: pass@k has risen at k = 1 and fallen at the largest k (changes since iteration 0).

    Does not hold where one of the two has not: pass@1 fell or pass@k rose, with the whole interval.
    """
    outcomes = (above(smallest), below(largest))
    if FAILS in outcomes:
        return FAILS
    return HOLDS if outcomes == (HOLDS, HOLDS) else UNDECIDED


def falls(change: Interval) -> Outcome:
    """5c: pass@k at the largest k has fallen with a fixed other verifier as well."""
    return below(change)


def exceeds_the_gap(update_error: Interval) -> Outcome:
    """6a: J(f_1) > J(f_0) + gap(f_0), which is an update error below 0."""
    return below(update_error)


def learns_the_format(change: Interval) -> Outcome:
    """6b: strict accuracy has gained more than flexible accuracy (the change of strict minus flexible lies above 0)."""
    return above(change)
