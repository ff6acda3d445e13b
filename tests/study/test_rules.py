"""The decision rules: every outcome of every finding can be reached."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ops.estimation.bootstrap import resample_counts
from ops.stages.study_agreement import pearson
from ops.study_findings import (
    FAILS,
    HOLDS,
    UNDECIDED,
    above,
    beats_its_members,
    below,
    opposite,
    rises_linearly,
    rises_with_threshold,
)
from ops.types import Interval


def around(value: float, half: float = 0.05) -> Interval:
    return Interval(value, value - half, value + half)


NAN = Interval(math.nan, math.nan, math.nan)
NOTHING_VARIED = Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("item", "limit", "is_above", "is_below"),
    [
        (around(0.1), 0.0, HOLDS, FAILS),
        (around(-0.1), 0.0, FAILS, HOLDS),
        (around(0.0), 0.0, UNDECIDED, UNDECIDED),
        (around(0.1), 0.01, HOLDS, FAILS),
        (NOTHING_VARIED, 0.01, FAILS, HOLDS),
        (NOTHING_VARIED, 0.0, UNDECIDED, UNDECIDED),
        (NAN, 0.0, UNDECIDED, UNDECIDED),
    ],
)
def test_signs(item, limit, is_above, is_below):
    assert (above(item, limit), below(item, limit)) == (is_above, is_below)


@pytest.mark.parametrize(
    ("slope", "slope_t", "r_squared", "n_models", "outcome"),
    [
        (around(0.2), around(0.2, 0.1), around(0.9), 4, HOLDS),
        (around(0.2), around(0.2, 0.3), around(0.9), 4, UNDECIDED),  # models scatter too much
        (around(0.2), around(0.2, 0.1), Interval(0.75, 0.6, 0.9), 4, UNDECIDED),
        (around(0.2), around(0.2, 0.1), Interval(0.5, 0.3, 0.7), 4, FAILS),  # rises, but on no line
        (around(-0.2), around(-0.2), around(0.9), 4, FAILS),
        (around(0.0), around(0.0), Interval(0.4, 0.0, 0.9), 4, UNDECIDED),
        (around(0.2), around(0.2, 0.1), around(0.9), 2, UNDECIDED),
        (NAN, NAN, NAN, 4, UNDECIDED),
    ],
)
def test_about_linear(slope, slope_t, r_squared, n_models, outcome):
    assert rises_linearly(slope, slope_t, r_squared, n_models) == outcome
    assert opposite(outcome) == {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}[outcome]


@pytest.mark.parametrize(
    ("slope", "fall", "outcome"),
    [
        (around(0.2), around(0.0), HOLDS),
        (around(0.2), NOTHING_VARIED, HOLDS),  # the highest threshold is the best
        (around(0.2), around(0.1), FAILS),  # a peak before the end
        (around(-0.2), around(0.0), FAILS),
        (around(0.0), around(0.0), UNDECIDED),
        (NAN, NAN, UNDECIDED),
    ],
)
def test_rising(slope, fall, outcome):
    assert rises_with_threshold(slope, fall) == outcome


@pytest.mark.parametrize(
    ("differences", "outcome"),
    [
        ([around(0.1), around(0.2)], HOLDS),
        ([around(0.1), around(0.0)], UNDECIDED),
        ([around(0.1), around(-0.1)], FAILS),
        ([], UNDECIDED),
        ([NAN], UNDECIDED),
    ],
)
def test_beats_its_members(differences, outcome):
    assert beats_its_members(differences) == outcome


def test_pearson_is_that_of_numpy_and_leaves_unparseable_scores_out():
    rng = np.random.default_rng(0)
    index = np.repeat(np.arange(10), 4)
    first = rng.normal(size=40)
    second = first + rng.normal(size=40)
    second[3] = np.nan
    counts = resample_counts(10, 300, 0)
    found = pearson(index, first, second, counts)
    used = ~np.isnan(second)
    assert found.value == pytest.approx(np.corrcoef(first[used], second[used])[0, 1])
    # one resample by hand: its problems' responses repeated as often as it draws them
    rows = np.repeat(np.arange(40), counts[7].astype(int)[index])
    rows = rows[used[rows]]
    assert found.draws_R[7] == pytest.approx(np.corrcoef(first[rows], second[rows])[0, 1])
    assert math.isnan(pearson(index, first, np.ones(40), counts).value)
