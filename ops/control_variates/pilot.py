"""What is known of labels before more are paid for: from a pilot, or supposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ops.control_variates.data import LabelledPairs
from ops.errors import DatasetError
from ops.estimation.bootstrap import UNDEFINED, percentile_interval, resample_counts
from ops.types import Interval

ENOUGH_PAIRS_OF_LABELS = 30
"""Pairs of labels within problems from which a covariance is estimated."""


@dataclass(frozen=True)
class Pilot:
    """What is known before labelling: from a pilot, or supposed.

    Attributes:
        theta: win rate (or accuracy).
        variance: sigma^2 of a label; ``own``: mean of z (1 - z), 0 without ties.
        rho_squared: squared multiple correlation of labels and judges within strata, as estimates use it, adjusted,
            with its interval over problems; NaN without judges.
        icc, residual_icc: correlation of two labels of one problem, and of what the judges leave over, in [0, 1].
        icc_source: ``labels``; ``judge``: too few problems have two labels, so that of the judges' prediction; ``worst
            case``: 1, there being no judge either; ``one pair per problem``: it plays no part.
        same_problem: q, the probability that two of the N pairs are of one problem.
        n_labelled, n_pairs, n_problems, n_judges, n_strata: labels of the pilot, N, P, J, S.
        within: part of sigma^2 that is within strata; 1 without strata.
    """

    theta: float
    variance: float
    own: float
    rho_squared: Interval
    icc: float
    residual_icc: float
    icc_source: Literal["labels", "judge", "worst case", "one pair per problem"]
    same_problem: float
    n_labelled: int
    n_pairs: int
    n_problems: int
    n_judges: int
    n_strata: int = 1
    within: float = 1.0

    @property
    def fewest(self) -> int:
        """Labels from which on there is an estimate."""
        return self.n_judges + self.n_strata + 2

    @property
    def is_judged(self) -> bool:
        """Whether there is a correlation to plan with."""
        return not np.isnan(self.rho_squared.value)


def read_pilot(pairs: LabelledPairs, confidence: float, *, resamples: int = 1000, seed: int = 0) -> Pilot:
    """What the labelled pairs say. Waves by stratum are weighed back: a label counts W_h / n_wh n_w / n.

    Raises:
        DatasetError: fewer labels than judges + strata + 2, or labels that are all equal.
    """
    labelled_N = ~np.isnan(pairs.labels_N)
    n_judges, n_labelled = pairs.judges_NJ.shape[1], int(labelled_N.sum())
    n_strata = len(np.unique(pairs.stratum_N))
    if n_labelled < (fewest := n_judges + n_strata + 2):
        in_strata = f", {n_strata} strata" if n_strata > 1 else ""
        raise DatasetError(
            "the pilot",
            f"{n_labelled} labels{in_strata} and {n_judges} judges: a plan needs at least {fewest} labels",
            field="labels",
            remedy="label a few more, or plan without a pilot, from a guess of rho",
        )
    label_n, problem_n = pairs.labels_N[labelled_N], pairs.problem_N[labelled_N]
    if np.ptp(label_n) == 0:
        raise DatasetError(
            "the pilot",
            f"all {n_labelled} labels are {label_n[0]:g}: they say nothing of the spread of labels",
            field="labels",
            remedy="label a few more, or plan without a pilot, from a guess of rho",
        )
    weight_n = _weights(pairs, labelled_N)
    spread_J = pairs.judges_NJ.std(0)
    standard_NJ = (pairs.judges_NJ - pairs.judges_NJ.mean(0)) / np.where(spread_J > 0, spread_J, 1.0)
    row_nD = np.column_stack([np.ones(n_labelled), standard_NJ[labelled_N], label_n])
    index_n, stratum_n = np.unique(problem_n, return_inverse=True)[1], pairs.stratum_N[labelled_N]
    n_problems, free = int(index_n.max()) + 1, n_labelled - n_strata
    moments = [_moments(row_nD[mine_n], weight_n[mine_n], index_n[mine_n], n_problems) for mine_n in _masks(stratum_n)]
    variance, r_squared, alpha_J = _regress(_within(np.ones((1, n_problems)), moments))
    adjusted_R = _adjusted(_regress(_within(resample_counts(n_problems, resamples, seed), moments))[1], free, n_judges)
    rho_squared = percentile_interval(float(_adjusted(r_squared, free, n_judges)[0]), adjusted_R, confidence)
    q = _same_problem(pairs.problem_N)
    predicted_N = standard_NJ @ alpha_J[0]
    icc, residual_icc, source = _intraclass(pairs, labelled_N, weight_n, predicted_N, q)
    theta = float(np.average(label_n, weights=weight_n))
    whole = float(np.average((label_n - theta) ** 2, weights=weight_n)) * n_labelled / (n_labelled - 1)
    return Pilot(
        theta=theta,
        variance=whole,
        own=float(np.average(label_n * (1 - label_n), weights=weight_n)),
        rho_squared=rho_squared if n_judges else UNDEFINED,
        icc=icc,
        residual_icc=residual_icc,
        icc_source=source,
        same_problem=q,
        n_labelled=n_labelled,
        n_pairs=len(pairs.labels_N),
        n_problems=len(np.unique(pairs.problem_N)),
        n_judges=n_judges,
        n_strata=n_strata,
        within=min(float(variance[0]) * n_labelled / free / whole, 1.0),
    )


def without_pilot(problem_N: np.ndarray, rho: float | None, *, n_judges: int = 1) -> Pilot:
    """Before any label: labels of 0 and 1 that are right half of the time, pairs of a problem all alike, rho guessed.

    Labels with ties, or a win rate other than 1/2, need fewer. ``rho``: the user's guess, None without judges.

    Raises:
        DatasetError: a rho outside (-1, 1).
    """
    if rho is not None and not -1 < rho < 1:
        raise DatasetError(
            "the plan", f"a correlation of {rho:g}", field="rho", remedy="between -1 and 1, both excluded"
        )
    q = _same_problem(problem_N)
    square = float("nan") if rho is None else rho**2
    return Pilot(
        theta=0.5,
        variance=0.25,
        own=0.0,
        rho_squared=Interval(square, float("nan"), float("nan")),
        icc=1.0 if q > 0 else 0.0,
        residual_icc=1.0 if q > 0 else 0.0,
        icc_source="worst case" if q > 0 else "one pair per problem",
        same_problem=q,
        n_labelled=0,
        n_pairs=len(problem_N),
        n_problems=len(np.unique(problem_N)),
        n_judges=0 if rho is None else n_judges,
    )


def _weights(pairs: LabelledPairs, labelled_N: np.ndarray) -> np.ndarray:
    """What a labelled pair counts, mean 1: all the same without strata."""
    stratum_n, wave_n = pairs.stratum_N[labelled_N], pairs.wave_N[labelled_N]
    share_S = np.bincount(pairs.stratum_N) / len(pairs.stratum_N)
    cell_n = wave_n * len(share_S) + stratum_n
    in_cell_n, in_wave_n = (np.bincount(key_n - key_n.min())[key_n - key_n.min()] for key_n in (cell_n, wave_n))
    weight_n = share_S[stratum_n] / in_cell_n * in_wave_n
    return np.asarray(weight_n / weight_n.mean())


def _masks(stratum_n: np.ndarray) -> list[np.ndarray]:
    """Which labelled pairs are of each stratum that has some."""
    return [stratum_n == s for s in np.unique(stratum_n)]


def _moments(row_nD: np.ndarray, weight_n: np.ndarray, problem_n: np.ndarray, n_problems: int) -> np.ndarray:
    """Weighted sums of products by problem, float [P, D, D]."""
    moment_PDD = np.zeros((n_problems, row_nD.shape[1], row_nD.shape[1]))
    np.add.at(moment_PDD, problem_n, weight_n[:, None, None] * row_nD[:, :, None] * row_nD[:, None, :])
    return moment_PDD


def _within(counts_RP: np.ndarray, moments: Sequence[np.ndarray]) -> np.ndarray:
    """Covariances (divided by n) of deviations from the means of strata in each resample, float [R, D, D].

    Args:
        moments: of every stratum, float [P, D, D]; the first column is the constant.
    """
    total_R, square_RDD = np.zeros(len(counts_RP)), np.zeros((len(counts_RP), *moments[0].shape[1:]))
    for moment_PDD in moments:
        has_P = moment_PDD[:, 0, 0] > 0
        moment_RDD = np.einsum("rp,pij->rij", counts_RP[:, has_P], moment_PDD[has_P], optimize=True)
        count_R = moment_RDD[:, 0, 0]
        mean_RD = moment_RDD[:, 0] / np.where(count_R > 0, count_R, 1.0)[:, None]
        square_RDD += moment_RDD - count_R[:, None, None] * mean_RD[:, :, None] * mean_RD[:, None, :]
        total_R += count_R
    return square_RDD / total_R[:, None, None]


def _regress(centred_RDD: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance of the last column, R^2 (NaN without variance) and alpha of the others, from covariances [R, D, D]."""
    covariance_RJ, variance_R = centred_RDD[:, 1:-1, -1], centred_RDD[:, -1, -1]
    alpha_RJ = np.einsum("rij,rj->ri", np.linalg.pinv(centred_RDD[:, 1:-1, 1:-1], 1e-10, hermitian=True), covariance_RJ)
    usable_R = variance_R > 1e-12
    explained_R = (alpha_RJ * covariance_RJ).sum(1) / np.where(usable_R, variance_R, 1.0)
    return variance_R, np.where(usable_R, np.clip(explained_R, 0, 1), np.nan), alpha_RJ


