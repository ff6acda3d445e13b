"""The regression behind a gap from few labels: what ``ops.control_variates.gap`` explains, on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ops.estimation.gap import group_sizes, per_problem

Quantity = Literal["gap", "precision_minus_accuracy"]


@dataclass(frozen=True)
class LabelledResponses:
    """All N responses of one model to P problems, n of them labelled (axis J: judges).

    Attributes:
        labels_N: float [N], 1 correct, 0 not, NaN where nobody has looked. Which ones are labelled was drawn at random.
        weights_N: float [N], w(s) >= 0, of all responses.
        judges_NJ: float [N, J], scores of all responses, any scale, no NaN; J may be 0.
        problem_N: int [N], 0..P-1, every problem at least once.
    """

    labels_N: np.ndarray
    weights_N: np.ndarray
    judges_NJ: np.ndarray
    problem_N: np.ndarray


class GapRegression:
    """The regression of y = c z on c and c zh, on labelled responses, with c = a / mean - b.

    Pooled: a = w, b = 1 and mean = mean_N(w). Gap: a = g w / mean_x(w), b = g = N / (P m_x) and mean = 1.
    """

    def __init__(
        self, responses: LabelledResponses, quantity: Quantity, with_judges: bool, fold_n: np.ndarray | None = None
    ) -> None:
        self.fold_n = fold_n
        self.labelled_N = ~np.isnan(responses.labels_N)
        self.problem_N = responses.problem_N
        self.n_problems = int(responses.problem_N.max()) + 1
        self.is_pooled = quantity == "precision_minus_accuracy"
        judges_NJ = responses.judges_NJ if with_judges else responses.judges_NJ[:, :0]
        self.scale_J = np.where(judges_NJ.std(0) > 0, judges_NJ.std(0), 1.0)
        standard_NJ = (judges_NJ - judges_NJ.mean(0)) / self.scale_J
        self.zh_NK = np.column_stack([np.ones(len(standard_NJ)), standard_NJ])
        self.z_N = np.where(self.labelled_N, responses.labels_N, 0.0)
        self.a_N, self.b_N = _known_part(responses, self.n_problems, self.is_pooled)
        self.n_labelled = int(self.labelled_N.sum())

    def estimate(self) -> tuple[float, float, float, np.ndarray]:
        """Value, standard error clustered by problem, degrees of freedom, coefficients of the controls."""
        n, size = self.n_labelled, len(self.z_N)
        mean = self.a_N.mean() if self.is_pooled else 1.0
        c_N = self.a_N / mean - self.b_N
        h_NK = c_N[:, None] * self.zh_NK
        y_n, h_nK = (c_N * self.z_N)[self.labelled_N], h_NK[self.labelled_N]
        alpha_nK, shrink_n = (
            _coefficients(y_n, h_nK) if self.fold_n is None else _fold_coefficients(y_n, h_nK, self.fold_n)
        )
        # alpha (mean_n(h) - mean_N(h)) with the mean of unlabelled ones: then no score of another fold is in it
        rest_K = h_NK[~self.labelled_N].mean(0) if n < size else np.zeros(h_NK.shape[1])
        value = y_n.mean() - (1 - n / size) * (alpha_nK * (h_nK - rest_K)).sum(1).mean()
        residual_n = (y_n - y_n.mean() - (alpha_nK * (h_nK - h_nK.mean(0))).sum(1)) / shrink_n
        score_N = (h_NK - (h_NK.mean(0) if self.is_pooled else 0.0)) @ alpha_nK.mean(0) / size
        score_N[self.labelled_N] += residual_n / n
        if self.is_pooled:  # d value / d mean(w) = -precision / mean(w)
            precision = value + self.z_N[self.labelled_N].mean()
            score_N -= precision * (self.a_N / mean - 1) / size
        score_P = per_problem(self.problem_N, score_N, self.n_problems)
        square_P = (score_P - score_P.mean()) ** 2
        variance = square_P.sum() * self.n_problems / (self.n_problems - 1)
        degrees = max(square_P.sum() ** 2 / np.maximum((square_P**2).sum(), 1e-300), 1.0)
        return float(value), float(np.sqrt(variance)), float(degrees), alpha_nK.mean(0)


def _coefficients(y_n: np.ndarray, h_nK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """alpha by least squares for every labelled row, [n, K], and what residuals are divided by, 1 - leverage.

    HC3: with 100 labels two or three coefficients make residuals visibly too small.
    """
    centred_nK = h_nK - h_nK.mean(0)
    inverse_KK = np.linalg.pinv(centred_nK.T @ centred_nK, hermitian=True)
    alpha_K = inverse_KK @ centred_nK.T @ (y_n - y_n.mean())
    leverage_n = 1 / len(y_n) + np.einsum("nk,kl,nl->n", centred_nK, inverse_KK, centred_nK)
    return np.broadcast_to(alpha_K, h_nK.shape), np.maximum(1 - leverage_n, 1 / len(y_n))


def _fold_coefficients(y_n: np.ndarray, h_nK: np.ndarray, fold_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """alpha from the other folds for every labelled row; residuals from it are not too small."""
    alpha_nK = np.empty_like(h_nK)
    for k in np.unique(fold_n):
        alpha_nK[fold_n == k] = _coefficients(y_n[fold_n != k], h_nK[fold_n != k])[0][0]
    return alpha_nK, np.ones(len(y_n))


def _known_part(responses: LabelledResponses, n_problems: int, is_pooled: bool) -> tuple[np.ndarray, np.ndarray]:
    """a and b of c = a / mean - b, float [N] each; where a filter keeps nothing of a problem a = b, so c = 0."""
    weights_N, problem_N = responses.weights_N, responses.problem_N
    if is_pooled:
        return weights_N, np.ones(len(weights_N))
    size_P = group_sizes(problem_N, n_problems)
    mean_P = per_problem(problem_N, weights_N, n_problems) / size_P
    relative_N = np.where(mean_P[problem_N] > 0, weights_N / np.where(mean_P > 0, mean_P, 1.0)[problem_N], 1.0)
    g_N = (len(weights_N) / n_problems / size_P)[problem_N]
    return g_N * relative_N, g_N
