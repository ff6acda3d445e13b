"""When what 2509.06941 says of diversity holds here: the decision rules, in one place (docs/studies.md has the words).

The paper states no such rules: every threshold below is a convention of this project. As in ``ops.study_findings`` an
outcome is ``holds`` or ``does not hold`` only where a whole interval over problems lies on one side; everything else,
undefined numbers included, is ``undecided``. Intervals say nothing of other seeds: the standard error over seeds
stands beside them in the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

from ops.study_findings import FAILS, HOLDS, UNDECIDED, Outcome, above, below
from ops.types import Interval

PASS_AT_1_TOLERANCE = 0.02
"""A loss of pass@1 (two percentage points) below which an arm is said to lose nothing."""


def loses_diversity(change: Interval) -> Outcome:
    """7a: pass@k of the trained policy at the largest k, minus the base model's, lies below 0."""
    return below(change)


def wins_it_back(difference: Interval) -> Outcome:
    """7b: an arm's pass@k at the largest k, minus the reference arm's, lies above 0."""
    return above(difference)


def keeps_accuracy(difference: Interval) -> Outcome:
    """7c: an arm's pass@1 is not lower than the reference arm's.

    Does not hold where the whole interval of the difference lies below 0, however small the loss is. Holds where it
    does not, and no loss of ``PASS_AT_1_TOLERANCE`` or more lies within it.
    """
    if below(difference) == HOLDS:
        return FAILS
    return HOLDS if above(difference, -PASS_AT_1_TOLERANCE) == HOLDS else UNDECIDED


def transfers_to_unsolved(by_seed: Sequence[Interval]) -> Outcome:
    """7d: distinct answers to unsolved questions, policy minus base model at the same number of responses, below 0.

    Which questions are unsolved differs from seed to seed, so there is no interval over all of them. Holds where the
    interval of every seed lies below 0, does not where that of every seed lies at or above 0.
    """
    outcomes = {below(item) for item in by_seed}
    return outcomes.pop() if len(outcomes) == 1 else UNDECIDED
