"""Sums over labelled pairs, the weight of each, and the coefficients of the judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.control_variates.studies import Studies, grouped
from ops.estimation.bootstrap import divide

FLAT = 1e-10  # directions of the judges' covariance below this part of a standardised judge's variance are left out


@dataclass(frozen=True)
class Sums:
    """Sums by stratum, fold and wave; ``pairs`` are all pairs of a stratum, the rest labelled ones.

    Attributes:
        pairs_RS, share_RS: number of all pairs N_h and W_h = N_h / N; ``count_RS`` labelled ones n_h.
        score_RSJ: sums of the standardised scores of all pairs.
        count_RSKW, label_RSKW, label_square_RSKW: number of labelled pairs, sums of labels and of their squares.
        judge_RSKWJ, product_RSKJ, square_RSKJJ: sums of scores, of labels times scores, of scores times scores.
        weight_RSW: of one labelled pair in the estimate of the mean; times the counts they sum to 1.
    """

    pairs_RS: np.ndarray
    share_RS: np.ndarray
    count_RS: np.ndarray
    score_RSJ: np.ndarray
    count_RSKW: np.ndarray
    label_RSKW: np.ndarray
    label_square_RSKW: np.ndarray
    judge_RSKWJ: np.ndarray
    product_RSKJ: np.ndarray
    square_RSKJJ: np.ndarray
    weight_RSW: np.ndarray


def sums_of(studies: Studies) -> Sums:
    """All sums that an estimate needs, in one pass over the pairs."""
    n_strata, n_judges = studies.n_strata, studies.n_judges
    n_folds, n_waves = (int(part_L.max(initial=0)) + 1 for part_L in (studies.fold_L, studies.wave_L))
    cell_L = (studies.stratum_L * n_folds + studies.fold_L) * n_waves + studies.wave_L
    times_RL = studies.labelled_RL * studies.times_RP[:, studies.problem_L]
    times_RB = studies.times_of_blocks()

    def by_cell(values_RL: np.ndarray) -> np.ndarray:
        found = grouped(times_RL, values_RL, cell_L, n_strata * n_folds * n_waves)
        return found.reshape(-1, n_strata, n_folds, n_waves)

    judges = [studies.judges_RLJ[..., j] for j in range(n_judges)]
    count_RSKW = by_cell(np.ones((1, len(cell_L))))
    label_RSKW = by_cell(studies.labels_RL)
    n_studies = max(len(count_RSKW), len(label_RSKW), len(studies.judges_RBJ))
    products = [by_cell(studies.labels_RL * judge).sum(3) for judge in judges]
    squares = [[by_cell(one * other).sum(3) for other in judges] for one in judges]
    pairs_RS = grouped(times_RB, studies.count_B[None], studies.stratum_B, n_strata)
    scores = [grouped(times_RB, studies.judges_RBJ[..., j], studies.stratum_B, n_strata) for j in range(n_judges)]
    share_RS = pairs_RS / pairs_RS.sum(1, keepdims=True)
    shape = (n_studies, n_strata, n_folds)
    return Sums(
        pairs_RS=pairs_RS,
        share_RS=share_RS,
        count_RS=count_RSKW.sum((2, 3)),
        score_RSJ=stacked(scores, shape[:2]),
        count_RSKW=count_RSKW,
        label_RSKW=label_RSKW,
        label_square_RSKW=by_cell(studies.labels_RL**2),
        judge_RSKWJ=stacked([by_cell(judge) for judge in judges], (*shape, n_waves)),
        product_RSKJ=stacked(products, shape),
        square_RSKJJ=stacked([stacked(row, shape) for row in squares], (*shape, n_judges)),
        weight_RSW=pair_weights(share_RS, count_RSKW.sum(2)),
    )


def stacked(parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Arrays along a new last axis; of length 0 where there are none."""
    return np.stack(parts, axis=-1) if parts else np.zeros((*shape, 0))


def pair_weights(share_RS: np.ndarray, count_RSW: np.ndarray) -> np.ndarray:
    """Weight of one labelled pair of a stratum and wave: W_h / n_hw times the wave's part n_w / n.

    A wave's part comes from its total, which is chosen before any label, never from how many of the stratum were drawn,
    which may follow from earlier labels: so the estimate stays unbiased. Where a wave has none of a stratum, the
    other waves share its part there.
    """
    covered_RSW = count_RSW > 0
    part_RSW = count_RSW.sum(1)[:, None] * covered_RSW
    part_RSW = divide(part_RSW, part_RSW.sum(2, keepdims=True))
    return np.where(covered_RSW, share_RS[..., None] * part_RSW / np.maximum(count_RSW, 1e-300), 0.0)


@dataclass(frozen=True)
class Coefficients:
    """Coefficients alpha of standardised judges, fold by fold, and the explained part of the labels' variance.

    Attributes:
        alpha_RKJ: of fold k, from the other folds; with one fold from all labelled pairs.
        explained_R: squared multiple correlation of labels and judges within strata, from all labelled pairs.
        product_RJ: pooled covariance of labels and judges (its sign is that of a single judge's correlation).
    """

    alpha_RKJ: np.ndarray
    explained_R: np.ndarray
    product_RJ: np.ndarray


