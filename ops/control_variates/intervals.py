"""Intervals from an estimate and its variance."""

from __future__ import annotations

import numpy as np

from ops.control_variates.variance import Fit


def quantiles(freedom_R: np.ndarray, confidence: float) -> np.ndarray:
    """Two-sided t quantiles, float [R]."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return np.asarray(stdtrit(freedom_R, (1.0 + confidence) / 2.0))


def t_interval(fit: Fit, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The estimate plus and minus t standard errors."""
    reach_R = quantiles(fit.freedom_R, confidence) * np.sqrt(fit.variance_R)
    return fit.value_R - reach_R, fit.value_R + reach_R


def score_interval(fit: Fit, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval with the effective number of labels.

    All theta in [0, 1] with (value - theta)^2 <= t z max(theta (1 - theta) - q, 0) / m. q is the mean of y (1 - y) over
    labels y (0 if all are 0 or 1), so that theta (1 - theta) - q is the variance that labels have where theta is true,
    and m is the number of labels whose mean alone would be as precise: variance of a label / variance of the estimate.
    With labels of 0 and 1, no judge and many of them this is Wilson's interval (1927). Where all labels are equal,
    m is the number of labelled problems, and q is multiplied by m / (m + t z): n ties among n labels leave about 4 / n
    for the probability of a label that is none.

    t z, product of the t and the normal quantile: the normal one belongs to a variance that theta determines, the t
    quantile to one that is estimated; here theta determines one factor, and 1 / m is estimated. Simulations decided
    (docs/decisions/0019-control-variates.md).
    """
    from scipy.special import ndtri

    reach_R = quantiles(fit.freedom_R, confidence) * ndtri((1.0 + confidence) / 2.0)
    known_R = (fit.label_variance_R > 0) & (fit.variance_R > 0)
    alone_R = fit.problems_R
    effective_R = np.where(known_R, fit.label_variance_R / np.where(known_R, fit.variance_R, 1.0), alone_R)
    ratio_R = reach_R / effective_R
    own_R = np.where(known_R, fit.own_variance_R, fit.own_variance_R * alone_R / (alone_R + reach_R))
    a_R, b_R = 1.0 + ratio_R, 2.0 * fit.value_R + ratio_R
    c_R = fit.value_R**2 + ratio_R * own_R
    root_R = np.sqrt(np.maximum(b_R**2 - 4.0 * a_R * c_R, 0.0))
    low_R, high_R = (b_R - root_R) / (2.0 * a_R), (b_R + root_R) / (2.0 * a_R)
    return np.clip(low_R, 0.0, 1.0), np.clip(high_R, 0.0, 1.0)