def _adjusted(r_squared_R: np.ndarray, free: int, n_judges: int) -> np.ndarray:
    """For the number of judges; ``free``: labels minus strata."""
    return np.maximum(1 - (1 - r_squared_R) * free / (free - n_judges), 0.0)


def _same_problem(problem_N: np.ndarray) -> float:
    size_P = np.bincount(problem_N).astype(float)
    return float((size_P * (size_P - 1)).sum() / (len(problem_N) * (len(problem_N) - 1)))


def _intraclass(
    pairs: LabelledPairs, labelled_N: np.ndarray, weight_n: np.ndarray, predicted_N: np.ndarray, q: float
) -> tuple[float, float, Literal["labels", "judge", "worst case", "one pair per problem"]]:
    """Intraclass correlation of labels and of residuals within strata, in [0, 1], and where it is from."""
    if q == 0:
        return 0.0, 0.0, "one pair per problem"
    problem_N, label_n = pairs.problem_N, pairs.labels_N[labelled_N]
    problem_n = problem_N[labelled_N]
    size_P = np.bincount(problem_n)
    if (size_P * (size_P - 1)).sum() / 2 >= ENOUGH_PAIRS_OF_LABELS:
        residual_n = _deviations(label_n - predicted_N[labelled_N], pairs.stratum_N[labelled_N], weight_n)
        return _icc(problem_n, label_n), _icc(problem_n, residual_n), "labels"
    if np.ptp(predicted_N) > 0:
        away_N = _deviations(predicted_N, pairs.stratum_N, np.ones(len(predicted_N)))
        return _icc(problem_N, predicted_N), _icc(problem_N, away_N), "judge"
    return 1.0, 1.0, "worst case"


def _deviations(value_N: np.ndarray, stratum_N: np.ndarray, weight_N: np.ndarray) -> np.ndarray:
    """From the weighted mean of the stratum, float [N]."""
    total_S = np.bincount(stratum_N, weight_N)
    mean_S = np.bincount(stratum_N, weight_N * value_N) / np.where(total_S > 0, total_S, 1.0)
    return np.asarray(value_N - mean_S[stratum_N])


def _icc(problem_N: np.ndarray, value_N: np.ndarray) -> float:
    """Mean product of two different deviations of one problem / mean squared deviation, within [0, 1]."""
    away_N = value_N - value_N.mean()
    sum_P, square_P = np.bincount(problem_N, away_N), np.bincount(problem_N, away_N**2)
    size_P = np.bincount(problem_N).astype(float)
    covariance = (sum_P**2 - square_P).sum() / (size_P * (size_P - 1)).sum()
    mean_square = square_P.sum() / len(value_N)
    return float(np.clip(covariance / mean_square, 0, 1)) if mean_square > 0 else 0.0
