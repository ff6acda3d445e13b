"""Saturation: a curve over the iterations as an exponential decay, y(t) = limit + (y(0) - limit) e^(-rate t).

*Theoretical Modeling of LLM Self-Improvement Training Dynamics Through Solver-Verifier Gap* (arXiv 2507.00075) writes
the dynamics of the solver's and the verifier's uncertainty as dU_s/dt = -alpha E and dU_v/dt = -beta E, with an energy
E that is linearised in the solver-verifier gap G = U_s - U_v, E = k G - b. All three then decay exponentially, G to
b / k at the rate k (alpha - beta), and the limit is found by fitting the curve. Its capabilities are uncertainties and
its t is time in training. Here t counts iterations, and the curve is fitted to the generation-verification gap of
2412.02674, to the relative gap and to accuracy. That those follow the same law is an assumption; ``residual`` and the
next iteration test it.

Least squares by variable projection: for a given rate the curve is a straight line in x(t) = e^(-rate t), so only the
rate is searched, over a grid and then by golden sections, for all resamples at once. (``scipy.optimize.curve_fit`` fits
one curve per call and needs a start: 2,000 resamples would take seconds and lose some of them.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import UNDEFINED, percentile_interval
from ops.types import Interval

MIN_ITERATIONS = 3
"""As many as the curve has parameters."""

SLOWEST, FASTEST = 1e-3, 12.0
"""Rates beyond which a curve of some 20 iterations cannot be told from a straight line, or from one jump."""

_GRID_G = np.geomspace(SLOWEST, FASTEST, 160)
_SECTIONS = 40
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
_FLAT = 1e-12
"""A curve whose values spread less than this, relative to their size, is flat."""


@dataclass(frozen=True)
class DecayFit:
    """One curve over T + 1 iterations.

    Numbers that are not finite mean something: a straight line (or one that bends away) has no limit in sight, so its
    rate is 0, its limit plus or minus infinity and its half-life infinite; a curve that jumps once and then stays has
    rate infinity and half-life 0. A flat curve has its own value as limit and no rate: NaN.

    Attributes:
        limit: y at t = infinity.
        rate: per iteration, at least 0.
        half_life_iterations: ln 2 / rate, iterations in which half of the way to the limit is gone.
        next_value: y(T + 1), one iteration after the last one.
        residual: root mean square of what the curve leaves over, 0 with three iterations (it has three parameters).
    """

    n_iterations: int
    limit: Interval
    rate: Interval
    half_life_iterations: Interval
    next_value: Interval
    residual: float


def fit_decay(value_T: np.ndarray, draws_RT: np.ndarray, confidence: float) -> DecayFit:
    """Fit the curve to a statistic at iterations 0..T, with percentile intervals over its resamples.

    The interval of a limit is honest where the curve does not show one: resamples that run straight on put its end at
    infinity. It covers which problems were asked and what was sampled; what another training seed would have given is
    not in it.

    Args:
        value_T: float [T + 1], the statistic itself.
        draws_RT: float [R, T + 1], resamples over problems, the same multiplicities at every iteration. Those with an
            undefined value (NaN) at any iteration are left out.

    Raises:
        ValueError: when the two do not have the same number of iterations.
    """
    n_iterations = len(value_T)
    if draws_RT.ndim != 2 or draws_RT.shape[1] != n_iterations:
        raise ValueError(f"draws of {n_iterations} iterations are needed, got the shape {draws_RT.shape}")
    if n_iterations < MIN_ITERATIONS or np.isnan(value_T).any():
        return DecayFit(n_iterations, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, float("nan"))
    fit, fits = _curves(value_T[None]), _curves(draws_RT[~np.isnan(draws_RT).any(1)])
    limit, rate, half_life, following = (
        wide_interval(float(point[0]), draws_R, confidence) for point, draws_R in zip(fit[:4], fits[:4], strict=True)
    )
    return DecayFit(n_iterations, limit, rate, half_life, following, float(fit[4][0]))


def wide_interval(value: float, draws_R: np.ndarray, confidence: float) -> Interval:
    """``percentile_interval`` of draws that may be infinite: an end that falls among those is infinite, not NaN."""
    known_R = draws_R[~np.isnan(draws_R)]
    if np.isfinite(known_R).all() and np.isfinite(value):
        return percentile_interval(value, known_R, confidence)
    if len(known_R) == 0 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(known_R, [tail, 1.0 - tail], method="inverted_cdf")  # never between two draws
    return Interval(value, float(low), float(high))


def _curves(y_RT: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Limit, rate, half-life, next value and residual [R] of R curves."""
    t_T = np.arange(y_RT.shape[1], dtype=float)
    centred_RT = y_RT - y_RT.mean(1, keepdims=True)
    rate_R = _best_rates(centred_RT, t_T)
    x_RT, next_R = _basis(rate_R, t_T), _basis(rate_R, t_T[-1:] + 1.0)[:, 0]
    mean_x_R = x_RT.mean(1)
    x_RT = x_RT - mean_x_R[:, None]
    slope_R = (x_RT * centred_RT).sum(1) / (x_RT**2).sum(1)
    residual_R = np.sqrt(((centred_RT - slope_R[:, None] * x_RT) ** 2).mean(1))
    next_value_R = y_RT.mean(1) + slope_R * (next_R - mean_x_R)
    limit_R = y_RT.mean(1) - slope_R * (1.0 / rate_R + mean_x_R)  # x = -1 / rate, where e^(-rate t) = 0
    is_straight_R, is_jump_R = rate_R <= SLOWEST * 1.01, rate_R >= FASTEST * 0.99
    limit_R = np.where(is_straight_R, np.where(slope_R > 0, -np.inf, np.inf), limit_R)  # x falls with t
    rate_R = np.where(is_straight_R, 0.0, np.where(is_jump_R, np.inf, rate_R))
    is_flat_R = np.ptp(y_RT, axis=1) <= _FLAT * np.maximum(np.abs(y_RT).max(1), 1.0)
    limit_R, next_value_R = (np.where(is_flat_R, y_RT.mean(1), item_R) for item_R in (limit_R, next_value_R))
    rate_R = np.where(is_flat_R, np.nan, rate_R)
    with np.errstate(divide="ignore"):
        half_life_R = np.log(2.0) / rate_R
    return limit_R, rate_R, half_life_R, next_value_R, residual_R


