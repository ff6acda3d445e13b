"""Intervals: by hand, their limits, and what the bootstrap resamples."""

import numpy as np
import pytest
from scipy.stats import norm, t

from ops.control_variates.bootstrap import expanded, percentiles, resampled_problems, saving
from ops.control_variates.data import LabelledPairs
from ops.control_variates.estimate import estimate
from ops.control_variates.intervals import score_interval, t_interval
from ops.control_variates.studies import studies_of
from ops.control_variates.variance import Fit, fit

NAN = float("nan")


def _pairs(labels, judges=None, problem=None) -> LabelledPairs:
    labels = np.asarray(labels, dtype=float)
    n = len(labels)
    judges = np.zeros((n, 0)) if judges is None else np.asarray(judges, dtype=float).reshape(n, -1)
    problem = np.arange(n) if problem is None else np.asarray(problem)
    return LabelledPairs(labels, judges, problem, np.zeros(n, dtype=int), np.where(np.isnan(labels), -1, 0))


def _fit(value, variance, freedom, label_variance, own=0.0, problems=10.0) -> Fit:
    one = [np.array([float(x)]) for x in (value, variance, freedom)]
    rest = [np.array([float(x)]) for x in (label_variance, own, problems)]
    return Fit(*one, np.zeros((1, 0)), np.array([NAN]), *rest)


def test_score_interval_of_labels_alone_is_wilsons():
    # 8 of 10: m = s²/V = 10. t z = 2.262157 * 1.959964 = 4.433747; r = .4433747. (1 + r) x² - (1.6 + r) x + .64 = 0,
    # root of 2.0433747² - 4 * 1.4433747 * .64 = .480341 is .693067;
    # (2.0433747 -+ .693067)/2.8867494 = .467761, .947933.
    found = estimate(_pairs([1.0] * 8 + [0.0] * 2), "human")
    assert (found.low, found.high) == pytest.approx((0.467761, 0.947933), abs=2e-6)
    # .8 -+ 2.262157 sqrt(.16/9)
    assert (found.t_low, found.t_high) == pytest.approx((0.8 - 2.262157 * 0.4 / 3, 0.8 + 2.262157 * 0.4 / 3), abs=1e-6)


def test_score_interval_with_many_labels_has_the_coverage_of_wilsons():
    from scipy.stats import binomtest

    found = estimate(_pairs([1.0] * 30_000 + [0.0] * 10_000), "human")
    exact = binomtest(30_000, 40_000).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_ties_make_the_score_interval_narrower():
    """theta (1 - theta) - mean z (1 - z): half-labels carry less variance than zeros and ones with the same mean."""
    ties = estimate(_pairs([1.0] * 5 + [0.5] * 10 + [0.0] * 5), "human")
    none = estimate(_pairs([1.0] * 10 + [0.0] * 10), "human")
    assert ties.value == none.value
    assert ties.high - ties.low < none.high - none.low


def test_score_interval_by_its_definition():
    found = _fit(0.7, 0.004, 25, 0.18, own=0.02)
    low, high = (float(end[0]) for end in score_interval(found, 0.9))
    reach = t.ppf(0.95, 25) * norm.ppf(0.95)
    for end in (low, high):  # m = .18/.004 = 45
        assert (0.7 - end) ** 2 == pytest.approx(reach * (end * (1 - end) - 0.02) / 45)


def test_score_interval_stays_within_zero_and_one():
    """A control variate's value may lie outside [0, 1]; a win rate does not."""
    low, high = score_interval(_fit(1.02, 0.002, 20, 0.05), 0.95)
    assert 0 < low[0] < high[0] <= 1
    low, high = score_interval(_fit(-0.03, 0.002, 20, 0.05), 0.95)
    assert 0 <= low[0] < high[0] < 1


def test_intervals_widen_with_confidence():
    found = _fit(0.7, 0.004, 25, 0.2)
    for interval in (score_interval, t_interval):
        (low_9, high_9), (low_99, high_99) = interval(found, 0.9), interval(found, 0.99)
        assert low_99 < low_9 < high_9 < high_99


def test_saving_by_hand():
    # Variances .03 and .04: a quarter is saved. Undefined where the human estimate has no variance.
    assert saving(_fit(0.5, 0.03, 9, 0.2), _fit(0.5, 0.04, 9, 0.2)) == pytest.approx([0.25])
    assert np.isnan(saving(_fit(0.5, 0.0, 9, 0.0), _fit(0.5, 0.0, 9, 0.0)))[0]


