"""Percentile bootstrap over problems, vectorised: one matrix of multiplicities serves every statistic."""

from __future__ import annotations

import numpy as np

from ops.types import Interval


def resample_counts(n_problems: int, resamples: int, seed: int) -> np.ndarray:
    """How often each problem is drawn in each resample: float64 [R, P], each row sums to P."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_problems, np.full(n_problems, 1.0 / n_problems), size=resamples).astype(np.float64)


def percentile_interval(value: float, draws_R: np.ndarray, confidence: float) -> Interval:
    """The point estimate with the central ``confidence`` range of its resamples; NaN draws are left out."""
    draws_R = draws_R[~np.isnan(draws_R)]
    if len(draws_R) == 0 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws_R, [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high))


def mean_interval(value_P: np.ndarray, counts_RP: np.ndarray, confidence: float) -> Interval:
    """Mean over problems; problems whose value is NaN are left out of the mean (and of every resample's)."""
    used_P = ~np.isnan(value_P)
    if not used_P.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    filled_P = np.where(used_P, value_P, 0.0)
    weight_R = counts_RP @ used_P
    with np.errstate(invalid="ignore", divide="ignore"):
        draws_R = np.where(weight_R > 0, counts_RP @ filled_P / weight_R, np.nan)
    return percentile_interval(float(value_P[used_P].mean()), draws_R, confidence)
