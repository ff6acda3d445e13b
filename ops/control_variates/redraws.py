"""Redraws of labelled pairs from a population that is known, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from ops.control_variates.data import LabelledPairs
from ops.errors import DatasetError
from ops.estimation.bootstrap import resample_counts

CurveEstimator = Literal["human", "control_variate", "cross_fitted"]
BLOCK = 100
"""Redraws at once: bounds memory at a few [BLOCK, L / 2, J] arrays."""


class Population:
    """The labelled pairs as a population: labels and standardised judgements around their means."""

    def __init__(self, pairs: LabelledPairs, judge_sets: Mapping[str, Sequence[int]]) -> None:
        labelled_N = ~np.isnan(pairs.labels_N)
        self.size = int(labelled_N.sum())
        self.judge_sets = {name: list(columns) for name, columns in judge_sets.items()}
        label_L, judges_LJ = pairs.labels_N[labelled_N], pairs.judges_NJ[labelled_N]
        self.problem_L = np.unique(pairs.problem_N[labelled_N], return_inverse=True)[1]
        if np.ptp(label_L) == 0:
            raise DatasetError("the curve", "all labels are equal: no redraw has an error", field="labels")
        spread_J = judges_LJ.std(0)
        standard_LJ = (judges_LJ - judges_LJ.mean(0)) / np.where(spread_J > 0, spread_J, 1.0)
        self.row_LD = np.column_stack([np.ones(self.size), standard_LJ, label_L - label_L.mean()])
        moment_PDD = np.zeros((int(self.problem_L.max()) + 1, *[self.row_LD.shape[1]] * 2))
        np.add.at(moment_PDD, self.problem_L, self.row_LD[:, :, None] * self.row_LD[:, None, :])
        self.moment_PDD = moment_PDD

    def variances(self, moment_BDD: np.ndarray, judge: str | None) -> np.ndarray:
        """Variance (ddof 1) of labels, or of what the set of judges leaves over, float [B]."""
        columns = [1 + j for j in self.judge_sets[judge]] if judge is not None else []
        alpha_BJ, centred_BDD = _least_squares(moment_BDD, columns)
        explained_B = np.einsum("bj,bj->b", alpha_BJ, centred_BDD[:, columns, -1])
        return np.asarray((centred_BDD[:, -1, -1] - explained_B) / (moment_BDD[:, 0, 0] - 1))

    def predicted(self, grid_G: np.ndarray, judge: str | None, folds: int | None) -> np.ndarray:
        """The theory's squared error, float [G]; NaN where there is none: alpha from judges + 2 labels or fewer."""
        n_judges = len(self.judge_sets[judge]) if judge is not None else 0
        fitted_G = grid_G * (1 - 1 / folds) if folds else grid_G.astype(float)
        freedom_G = fitted_G - n_judges - 2
        has_theory_G = freedom_G > 0
        price_G = np.where(has_theory_G, (fitted_G - 2) / np.where(has_theory_G, freedom_G, 1.0), np.nan)
        price_G = price_G if n_judges else np.ones(len(grid_G))
        return np.asarray((1 / grid_G - 1 / self.size) * self.variances(self.moment_PDD.sum(0)[None], judge) * price_G)

    def resampled_variances(self, resamples: int, seed: int) -> dict[str | None, np.ndarray]:
        """Variance in a population of resampled problems / variance here, float [B] by set of judges."""
        counts_BP = resample_counts(len(self.moment_PDD), resamples, seed)
        moment_BDD = (counts_BP @ self.moment_PDD.reshape(len(self.moment_PDD), -1)).reshape(
            resamples, *self.moment_PDD.shape[1:]
        )
        here = self.moment_PDD.sum(0)[None]
        names: list[str | None] = [None, *self.judge_sets]
        return {name: self.variances(moment_BDD, name) / self.variances(here, name) for name in names}


