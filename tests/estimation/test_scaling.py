"""Least squares on log10 FLOPs by hand and against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from ops.estimation.scaling import ScalingPoint, fit_scaling


def _points(flops, values, draws=None, family="f"):
    draws = np.tile(values, (4, 1)) if draws is None else np.asarray(draws)
    return [
        ScalingPoint(f"m{i}", family, f, v, draws[:, i]) for i, (f, v) in enumerate(zip(flops, values, strict=True))
    ]


def test_by_hand():
    # x = 1, 2, 3; y = 1, 2, 2: x' = -1 0 1, Sxx 2, Sxy 1: slope .5; mean y 5/3: intercept 5/3 - 1 = 2/3.
    # Residuals -1/6, 1/3, -1/6: 1/6; total 2/3: R2 = 3/4.
    fit = fit_scaling(_points([10, 100, 1000], [1.0, 2, 2]), 0.95)[0]
    assert fit.slope.value == pytest.approx(0.5)
    assert fit.intercept.value == pytest.approx(2 / 3)
    assert fit.r_squared.value == pytest.approx(0.75)
    # One degree of freedom: variance 1/6, slope error sqrt(1/6 / 2), t(.975, 1) = 12.706.
    assert fit.slope_t.high - 0.5 == pytest.approx(12.7062 * math.sqrt(1 / 12), rel=1e-4)


def test_equals_scipy():
    rng = np.random.default_rng(0)
    flops, y = 10.0 ** rng.uniform(18, 24, 7), rng.normal(size=7)
    fit = fit_scaling(_points(flops, y), 0.9)[0]
    ours = stats.linregress(np.log10(flops), y)
    assert (fit.slope.value, fit.intercept.value) == pytest.approx((ours.slope, ours.intercept))
    assert fit.r_squared.value == pytest.approx(ours.rvalue**2)
    width = stats.t.ppf(0.95, 5)
    assert fit.slope_t.low == pytest.approx(ours.slope - width * ours.stderr)
    assert fit.intercept_t.high == pytest.approx(ours.intercept + width * ours.intercept_stderr)


def test_bootstrap_interval_is_that_of_the_lines_through_the_draws():
    # Draws with slopes 1 and 3: two resamples of two families' points.
    draws = [[1.0, 2, 3], [3.0, 6, 9]]
    fit = fit_scaling(_points([10, 100, 1000], [2.0, 4, 6], draws), 0.9999)[0]
    assert (fit.slope.low, fit.slope.value, fit.slope.high) == pytest.approx((1, 2, 3), abs=1e-3)
    assert fit.r_squared.value == pytest.approx(1.0)


def test_an_undefined_draw_is_left_out():
    fit = fit_scaling(_points([10, 100, 1000], [1.0, 2, 3], [[1.0, 2, 3], [np.nan, 2, 3]]), 0.95)[0]
    assert (fit.slope.low, fit.slope.high) == pytest.approx((1, 1))


def test_two_models_have_a_slope_and_nothing_to_judge_it_by():
    fit = fit_scaling(_points([10, 1000], [1.0, 2.0]), 0.95)[0]
    assert fit.slope.value == pytest.approx(0.5)
    assert math.isnan(fit.r_squared.value)
    assert math.isnan(fit.slope_t.low) and fit.slope_t.value == pytest.approx(0.5)


def test_one_model_or_one_size_has_no_slope():
    for points in (_points([10], [1.0]), _points([10, 10], [1.0, 2.0]), _points([10, 100], [1.0, np.nan])):
        fit = fit_scaling(points, 0.95)[0]
        assert math.isnan(fit.slope.value) and math.isnan(fit.r_squared.value)
    assert (fit.n_models, fit.n_models_left_out) == (1, 1)


def test_equal_values_have_no_r_squared():
    fit = fit_scaling(_points([10, 100, 1000], [0.1, 0.1, 0.1]), 0.95)[0]
    assert fit.slope.value == pytest.approx(0.0)
    assert math.isnan(fit.r_squared.value)


def test_families_are_fitted_apart():
    fits = fit_scaling(_points([10, 100], [0.0, 1.0], family="b") + _points([10, 100], [0.0, -1.0], family="a"), 0.95)
    assert [(fit.family, round(fit.slope.value, 9)) for fit in fits] == [("b", 1.0), ("a", -1.0)]


def test_flops_must_be_positive():
    with pytest.raises(ValueError, match="m0: flops"):
        fit_scaling(_points([0.0, 10], [1.0, 2.0]), 0.95)
