"""Estimates and their variances, of many studies at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.control_variates.coefficients import Coefficients, Sums, coefficients_of, sums_of
from ops.control_variates.studies import Studies, grouped, starts
from ops.estimation.bootstrap import divide

ROUNDING = 1e-24  # a smaller variance of labels in [0, 1] is the rounding of one that is 0


@dataclass(frozen=True)
class Fit:
    """Estimates of R studies.

    Attributes:
        value_R, variance_R, freedom_R: estimate, squared standard error, degrees of freedom of its t quantile.
        alpha_RJ: coefficients on the judges' own scales; of a cross-fitted estimate the mean over folds.
        correlation_R: of labels and judges within strata (several judges: the multiple correlation).
        label_variance_R: variance of single labels, of which ``variance_R`` is 1 / (effective number of labels).
        own_variance_R: mean over pairs of z (1 - z): how far labels are from 0 and 1. Theta (1 - theta) minus it is
            the variance that labels have where theta is true.
        problems_R: labelled problems.
    """

    value_R: np.ndarray
    variance_R: np.ndarray
    freedom_R: np.ndarray
    alpha_RJ: np.ndarray
    correlation_R: np.ndarray
    label_variance_R: np.ndarray
    own_variance_R: np.ndarray
    problems_R: np.ndarray


def fit(studies: Studies, *, cross_fitted: bool = False) -> Fit:
    """theta = sum w z - sum w alpha zh + alpha mean(zh), with weights w that sum to 1 in every stratum's share.

    Without strata and waves: theta = mean_n(z) - alpha (mean_n(zh) - mean_N(zh)) (arXiv 2502.10563). Cross-fitted, the
    pairs of fold k have alpha of the other folds, times (1 - n/N) (mean_k(zh) - mean of unlabelled zh): the same
    difference, as the labelled pairs are among the N, but no score of another fold is in it, so its mean is 0 whatever
    alpha is. Without judges: the mean of the labels.
    """
    sums = sums_of(studies)
    found = coefficients_of(sums)
    value_R = (sums.weight_RSW * sums.label_RSKW.sum(2)).sum((1, 2))
    weighted_RSKJ = (sums.weight_RSW[:, :, None, :, None] * sums.judge_RSKWJ).sum(3)
    mass_RSK = (sums.weight_RSW[:, :, None] * sums.count_RSKW).sum(3)
    if cross_fitted:
        value_R = value_R - cross_fitted_part(sums, found, weighted_RSKJ, mass_RSK)
        alpha_RJ = (mass_RSK.sum(1)[..., None] * found.alpha_RKJ).sum(1)
    else:
        alpha_RJ = found.alpha_RKJ[:, 0]
        mean_RJ = sums.score_RSJ.sum(1) / sums.pairs_RS.sum(1)[:, None]
        value_R = value_R - (alpha_RJ * (weighted_RSKJ.sum((1, 2)) - mean_RJ)).sum(1)
    variance_R, freedom_R, problems_R = variance_of(studies, sums, found, alpha_RJ, cross_fitted)
    label_variance_R, own_R = label_spread(sums)
    single = alpha_RJ.shape[1] == 1
    sign_R = np.sign(found.product_RJ[:, 0]) if single else 1.0
    return Fit(
        value_R=value_R,
        variance_R=variance_R,
        freedom_R=freedom_R,
        alpha_RJ=alpha_RJ / studies.scale_RJ,
        correlation_R=sign_R * np.sqrt(found.explained_R),
        label_variance_R=label_variance_R,
        own_variance_R=own_R,
        problems_R=np.broadcast_to(problems_R, value_R.shape),
    )


def cross_fitted_part(sums: Sums, found: Coefficients, weighted_RSKJ: np.ndarray, mass_RSK: np.ndarray) -> np.ndarray:
    """What the judges take from the mean of the labels, float [R]."""
    unlabelled_RS = sums.pairs_RS - sums.count_RS
    rest_RSJ = sums.score_RSJ - sums.judge_RSKWJ.sum((2, 3))
    rest_RSJ = rest_RSJ / np.where(unlabelled_RS > 0, unlabelled_RS, 1.0)[..., None]
    away_RSKJ = weighted_RSKJ - mass_RSK[..., None] * rest_RSJ[:, :, None]
    part_RS = unlabelled_RS / sums.pairs_RS
    return np.asarray((found.alpha_RKJ * (part_RS[..., None, None] * away_RSKJ).sum(1)).sum((1, 2)))


def label_spread(sums: Sums) -> tuple[np.ndarray, np.ndarray]:
    """Variance of a label over all pairs, and the mean of z (1 - z), both float [R]."""
    count_R = sums.count_RS.sum(1)
    mean_R = (sums.weight_RSW * sums.label_RSKW.sum(2)).sum((1, 2))
    square_R = (sums.weight_RSW * sums.label_square_RSKW.sum(2)).sum((1, 2))
    spread_R = np.maximum(square_R - mean_R**2, 0.0)
    spread_R = np.where(spread_R > 1e-12, spread_R, 0.0)
    return spread_R * divide(count_R, count_R - 1), np.maximum(mean_R - square_R, 0.0)


def variance_of(
    studies: Studies, sums: Sums, found: Coefficients, alpha_RJ: np.ndarray, cross_fitted: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance from influence values summed by problem, degrees of freedom (Satterthwaite's), labelled problems.

    A labelled pair's residual d from its stratum's mean has its weight w; every pair has (mean residual of its stratum
    + alpha zh - theta) / N. With A, B, C the sums over problems of squares and of the products of the two, the variance
    is A f + 2 B sqrt(f g) + C g, f = G/(G - 1) of the labelled problems in each stratum (times
    (G - S)/(G - S - J) (1 + (1 - n/N) J/(n - S - J - 1)) for coefficients fitted to the same residuals: the second is
    what estimating them costs, exact for normal scores), g = P/(P - 1).
    """
    n_strata, n_judges = studies.n_strata, alpha_RJ.shape[1]
    residual_RL = studies.labels_RL - sum(
        found.alpha_RKJ[:, studies.fold_L, j] * studies.judges_RLJ[..., j] for j in range(n_judges)
    )
    weight_RL = sums.weight_RSW[:, studies.stratum_L, studies.wave_L] * studies.labelled_RL
    times_RL = studies.times_RP[:, studies.problem_L]
    level_RS = divide(grouped(times_RL, weight_RL * residual_RL, studies.stratum_L, n_strata), sums.share_RS)
    start_b = starts(studies.problem_L * n_strata + studies.stratum_L)  # blocks with labelled pairs
    stratum_b, problem_b = studies.stratum_L[start_b], studies.problem_L[start_b]
    labelled_Rb = np.maximum.reduceat(studies.labelled_RL, start_b, axis=1)
    times_Rb = studies.times_RP[:, problem_b]
    groups_RS = grouped(times_Rb, labelled_Rb, stratum_b, n_strata)
    one_RS = divide(groups_RS, groups_RS - 1.0)
    away_RL = weight_RL * (residual_RL - level_RS[:, studies.stratum_L]) * np.sqrt(one_RS)[:, studies.stratum_L]
    away_Rb = np.add.reduceat(away_RL, start_b, axis=1)
    start_p = starts(problem_b)
    away_Rp = np.add.reduceat(away_Rb, start_p, axis=1)
    times_Rp = studies.times_RP[:, problem_b[start_p]]
    at_p, square_R = levels(studies, sums, level_RS, alpha_RJ, problem_b[start_p])
    groups_R, n_problems_R = (groups_RS.sum(1), studies.times_RP.sum(1))
    free_R = groups_R - n_strata
    factor_R = np.ones_like(free_R)
    if not cross_fitted and n_judges:
        n_R = sums.count_RS.sum(1)
        cost_R = (1.0 - n_R / sums.pairs_RS.sum(1)) * divide(n_judges, n_R - n_strata - n_judges - 1.0)
        factor_R = divide(free_R, free_R - n_judges) * (1.0 + cost_R)
    whole_R = n_problems_R / np.maximum(n_problems_R - 1.0, 1.0)
    variance_R = (
        factor_R * (times_Rp * away_Rp**2).sum(1)
        + 2.0 * np.sqrt(factor_R * whole_R) * (times_Rp * away_Rp * at_p).sum(1)
        + whole_R * square_R
    )
    part_RS = grouped(times_Rb, away_Rb**2, stratum_b, n_strata)
    freedom_R = divide(part_RS.sum(1) ** 2, divide(part_RS**2, groups_RS - 1.0).sum(1))
    freedom_R = np.where(np.isnan(freedom_R), free_R, freedom_R) - n_judges
    problems_R = (times_Rp * np.maximum.reduceat(labelled_Rb, start_p, axis=1)).sum(1)
    variance_R = np.where(variance_R > ROUNDING, variance_R, 0.0)
    return variance_R, np.maximum(freedom_R, 1.0), problems_R