def redrawn_errors(
    population: Population, grid_G: np.ndarray, folds: int, redraws: int, seed: int
) -> dict[tuple[CurveEstimator, str | None], np.ndarray]:
    """Estimate minus the mean of all labels, float [R, G] by estimator and set of judges."""
    rng = np.random.default_rng([seed, 0])
    found: dict[tuple[CurveEstimator, str | None], list[np.ndarray]] = {}
    for start in range(0, redraws, BLOCK):
        order_RL = rng.random((min(BLOCK, redraws - start), population.size)).argsort(axis=1)[:, : grid_G[-1]]
        moment_RGKDD = _prefix_moments(population, order_RL, grid_G, folds)
        whole_RGDD = moment_RGKDD.sum(2)
        mean_RGD = whole_RGDD[..., 0, :] / grid_G[:, None]
        found.setdefault(("human", None), []).append(mean_RGD[..., -1])
        for name, judges in population.judge_sets.items():
            columns = [1 + j for j in judges]
            alpha_RGJ, _ = _least_squares(whole_RGDD, columns)
            corrected_RG = mean_RGD[..., -1] - (alpha_RGJ * mean_RGD[..., columns]).sum(-1)
            found.setdefault(("control_variate", name), []).append(corrected_RG)
            if folds > 1:
                others_RGKDD = whole_RGDD[:, :, None] - moment_RGKDD
                alpha_RGKJ, _ = _least_squares(others_RGKDD, columns)
                # times (1 - n/L) (mean of the fold - mean of unlabelled): judgements have the mean 0 over all L pairs
                sum_RGKJ = moment_RGKDD[..., 0, columns]
                rest_RGJ = -whole_RGDD[..., 0, columns] / (population.size - grid_G)[:, None]
                away_RGKJ = sum_RGKJ - moment_RGKDD[..., 0, 0, None] * rest_RGJ[:, :, None]
                part_RG = (alpha_RGKJ * away_RGKJ).sum((2, 3)) / grid_G * (1 - grid_G / population.size)
                found.setdefault(("cross_fitted", name), []).append(mean_RGD[..., -1] - part_RG)
    return {key: np.concatenate(blocks) for key, blocks in found.items()}


def _prefix_moments(population: Population, order_RL: np.ndarray, grid_G: np.ndarray, folds: int) -> np.ndarray:
    """Sums of products of (1, judges, label) over the first n of each redraw, by fold, float [R, G, K, D, D]."""
    n_redraws, n_columns = len(order_RL), population.row_LD.shape[1]
    problem_RL = population.problem_L[order_RL]
    first_RP = np.zeros((n_redraws, len(population.moment_PDD)), dtype=int)
    backwards = np.arange(order_RL.shape[1])[::-1]
    first_RP[np.arange(n_redraws)[:, None], problem_RL[:, ::-1]] = backwards  # the last one written is the first drawn
    fold_RL = np.take_along_axis(first_RP, problem_RL, axis=1) % folds
    row_RLD = population.row_LD[order_RL]
    moment_RGKDD = np.empty((n_redraws, len(grid_G), folds, n_columns, n_columns))
    starts_G = np.r_[0, grid_G[:-1]]
    for k in range(folds):
        held_RLD = row_RLD * (fold_RL == k)[..., None] if folds > 1 else row_RLD
        for i in range(n_columns):
            for j in range(i, n_columns):
                sum_RG = np.add.reduceat(held_RLD[..., i] * row_RLD[..., j], starts_G, axis=1).cumsum(axis=1)
                moment_RGKDD[:, :, k, i, j] = moment_RGKDD[:, :, k, j, i] = sum_RG
    return moment_RGKDD


def _least_squares(moment_XDD: np.ndarray, columns: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of ``columns`` for the last column, with a constant, [..., J], and the centred moments."""
    mean_XD = moment_XDD[..., 0, :] / moment_XDD[..., 0, 0, None]
    centred_XDD = moment_XDD - moment_XDD[..., 0, 0, None, None] * mean_XD[..., :, None] * mean_XD[..., None, :]
    covariance_XJ = centred_XDD[..., columns, -1]
    if len(columns) == 1:
        variance_XJ = centred_XDD[..., columns, columns]
        flat_XJ = variance_XJ <= 1e-10 * moment_XDD[..., 0, 0, None]
        return np.where(flat_XJ, 0.0, covariance_XJ / np.where(flat_XJ, 1.0, variance_XJ)), centred_XDD
    among_XJJ = centred_XDD[..., columns, :][..., columns]
    alpha_XJ = np.einsum("...ij,...j->...i", np.linalg.pinv(among_XJJ, 1e-10, hermitian=True), covariance_XJ)
    return alpha_XJ, centred_XDD