def _best_rates(centred_RT: np.ndarray, t_T: np.ndarray) -> np.ndarray:
    """The rate [R] that leaves the smallest sum of squares, between ``SLOWEST`` and ``FASTEST``."""
    explained_RG = (centred_RT @ _directions(_GRID_G, t_T).T) ** 2
    best_R = explained_RG.argmax(1)
    last = len(_GRID_G) - 1
    low_R, high_R = (np.log(_GRID_G[np.clip(best_R + step, 0, last)]) for step in (-1, 1))

    def explained(log_rate_R: np.ndarray) -> np.ndarray:
        return (centred_RT * _directions(np.exp(log_rate_R), t_T)).sum(1) ** 2

    left_R, right_R = high_R - _GOLDEN * (high_R - low_R), low_R + _GOLDEN * (high_R - low_R)
    at_left_R, at_right_R = explained(left_R), explained(right_R)
    for _ in range(_SECTIONS):
        goes_left_R = at_left_R > at_right_R
        low_R, high_R = np.where(goes_left_R, low_R, left_R), np.where(goes_left_R, right_R, high_R)
        new_R = np.where(goes_left_R, high_R - _GOLDEN * (high_R - low_R), low_R + _GOLDEN * (high_R - low_R))
        at_new_R = explained(new_R)
        left_R, right_R = np.where(goes_left_R, new_R, right_R), np.where(goes_left_R, left_R, new_R)
        at_left_R, at_right_R = (
            np.where(goes_left_R, at_new_R, at_right_R),
            np.where(goes_left_R, at_left_R, at_new_R),
        )
    return np.exp((low_R + high_R) / 2.0)


def _directions(rate_K: np.ndarray, t_T: np.ndarray) -> np.ndarray:
    """The centred curve of every rate with length 1, float64 [K, T]: what it explains of y is a squared projection."""
    x_KT = _basis(rate_K, t_T)
    x_KT = x_KT - x_KT.mean(1, keepdims=True)
    return x_KT / np.sqrt((x_KT**2).sum(1, keepdims=True))


def _basis(rate_K: np.ndarray, t_T: np.ndarray) -> np.ndarray:
    """x(t) = (e^(-rate t) - 1) / rate, float64 [K, T]: spans the curves of e^(-rate t), and is exact at slow rates."""
    return np.expm1(-rate_K[:, None] * t_T) / rate_K[:, None]