def levels(
    studies: Studies, sums: Sums, level_RS: np.ndarray, alpha_RJ: np.ndarray, problem_p: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What all pairs of a problem add by being drawn: of ``problem_p`` [R, p], and the sum of squares over all [R].

    They sum to 0. Where problems are blocks the sum of squares is a quadratic form in sums over strata: no [R, P] array
    is made.
    """
    n_R = sums.pairs_RS.sum(1)
    mean_R = (sums.share_RS * level_RS).sum(1) + (alpha_RJ * sums.score_RSJ.sum(1)).sum(1) / n_R
    step_RS = (level_RS - mean_R[:, None]) / n_R[:, None]
    slope_RJ = alpha_RJ / n_R[:, None]
    judges = range(alpha_RJ.shape[1])
    if not studies.apart:
        level_RB = studies.count_B * step_RS[:, studies.stratum_B]
        for j in judges:
            level_RB = level_RB + slope_RJ[:, j, None] * studies.judges_RBJ[..., j]
        level_RP = np.add.reduceat(level_RB, starts(studies.problem_B), axis=1)
        return level_RP[:, problem_p], (studies.times_RP * level_RP**2).sum(1)
    count_B, score_RBJ, n_strata = studies.count_B, studies.judges_RBJ, studies.n_strata
    at_p = count_B[problem_p] * step_RS[:, studies.stratum_B[problem_p]]

    def by_stratum(values_RB: np.ndarray) -> np.ndarray:
        return grouped(studies.times_RP, values_RB, studies.stratum_B, n_strata)

    square_R = (step_RS**2 * by_stratum(count_B[None] ** 2)).sum(1)
    for j in judges:
        at_p = at_p + slope_RJ[:, j, None] * score_RBJ[:, problem_p, j]
        square_R = square_R + 2 * slope_RJ[:, j] * (step_RS * by_stratum(count_B * score_RBJ[..., j])).sum(1)
        for k in judges:
            both_RS = by_stratum(score_RBJ[..., j] * score_RBJ[..., k])
            square_R = square_R + slope_RJ[:, j] * slope_RJ[:, k] * both_RS.sum(1)
    return at_p, np.maximum(square_R, 0.0)


def synthetic_fit(studies: Studies) -> Fit:
    """Mean of a single judge over all pairs, with its standard error by problem. Biased where the judge is."""
    sums = sums_of(studies)
    n_R, total_R = sums.pairs_RS.sum(1), sums.score_RSJ[..., 0].sum(1)
    away_RB = (studies.judges_RBJ[..., 0] - studies.count_B * (total_R / n_R)[:, None]) / n_R[:, None]
    away_RP = np.add.reduceat(away_RB, starts(studies.problem_B), axis=1)
    n_problems_R = studies.times_RP.sum(1)
    variance_R = (studies.times_RP * away_RP**2).sum(1) * n_problems_R / np.maximum(n_problems_R - 1.0, 1.0)
    nothing_R = np.full(total_R.shape, np.nan)
    return Fit(
        value_R=total_R / n_R,
        variance_R=variance_R,
        freedom_R=np.broadcast_to(np.maximum(n_problems_R - 1.0, 1.0), total_R.shape),
        alpha_RJ=np.zeros((len(total_R), 0)),
        correlation_R=nothing_R,
        label_variance_R=nothing_R,
        own_variance_R=nothing_R,
        problems_R=nothing_R,
    )
