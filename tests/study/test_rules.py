"""The decision rules: every outcome of every finding can be reached."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ops.estimation.bootstrap import resample_counts
from ops.estimation.correlation import pearson_draws
from ops.estimation.scaling import ScalingPoint, fit_scaling
from ops.stages.study_bow import bow_of
from ops.study_findings import (
    FAILS,
    HOLDS,
    UNDECIDED,
    above,
    beats_its_members,
    below,
    is_linear,
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


STRAIGHT, BENT = around(-0.1), around(0.1)
"""How far the bow exceeds a quarter of the rise."""


@pytest.mark.parametrize(
    ("slope", "slope_t", "r_squared", "beyond", "n_models", "rises", "linear"),
    [
        (around(0.2), around(0.2, 0.1), around(0.9), STRAIGHT, 4, HOLDS, HOLDS),
        (around(0.2), around(0.2, 0.3), around(0.9), STRAIGHT, 4, UNDECIDED, UNDECIDED),  # models scatter too much
        (around(0.2), around(0.2, 0.1), Interval(0.75, 0.6, 0.9), STRAIGHT, 4, UNDECIDED, UNDECIDED),
        (around(0.2), around(0.2, 0.1), Interval(0.5, 0.3, 0.7), STRAIGHT, 4, UNDECIDED, UNDECIDED),  # not by R² alone
        (around(0.2), around(0.2, 0.1), around(0.9), BENT, 4, FAILS, FAILS),  # rises, but on no line
        (around(0.0), around(0.0), around(0.2), BENT, 4, FAILS, FAILS),
        (around(-0.2), around(-0.2), around(0.9), STRAIGHT, 4, FAILS, HOLDS),  # falls on a line
        (around(0.0), around(0.0), Interval(0.4, 0.0, 0.9), STRAIGHT, 4, UNDECIDED, UNDECIDED),
        (around(0.2), around(0.2, 0.1), around(0.9), BENT, 3, HOLDS, HOLDS),  # a parabola fits any three
        (around(0.2), around(0.2, 0.1), around(0.9), NAN, 3, HOLDS, HOLDS),
        (around(-0.2), around(-0.2, 0.1), around(0.9), STRAIGHT, 2, UNDECIDED, UNDECIDED),
        (NAN, NAN, NAN, NAN, 4, UNDECIDED, UNDECIDED),
    ],
)
def test_about_linear(slope, slope_t, r_squared, beyond, n_models, rises, linear):
    decided = (slope, slope_t, r_squared, beyond, n_models)
    assert (rises_linearly(*decided), is_linear(*decided)) == (rises, linear)
    assert opposite(linear) == {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}[linear]


def points_of(values, draws_RM=None) -> list[ScalingPoint]:
    """Models of 10, 100, 1000... FLOPs."""
    draws_RM = np.tile(values, (10, 1)) if draws_RM is None else draws_RM
    return [ScalingPoint(f"m{i}", "f", 10.0 ** (i + 1), float(value), draws_RM[:, i]) for i, value in enumerate(values)]


def test_the_bow_is_that_computed_by_hand():
    """x = 1..4, values x²: the parabola is x² itself; in the middle, 2.5, it is 6.25, its chord (1 + 16) / 2 = 8.5.
    The line's slope: deviations -1.5, -.5, .5, 1.5 times 1, 4, 9, 16 = 25 over 5 = 5, so it rises by 15."""
    bow = bow_of(points_of([1.0, 4.0, 9.0, 16.0]), 0.95)
    assert (bow.height.value, bow.height.low) == pytest.approx((-2.25, -2.25))
    assert (bow.beyond.value, bow.beyond.high) == pytest.approx((-1.5, -1.5))  # 2.25 - 15 / 4
    # the same parabola falling as far as it rises: 2.25, 0.25, 0.25, 2.25 bends by 2.25 and rises by nothing
    even = bow_of(points_of([2.25, 0.25, 0.25, 2.25]), 0.95)
    assert (even.height.value, even.beyond.value) == pytest.approx((-2.25, 2.25))
    line = bow_of(points_of([0.3, 0.25, 0.2, 0.15]), 0.95)
    assert line.height.value == pytest.approx(0.0, abs=1e-12)
    assert line.beyond.value == pytest.approx(-0.25 * 0.15)
    assert math.isnan(bow_of(points_of([0.1, 0.2]), 0.95).beyond.value)