def coefficients_of(sums: Sums) -> Coefficients:
    """alpha = Cov(z, zh) / Var(zh) pooled within strata, weighted to minimise the variance of the estimate.

    That variance depends on alpha through sum_h W_h^2 (1/n_h - 1/N_h) Var_h(z - alpha zh), so the covariances of
    stratum h count with W_h^2 (1/n_h - 1/N_h). Several judges: least squares. Directions without
    variance (constant or collinear judges) get no weight.
    """
    n_folds = sums.count_RSKW.shape[2]
    count_RSK = sums.count_RSKW.sum(3)
    label_RSK, judge_RSKJ = sums.label_RSKW.sum(3), sums.judge_RSKWJ.sum(3)
    by_fold = (count_RSK, label_RSK, judge_RSKJ, sums.product_RSKJ, sums.square_RSKJJ)
    total = [np.expand_dims(part.sum(2), 1) for part in by_fold]
    label_square_R1S = np.expand_dims(sums.label_square_RSKW.sum((2, 3)), 1)
    covariance_R1J, variance_R1JJ, spread_R1 = pooled(sums, total, label_square_R1S)
    all_alpha_R1J = solved(variance_R1JJ, covariance_R1J)
    explained_R = divide((all_alpha_R1J * covariance_R1J).sum(2)[:, 0], spread_R1[:, 0])
    if n_folds == 1:
        return Coefficients(all_alpha_R1J, np.clip(explained_R, 0.0, 1.0), covariance_R1J[:, 0])
    others = [whole - np.moveaxis(part, 2, 1) for whole, part in zip(total, by_fold, strict=True)]
    covariance_RKJ, variance_RKJJ, _ = pooled(sums, others)
    alpha_RKJ = solved(variance_RKJJ, covariance_RKJ)
    return Coefficients(alpha_RKJ, np.clip(explained_R, 0.0, 1.0), covariance_R1J[:, 0])


def pooled(
    sums: Sums, parts: list[np.ndarray], label_square_RKS: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariances [R, K, J], variances [R, K, J, J] of judges and variance [R, K] of labels, pooled within strata.

    ``parts``: counts [R, K, S], sums of labels, scores [.., J], labels times scores and scores times scores [.., J, J].
    """
    count_RKS, label_RKS, judge_RKSJ, product_RKSJ, square_RKSJJ = parts
    one_RKS = np.maximum(count_RKS, 1.0)
    covariance_RKSJ = product_RKSJ - (label_RKS / one_RKS)[..., None] * judge_RKSJ
    variance_RKSJJ = square_RKSJJ - judge_RKSJ[..., :, None] * judge_RKSJ[..., None, :] / one_RKS[..., None, None]
    unlabelled_RS = np.maximum(1.0 - sums.count_RS / sums.pairs_RS, 0.0)
    unlabelled_RS = np.where(unlabelled_RS.sum(1, keepdims=True) > 0, unlabelled_RS, 1.0)  # else alpha has no part
    usable_RKS = count_RKS > 1.5
    weight_RKS = np.where(
        usable_RKS,
        (sums.share_RS**2 * unlabelled_RS)[:, None] / (one_RKS * np.where(usable_RKS, count_RKS - 1.0, 1.0)),
        0.0,
    )
    weight_RKS = weight_RKS / np.maximum((weight_RKS * count_RKS).sum(2, keepdims=True), 1e-300)
    spread_RK = np.zeros(count_RKS.shape[:2])
    if label_square_RKS is not None:
        spread_RK = (weight_RKS * (label_square_RKS - label_RKS**2 / one_RKS)).sum(2)
    covariance_RKJ = (weight_RKS[..., None] * covariance_RKSJ).sum(2)
    return covariance_RKJ, (weight_RKS[..., None, None] * variance_RKSJJ).sum(2), spread_RK


def solved(variance_RKJJ: np.ndarray, covariance_RKJ: np.ndarray) -> np.ndarray:
    """Coefficients float [R, K, J]; directions in which the judges do not vary get 0."""
    if covariance_RKJ.shape[-1] == 0:
        return covariance_RKJ
    if covariance_RKJ.shape[-1] == 1:
        flat_RKJ = variance_RKJJ[..., 0] <= FLAT
        return np.where(flat_RKJ, 0.0, covariance_RKJ / np.where(flat_RKJ, 1.0, variance_RKJJ[..., 0]))
    value_RKJ, vector_RKJJ = np.linalg.eigh(variance_RKJJ)
    flat_RKJ = value_RKJ <= FLAT
    inverse_RKJ = np.where(flat_RKJ, 0.0, 1.0 / np.where(flat_RKJ, 1.0, value_RKJ))
    turned_RKJ = np.einsum("rkji,rkj->rki", vector_RKJJ, covariance_RKJ) * inverse_RKJ
    return np.asarray(np.einsum("rkji,rki->rkj", vector_RKJJ, turned_RKJ))
