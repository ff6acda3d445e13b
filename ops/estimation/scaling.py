"""Scaling law: least squares of a statistic on log10 pretraining FLOPs within a family (2412.02674).

All models of a family are evaluated on the same problems, so each point brings draws made with the same multiplicities:
resample r is one replication of the whole study, and one line is fitted to it. Those intervals say how far the slope
depends on which problems were asked. The classical t interval comes from the residuals (n - 2 degrees of freedom) and
says how far the models scatter around a line; with few models it is the wider and the more honest one about models
that were not measured. Both are reported, neither replaces the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import UNDEFINED, percentile_interval
from ops.types import Interval


@dataclass(frozen=True)
class ScalingPoint:
    """One model of a family.

    Attributes:
        model: its name.
        family: models of one family are fitted together.
        flops: pretraining floating-point operations, above 0.
        value: the statistic, e.g. the relative gap; NaN leaves the model out.
        draws_R: its resamples over problems, made with the same multiplicities for every model of the family.
    """

    model: str
    family: str
    flops: float
    value: float
    draws_R: np.ndarray


@dataclass(frozen=True)
class ScalingFit:
    """Least squares line of one family: value = intercept + slope * log10(flops).

    Attributes:
        slope, intercept, r_squared: estimates with bootstrap intervals over problems. Noise of the points pulls R² of
            a resample down, so its interval leans low. R² is NaN with two models (a line always fits) or equal values.
        slope_t, intercept_t: the same estimates with the classical t interval; NaN ends with fewer than 3 models.
        n_models: fitted.
        n_models_left_out: with an undefined value.
    """

    family: str
    slope: Interval
    intercept: Interval
    r_squared: Interval
    slope_t: Interval
    intercept_t: Interval
    n_models: int
    n_models_left_out: int


def fit_scaling(points: Sequence[ScalingPoint], confidence: float) -> list[ScalingFit]:
    """Fit every family, in the order of first appearance.

    Raises:
        ValueError: FLOPs not above 0, or models of one family with different numbers of draws.
    """
    for point in points:
        if not (np.isfinite(point.flops) and point.flops > 0):
            raise ValueError(f"{point.model}: flops must be a number above 0, got {point.flops}")
    families = dict.fromkeys(point.family for point in points)
    return [_fit(family, [point for point in points if point.family == family], confidence) for family in families]


def _fit(family: str, points: list[ScalingPoint], confidence: float) -> ScalingFit:
    used = [point for point in points if not np.isnan(point.value)]
    left_out = len(points) - len(used)
    if len({len(point.draws_R) for point in used}) > 1:
        raise ValueError(f"family {family}: every model needs the same resamples")
    x_M = np.log10(np.array([point.flops for point in used]))
    if len(np.unique(x_M)) < 2:
        return ScalingFit(family, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, len(used), left_out)
    y_M = np.array([point.value for point in used])
    draws_RM = np.stack([point.draws_R for point in used], axis=1)
    line, lines_R = _least_squares(x_M, y_M[None]), _least_squares(x_M, draws_RM)
    slope, intercept, r_squared = (
        percentile_interval(float(value[0]), draws_R, confidence) for value, draws_R in zip(line, lines_R, strict=True)
    )
    slope_t, intercept_t = _t_intervals(x_M, y_M, slope.value, intercept.value, confidence)
    return ScalingFit(family, slope, intercept, r_squared, slope_t, intercept_t, len(used), left_out)


def _least_squares(x_M: np.ndarray, y_RM: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, intercept and R² [R] of R lines over the same x."""
    centred_M = x_M - x_M.mean()
    slope_R = y_RM @ centred_M / (centred_M @ centred_M)
    mean_R = y_RM.mean(1)
    intercept_R = mean_R - slope_R * x_M.mean()
    residual_R = ((y_RM - intercept_R[:, None] - slope_R[:, None] * x_M) ** 2).sum(1)
    total_R = ((y_RM - mean_R[:, None]) ** 2).sum(1)
    is_flat_R = y_RM.max(1) == y_RM.min(1)
    defined_R = ~is_flat_R & (len(x_M) > 2)
    return (
        slope_R,
        intercept_R,
        1.0 - np.divide(residual_R, total_R, out=np.full_like(total_R, np.nan), where=defined_R),
    )


def _t_intervals(
    x_M: np.ndarray, y_M: np.ndarray, slope: float, intercept: float, confidence: float
) -> tuple[Interval, Interval]:
    freedom = len(x_M) - 2
    if freedom < 1:
        return Interval(slope, np.nan, np.nan), Interval(intercept, np.nan, np.nan)
    from scipy.stats import t  # type: ignore[import-untyped]

    centred_M = x_M - x_M.mean()
    variance = ((y_M - intercept - slope * x_M) ** 2).sum() / freedom
    slope_error = np.sqrt(variance / (centred_M @ centred_M))
    intercept_error = np.sqrt(variance * (1 / len(x_M) + x_M.mean() ** 2 / (centred_M @ centred_M)))
    width = float(t.ppf(0.5 + confidence / 2, freedom))
    return (
        Interval(slope, float(slope - width * slope_error), float(slope + width * slope_error)),
        Interval(intercept, float(intercept - width * intercept_error), float(intercept + width * intercept_error)),
    )