def decide(points: list[ScalingPoint]) -> tuple[str, str]:
    """Outcomes of ``rises_linearly`` and ``is_linear``."""
    fit = fit_scaling(points, 0.95)[0]
    decided = (fit.slope, fit.slope_t, fit.r_squared, bow_of(points, 0.95).beyond, fit.n_models)
    return rises_linearly(*decided), is_linear(*decided)


def simulated(truth, noise: float, rng, resamples: int = 400) -> list[ScalingPoint]:
    """Each model measured once with independent noise; its resamples scatter as widely about what was measured."""
    values = np.asarray(truth) + rng.normal(0, noise, len(truth))
    return points_of(values, values + rng.normal(0, noise, (resamples, len(truth))))


@pytest.mark.parametrize(("slope", "n_models"), [(0.01, 4), (0.01, 6), (0.03, 4), (0.1, 4)])
def test_a_linear_law_is_refuted_in_at_most_five_percent(slope, n_models):
    rng = np.random.default_rng(7)
    found = [decide(simulated(slope * np.arange(n_models), 0.02, rng)) for _ in range(400)]
    # 5 % of 400 is 20
    assert [outcome for outcome, _ in found].count(FAILS) <= 20
    assert [outcome for _, outcome in found].count(FAILS) <= 20
    if slope == 0.1:  # five times the noise: mostly seen
        assert [outcome for outcome, _ in found].count(HOLDS) >= 200


def test_a_law_that_sets_in_late_or_turns_is_refuted():
    """0, 0, 0, .5: bow -9/4 * (.5 / 4) = -.28, rise 3 * .15 = .45; and a rise that falls back."""
    rng = np.random.default_rng(7)
    for truth in ([0.0, 0.0, 0.0, 0.5], [0.1, 0.3, 0.3, 0.1]):
        found = [decide(simulated(truth, 0.02, rng)) for _ in range(100)]
        assert [outcome for outcome, _ in found].count(FAILS) >= 90


def test_a_linear_fall_is_linear():
    """.30, .25, .20, .15: 1a fails because it falls; 1b, that the gap is not linear, fails too."""
    rises, linear = decide(points_of([0.3, 0.25, 0.2, 0.15]))
    assert (rises, opposite(linear)) == (FAILS, FAILS)


@pytest.mark.parametrize(
    ("slope", "fall", "outcome"),
    [
        (around(0.2), around(0.0), HOLDS),
        (around(0.2), NOTHING_VARIED, HOLDS),  # the highest threshold is the best
        (around(0.2), around(0.1), FAILS),  # a peak before the end
        (around(-0.2), around(0.0), FAILS),
        (around(0.0), around(0.0), UNDECIDED),
        (NAN, NAN, UNDECIDED),
        (around(0.2), NAN, UNDECIDED),  # no train problems to choose the peak on
        (around(-0.2), NAN, FAILS),
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
    value, draws_R = pearson_draws(index, first, second, counts)
    used = ~np.isnan(second)
    assert value == pytest.approx(np.corrcoef(first[used], second[used])[0, 1])
    # one resample by hand: its problems' responses repeated as often as it draws them
    rows = np.repeat(np.arange(40), counts[7].astype(int)[index])
    rows = rows[used[rows]]
    assert draws_R[7] == pytest.approx(np.corrcoef(first[rows], second[rows])[0, 1])
    for other in (np.ones(40), np.full(40, np.nan)):
        value, draws_R = pearson_draws(index, first, other, counts)
        assert math.isnan(value) and len(draws_R) == 300 and np.isnan(draws_R).all()
