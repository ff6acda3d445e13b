"""Unlabelled scores of *other* pairs than the labelled ones: the paper's form and the tuned one.

In the lab labelled pairs are always among all judged pairs (nested; ``ops.control_variates.estimate``). This is for
scores that come from elsewhere, and for comparing with other implementations. Pairs are taken to be independent.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ops.control_variates.bootstrap import saving
from ops.control_variates.coefficients import solved
from ops.control_variates.data import Estimate
from ops.control_variates.intervals import score_interval, t_interval
from ops.control_variates.studies import CONSTANT
from ops.control_variates.variance import Fit
from ops.errors import DatasetError
from ops.estimation.bootstrap import divide

Form = Literal["tuned", "plain"]


def disjoint_fit(
    labels_Rn: np.ndarray,
    judges_RnJ: np.ndarray,
    judges_RMJ: np.ndarray,
    form: Form = "tuned",
    coefficient_J: np.ndarray | None = None,
) -> Fit:
    """theta = mean_n(z - lambda zh) + lambda mean_M(zh) of R studies with n labelled and M other pairs each.

    ``plain`` (arXiv 2502.10563): lambda = alpha = Cov(z, zh) / Var(zh), both of the labelled pairs with n - 1. Its
    variance is (1 - rho^2) s_z^2 / n + rho^2 s_z^2 / M: best where M is without end, worse than labels alone where
    M < n. ``tuned`` (arXiv 2311.01453, there kept within [0, 1]): lambda = alpha / (1 + n / M) is best for any M.
    ``coefficient_J``: lambda is given, not estimated.

    The variance adds what estimating alpha costs: residual variance times c^2 (1 + n/M) J / (n - J - 2), c = lambda /
    alpha (for normal scores exact; the loss factor of control variates).
    """
    n, n_other, n_judges = labels_Rn.shape[1], judges_RMJ.shape[1], judges_RnJ.shape[2]
    both_RJ = np.concatenate([judges_RnJ, judges_RMJ], axis=1)
    mean_RJ, deviation_RJ = both_RJ.mean(1), both_RJ.std(1)
    scale_RJ = np.where(deviation_RJ <= CONSTANT * np.abs(mean_RJ), np.inf, deviation_RJ)
    near_RnJ, far_RMJ = ((part - mean_RJ[:, None]) / scale_RJ[:, None] for part in (judges_RnJ, judges_RMJ))
    away_Rn, away_RnJ = labels_Rn - labels_Rn.mean(1, keepdims=True), near_RnJ - near_RnJ.mean(1, keepdims=True)
    square_RJJ = np.einsum("rni,rnj->rij", away_RnJ, away_RnJ) / (n - 1)
    product_RJ = np.einsum("rn,rnj->rj", away_Rn, away_RnJ) / (n - 1)
    label_variance_R = (away_Rn**2).sum(1) / (n - 1)
    best_RJ = solved(square_RJJ[:, None], product_RJ[:, None])[:, 0]
    explained_R = np.clip(divide((best_RJ * product_RJ).sum(1), label_variance_R), 0.0, 1.0)
    part = 1.0 / (1.0 + n / n_other) if form == "tuned" else 1.0
    if coefficient_J is None:
        used_RJ, free = part * best_RJ, n - 1 - n_judges
        rest_RJ = best_RJ - used_RJ
        residual_R = label_variance_R * (1.0 - explained_R) * (n - 1) / free
        residual_R = residual_R * (1.0 + part**2 * (1.0 + n / n_other) * n_judges / (free - 1))
        labelled_R = residual_R + np.einsum("ri,rij,rj->r", rest_RJ, square_RJJ, rest_RJ)
    else:
        used_RJ, free = np.where(np.isinf(scale_RJ), 0.0, coefficient_J * deviation_RJ), n - 1
        labelled_R = (label_variance_R - 2.0 * (used_RJ * product_RJ).sum(1)) + np.einsum(
            "ri,rij,rj->r", used_RJ, square_RJJ, used_RJ
        )
    projected_RM = (far_RMJ * used_RJ[:, None]).sum(2)
    value_R = labels_Rn.mean(1) - (used_RJ * near_RnJ.mean(1)).sum(1) + projected_RM.mean(1)
    return Fit(
        value_R=value_R,
        variance_R=np.maximum(labelled_R, 0.0) / n + projected_RM.var(1, ddof=1) / n_other,
        freedom_R=np.full(len(labels_Rn), float(free)),
        alpha_RJ=used_RJ / scale_RJ,
        correlation_R=np.sqrt(explained_R) * (np.sign(product_RJ[:, 0]) if n_judges == 1 else 1.0),
        label_variance_R=np.where(label_variance_R > 1e-12, label_variance_R, 0.0),
        own_variance_R=(labels_Rn * (1.0 - labels_Rn)).mean(1),
        problems_R=np.full(len(labels_Rn), float(n)),
    )


def disjoint(
    labels_n: np.ndarray,
    judges_nJ: np.ndarray,
    judges_MJ: np.ndarray,
    *,
    form: Form = "tuned",
    coefficient_J: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """One estimate from n labelled pairs and the scores of M others; ``coefficient_J`` of the result is lambda.

    Raises:
        DatasetError: fewer than J + 3 labels (2 with given coefficients) or fewer than 2 other pairs.
    """
    n, n_judges = judges_nJ.shape
    needed = 2 if coefficient_J is not None else n_judges + 3
    if n != len(labels_n) or judges_MJ.shape[1:] != (n_judges,):
        raise DatasetError("disjoint pairs", "labels, judges_nJ and judges_MJ do not have matching shapes")
    if n < needed or len(judges_MJ) < 2:
        problem = f"{n} labels and {len(judges_MJ)} other pairs, but at least {needed} and 2 are needed"
        raise DatasetError("disjoint pairs", problem, remedy="label more pairs, or use fewer judges")
    found = disjoint_fit(labels_n[None], judges_nJ[None], judges_MJ[None], form, coefficient_J)
    human = disjoint_fit(labels_n[None], judges_nJ[None, :, :0], judges_MJ[None, :, :0])
    (low, high), (t_low, t_high) = (
        (float(ends[0][0]), float(ends[1][0]))
        for ends in (score_interval(found, confidence), t_interval(found, confidence))
    )
    nan = float("nan")
    return Estimate(
        estimator="control_variate",
        value=float(found.value_R[0]),
        standard_error=float(np.sqrt(found.variance_R[0])),
        degrees_of_freedom=float(found.freedom_R[0]),
        low=low,
        high=high,
        t_low=t_low,
        t_high=t_high,
        bootstrap_low=nan,
        bootstrap_high=nan,
        coefficient_J=found.alpha_RJ[0],
        correlation=float(found.correlation_R[0]) if n_judges else nan,
        n_labelled=n,
        n_pairs=n + len(judges_MJ),
        n_problems=n,
        saving=float(saving(found, human)[0]),
        saving_low=nan,
        saving_high=nan,
    )