def test_resamples_keep_the_number_of_labelled_problems_and_of_each_stratum():
    labels = np.array([[1.0, NAN, 0.0, NAN, 1.0, 0.0, NAN, NAN, NAN, NAN]])
    problem, stratum = np.array([0, 0, 1, 1, 2, 3, 4, 5, 6, 7]), np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1])
    study = studies_of(labels, np.zeros((1, 10, 1)), problem, stratum)
    times_RP = np.concatenate(list(resampled_problems(study, 500, 0)))
    assert times_RP.shape == (500, 8)
    for members in ([0, 1], [2, 3], [4, 5], [6, 7]):
        assert (times_RP[:, members].sum(1) == 2).all()
        assert {0.0, 1.0, 2.0} == set(np.unique(times_RP[:, members]))


def test_resamples_come_in_chunks(monkeypatch):
    study = studies_of(np.array([[1.0, 0.0, 1.0, NAN]]), np.zeros((1, 4, 1)), np.arange(4))
    monkeypatch.setattr("ops.control_variates.bootstrap.CHUNK", 28)
    assert [len(chunk) for chunk in resampled_problems(study, 40, 3)] == [7, 7, 7, 7, 7, 5]


def test_bootstrap_standard_error_is_the_standard_error():
    """Many labels, clusters of two: the spread of resamples is the clustered standard error."""
    rng = np.random.default_rng(0)
    labels = (np.repeat(rng.random(500), 2) < 0.6).astype(float)
    judges = (labels + rng.normal(size=1000))[:, None]
    labels[400:] = NAN
    study = studies_of(labels[None], judges[None], np.arange(1000) // 2)
    values = np.concatenate([fit(study.resampled(times)).value_R for times in resampled_problems(study, 4000, 1)])
    assert values.std() == pytest.approx(float(fit(study).variance_R[0]) ** 0.5, rel=0.05)


@pytest.mark.parametrize("estimator", ["human", "synthetic", "control_variate", "cross_fitted"])
def test_bootstrap_intervals_come_when_asked_for(estimator):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 80).astype(float)
    judges = labels + rng.normal(size=80)
    labels[30:] = NAN
    pairs = _pairs(labels, judges)
    found = estimate(pairs, estimator, resamples=400)
    assert found.bootstrap_low < found.value < found.bootstrap_high
    again = estimate(pairs, estimator, resamples=400)
    assert (again.bootstrap_low, again.saving_low) == pytest.approx(
        (found.bootstrap_low, found.saving_low), abs=0, nan_ok=True
    )
    other = estimate(pairs, estimator, resamples=400, seed=1)
    if estimator != "human":  # means of few labels are on a grid
        assert other.bootstrap_low != found.bootstrap_low
    assert np.isnan(estimate(pairs, estimator).bootstrap_low)
    if estimator in ("control_variate", "cross_fitted"):
        assert found.saving_low < found.saving < found.saving_high <= 1


def test_percentiles_leave_out_what_is_undefined():
    assert percentiles(np.array([1.0, 2.0, 3.0, NAN]), 0.5) == pytest.approx((1.5, 2.5))
    assert np.isnan(percentiles(np.array([NAN, NAN]), 0.5)).all()


def test_percentiles_are_taken_further_out_with_few_problems():
    # 30 problems, one mean: t(29) = 2.04523, times sqrt(30/29) = 2.08019; two-sided normal probability .962492.
    assert expanded(0.95, 30, 29, 1) == pytest.approx(1 - 2 * norm.sf(2.04523 * (30 / 29) ** 0.5), abs=1e-6)
    assert expanded(0.95, 30, 29, 1) == pytest.approx(0.9625, abs=1e-4)
    assert expanded(0.95, 10_000, 9_999, 1) == pytest.approx(0.95, abs=1e-4)


def test_ties_alone_do_not_make_an_estimate_certain():
    """20 ties: the chance of anything else can be 1 - .025^(1/20) = .168, and half of it, .084, lies on either side."""
    found = estimate(_pairs([0.5] * 20), "human")
    assert found.value == 0.5
    assert 0.084 < found.high - 0.5 < 0.11
    assert found.high - 0.5 == pytest.approx(0.5 - found.low)
