"""Percentile bootstrap over problems, vectorised: one matrix of multiplicities serves every statistic."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ops.types import Interval

UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


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


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is not above 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def ratio_draws(numerator_P: np.ndarray, denominator_P: np.ndarray, counts_RP: np.ndarray) -> np.ndarray:
    """Ratio of resampled sums: float64 [R] from [P], or [R, K] from [P, K]; NaN where the denominator is 0.

    Numerator and denominator go through one matrix product, which reads the multiplicities once.
    """
    both = np.concatenate([part.reshape(len(part), -1) for part in (numerator_P, denominator_P)], axis=1)
    sums = counts_RP @ both.astype(np.float64)
    half = sums.shape[1] // 2
    draws = divide(sums[:, :half], sums[:, half:])
    return draws[:, 0] if numerator_P.ndim == 1 else draws


def ratio_intervals(
    ratios: Mapping[str, tuple[np.ndarray, np.ndarray]], counts_RP: np.ndarray, confidence: float
) -> dict[str, Interval]:
    """Pooled ratios sum(numerator_P) / sum(denominator_P) by name, all resampled in one matrix product."""
    numerator_PK = np.stack([top for top, _ in ratios.values()], axis=1).astype(np.float64)
    denominator_PK = np.stack([bottom for _, bottom in ratios.values()], axis=1).astype(np.float64)
    value_K = divide(numerator_PK.sum(0), denominator_PK.sum(0))
    draws_RK = ratio_draws(numerator_PK, denominator_PK, counts_RP)
    return {name: percentile_interval(float(value_K[k]), draws_RK[:, k], confidence) for k, name in enumerate(ratios)}


def mean_draws(value_P: np.ndarray, counts_RP: np.ndarray) -> np.ndarray:
    """Resampled means over problems [R] (or [R, K] of [P, K]); problems whose value is NaN are left out of each."""
    used_P = ~np.isnan(value_P)
    return ratio_draws(np.where(used_P, value_P, 0.0), used_P, counts_RP)


def mean_intervals(values: Mapping[str, np.ndarray], counts_RP: np.ndarray, confidence: float) -> dict[str, Interval]:
    """Means over problems of several statistics [P] by name, in one matrix product; NaN problems are left out."""
    used = {name: ~np.isnan(value_P) for name, value_P in values.items()}
    filled = {name: (np.where(used[name], value_P, 0.0), used[name]) for name, value_P in values.items()}
    return ratio_intervals(filled, counts_RP, confidence)


def mean_interval(value_P: np.ndarray, counts_RP: np.ndarray, confidence: float) -> Interval:
    """Mean over problems; problems whose value is NaN are left out of the mean (and of every resample's)."""
    return mean_intervals({"mean": value_P}, counts_RP, confidence)["mean"]
