"""Bootstrap over problems: labelled problems are resampled among labelled ones, all others among themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ops.control_variates.studies import Studies, starts
from ops.control_variates.variance import Fit

CHUNK = 2_000_000  # resamples times problems that are held at once


def resampled_problems(studies: Studies, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Multiplicities float [R, P] in chunks. Sizes of strata and the number of labelled problems stay as they are.

    A problem with pairs in several strata counts to the first of them.
    """
    n_problems = studies.times_RP.shape[1]
    group_P = 2 * studies.stratum_B[starts(studies.problem_B)]
    group_P[np.unique(studies.problem_L)] += 1
    rng = np.random.default_rng(seed)
    size = max(1, CHUNK // n_problems)
    for first in range(0, resamples, size):
        times_RP = np.zeros((min(size, resamples - first), n_problems))
        for group in np.unique(group_P):
            member_P = np.flatnonzero(group_P == group)
            drawn_RP = rng.integers(len(member_P), size=(len(times_RP), len(member_P)))
            drawn_RP += len(member_P) * np.arange(len(times_RP))[:, None]
            times_RP[:, member_P] = np.bincount(drawn_RP.ravel(), minlength=drawn_RP.size).reshape(drawn_RP.shape)
        yield times_RP


def bootstrapped(
    studies: Studies, fits: Callable[[Studies], tuple[Fit, Fit]], resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, standard errors, savings of resamples, float [R] each; ``fits`` gives the estimate and the human one."""
    values, errors, savings = [], [], []
    for times_RP in resampled_problems(studies, resamples, seed):
        fit, human = fits(studies.resampled(times_RP))
        values.append(fit.value_R)
        errors.append(np.sqrt(fit.variance_R))
        savings.append(saving(fit, human))
    return np.concatenate(values), np.concatenate(errors), np.concatenate(savings)


def saving(fit: Fit, human: Fit) -> np.ndarray:
    """1 - variance / variance of the human estimate, float [R]; NaN where the latter is 0."""
    some_R = human.variance_R > 0
    return np.where(some_R, 1.0 - fit.variance_R / np.where(some_R, human.variance_R, 1.0), np.nan)


def percentiles(draws_R: np.ndarray, confidence: float) -> tuple[float, float]:
    """The central range of the draws; NaN draws are left out."""
    draws_R = draws_R[np.isfinite(draws_R)]
    if len(draws_R) == 0:
        return float("nan"), float("nan")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws_R, [tail, 1.0 - tail])
    return float(low), float(high)


def expanded(confidence: float, n_problems: float, freedom: float, parameters: int) -> float:
    """The confidence at which percentiles are taken so that they cover ``confidence`` with few labelled problems.

    Resamples spread too little by (G - p)/G with G problems and p fitted parameters, and know no t quantile. The
    expanded percentile interval (Hesterberg, arXiv 1411.5279) takes the tail Phi(-t sqrt(G / (G - p))).
    """
    from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped]

    t = stdtrit(freedom, (1.0 + confidence) / 2.0)
    return float(1.0 - 2.0 * ndtr(-t * np.sqrt(n_problems / max(n_problems - parameters, 1.0))))
