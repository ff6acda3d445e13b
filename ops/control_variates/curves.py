"""Squared error against the number of labels, with and without the judge (the figures of 2502.10563).

All L labelled pairs are taken as a population of their own, whose mean is known. n of them are drawn at random without
replacement and count as labelled, the others as unlabelled; the squared error is against the mean of all L labels, its
mean is over redraws. All estimators are read on the same redraws. Judgements of pairs without a label play no part:
they would move the estimate towards another mean than that of the L labels.

Theory for that population (S^2 the variance of labels, ddof 1): human (1/n - 1/L) S^2; with J judges (1/n - 1/L) S^2
(1 - rho^2) (n - 2)/(n - J - 2), the last factor being the price of alpha from n labels (exact for normal scores);
cross-fitted the same with alpha from n (1 - 1/folds). The error goes to 0 at n = L, for people and judges alike, and
the ratio of the two is 1 - rho^2 throughout. What a study with N = L pairs saves is nevertheless on the curve, as a
horizontal distance: m human labels have the squared error of n labels with the judge where 1/m - 1/L = (1 - rho^2) (1/n
- 1/L), so

    saving = 1 - n/m = rho^2 (1 - n/L),

the nested formula. ``realised_savings`` reads m off the human curve. Several pairs per problem change nothing in
expectation, because pairs are drawn.

That population is the labelled pairs with the same weight each, and redraws know no strata, whatever estimates do with
them: the curve is of labels drawn uniformly among all pairs. Where strata were labelled in unequal parts the plain mean
of the labels is not what estimates are of (.79 where the win rate is .83 in
tests/control_variates/test_allocation.py), and there is no curve.

Intervals are over problems and redraws: resampled problems are another population, whose squared error is taken to be
the theory's for it times what redraws gave over what theory gives here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ops.control_variates.data import LabelledPairs
from ops.control_variates.redraws import CurveEstimator, Population, redrawn_errors
from ops.errors import DatasetError
from ops.estimation.bootstrap import percentile_interval
from ops.types import Interval

SMALLEST = 10
FEWEST = 4
"""Below it not even the human curve says anything."""
SURELY_UNEQUAL = 0.001
"""Probability of parts of strata that far apart in a uniform draw, below which it is taken for none."""
WHY = "their plain mean is not what is estimated"


@dataclass(frozen=True)
class CurvePoint:
    """The mean squared error of one estimator with n labels.

    Attributes:
        judge: name of the set of judges, None for human labels alone.
        predicted: the variance that theory gives.
    """

    estimator: CurveEstimator
    judge: str | None
    n_labels: int
    squared_error: Interval
    predicted: float
    n_redraws: int


@dataclass(frozen=True)
class RealisedSaving:
    """Human labels with the squared error of ``n_labels`` labels with the judge.

    Attributes:
        human_labels: m, interpolated on the human curve, linear in 1/m; NaN where m is below the curve's first n.
        saving: 1 - n/m.
        predicted: the same from the theory's curves, (1 - n/L) (1 - (1 - rho^2) x price of alpha).
    """

    estimator: CurveEstimator
    judge: str
    n_labels: int
    human_labels: float
    saving: Interval
    predicted: float


@dataclass(frozen=True)
class LabelCurves:
    """Curves of one model, with the realised savings read off them."""

    points: tuple[CurvePoint, ...]
    savings: tuple[RealisedSaving, ...]


def default_grid(n_labelled: int, *, points: int = 8, smallest: int = SMALLEST) -> np.ndarray:
    """Numbers of labels from ``smallest`` to half of those that there are, geometric, int [G], each once.

    Raises:
        DatasetError: fewer than 2 x ``smallest`` labels.
    """
    if n_labelled < 2 * smallest:
        raise DatasetError(
            "the curve",
            f"{n_labelled} labelled pairs: redraws of {smallest} need at least {2 * smallest}",
            field="labels",
            remedy="label more pairs, or use gold labels",
        )
    return np.unique(np.geomspace(smallest, n_labelled // 2, points).round().astype(int))


def fewest_labels(n_judges: int, folds: int | None = None) -> int:
    """Labels from which on a set of judges has a curve: J + 4, or J + 3 in all folds but one when cross-fitted.

    One more than the least with a theory, alpha from n > J + 2 labels, for the plain estimate; the least itself for the
    cross-fitted one.
    """
    return max(FEWEST, n_judges + 4, -(-(n_judges + 3) * folds // (folds - 1)) if folds and n_judges else 0)


def check_drawn_uniformly(pairs: LabelledPairs) -> None:
    """Refuse labels that may be of strata in unequal parts.

    Sizes by stratum can follow from earlier labels from the second wave on, and which design a wave had is not among
    the arrays: several waves in several strata are refused, uniform ones, too. A single wave is refused where its parts
    of strata could hardly be those of a uniform draw: chi-squared, with the variance of draws without replacement.

    Raises:
        DatasetError: they may be.
    """
    from scipy.special import chdtrc  # type: ignore[import-untyped]

    labelled_N = ~np.isnan(pairs.labels_N)
    size_S, count_S = np.bincount(pairs.stratum_N), np.bincount(pairs.stratum_N[labelled_N])
    size_S, count_S = size_S[size_S > 0], np.pad(count_S, (0, len(size_S) - len(count_S)))[size_S > 0]
    n_strata, n_waves = len(size_S), len(np.unique(pairs.wave_N[labelled_N]))
    if n_strata < 2 or labelled_N.all():
        return
    remedy = "label one wave of the design uniform, or set strata: none where all waves were uniform"
    if n_waves > 1:
        problem = f"labels of {n_waves} waves in {n_strata} categories may be of categories in unequal parts"
        raise DatasetError("the curve", f"{problem}: {WHY}", field="labels", remedy=remedy)
    expected_S = size_S * labelled_N.mean()
    distance = ((count_S - expected_S) ** 2 / expected_S).sum() / (1 - labelled_N.mean())
    if chdtrc(n_strata - 1, distance * (1 - 1 / len(labelled_N))) < SURELY_UNEQUAL:
        problem = f"labels are of {n_strata} categories in unequal parts"
        raise DatasetError("the curve", f"{problem}: {WHY}", field="labels", remedy=remedy)


def label_curves(
    pairs: LabelledPairs,
    judge_sets: Mapping[str, Sequence[int]],
    confidence: float,
    *,
    grid_G: np.ndarray | None = None,
    cross_fitted: bool = False,
    folds: int = 5,
    redraws: int = 1000,
    resamples: int = 1000,
    seed: int = 0,
) -> LabelCurves:
    """Curves of human labels alone and of each set of judges, from the labelled pairs.

    A curve begins at the first number of labels with which its judges can be estimated (``fewest_labels``).

    Args:
        judge_sets: columns of ``pairs.judges_NJ`` by name, e.g. {"logit": [0], "logit + pairwise": [0, 1]}.
        grid_G: numbers of labels, ascending; by default ``default_grid``.
        cross_fitted: also the cross-fitted estimator (folds of whole problems).

    Raises:
        DatasetError: fewer than 20 labelled pairs, labels that are all equal or may be of strata in unequal parts, or
            a grid that is not ascending, below ``FEWEST``, or not below the number of labelled pairs.
    """
    check_drawn_uniformly(pairs)
    population = Population(pairs, judge_sets)
    grid_G = default_grid(population.size) if grid_G is None else np.asarray(grid_G, dtype=int)
    if (np.diff(grid_G) <= 0).any() or grid_G[0] < FEWEST or grid_G[-1] >= population.size:
        raise DatasetError(
            "the curve",
            f"numbers of labels {grid_G.tolist()} of {population.size} labelled pairs",
            field="grid",
            remedy=f"ascending numbers from {FEWEST} to {population.size - 1}",
        )
    error = redrawn_errors(population, grid_G, folds if cross_fitted else 1, redraws, seed)
    rng = np.random.default_rng([seed, 1])
    chosen_BR = rng.multinomial(redraws, np.full(redraws, 1 / redraws), size=resamples) / redraws
    factor = population.resampled_variances(resamples, seed)
    points, draws = [], {}
    for (estimator, judge), error_RG in error.items():
        square_RG = error_RG**2
        draws[estimator, judge] = (chosen_BR @ square_RG) * factor[judge][:, None]
        fitted_in = folds if estimator == "cross_fitted" else None
        fewest = fewest_labels(len(judge_sets[judge]) if judge is not None else 0, fitted_in)
        predicted_G = population.predicted(grid_G, judge, fitted_in)
        for g, n in enumerate(grid_G):
            if n < fewest:
                continue
            interval = percentile_interval(float(square_RG[:, g].mean()), draws[estimator, judge][:, g], confidence)
            points.append(CurvePoint(estimator, judge, int(n), interval, float(predicted_G[g]), redraws))
    return LabelCurves(tuple(points), realised_savings(points, draws, grid_G, population.size, confidence))


def realised_savings(
    points: Sequence[CurvePoint],
    draws: Mapping[tuple[CurveEstimator, str | None], np.ndarray],
    grid_G: np.ndarray,
    size: int,
    confidence: float,
) -> tuple[RealisedSaving, ...]:
    """Labels that the human curve needs for each point of the others.

    Args:
        draws: float [B, G], resampled squared errors of each curve; the same resample in the same row.
        size: L, where every curve is 0.
    """
    human_G = np.array([point.squared_error.value for point in points if point.estimator == "human"])
    human_predicted_G = np.array([point.predicted for point in points if point.estimator == "human"])
    human_BG = draws["human", None]
    place = {int(n): g for g, n in enumerate(grid_G)}
    found = []
    for point in points:
        if point.estimator == "human" or point.judge is None:
            continue
        g, n = place[point.n_labels], point.n_labels
        judged_B = draws[point.estimator, point.judge][:, g]
        equal = equal_labels(human_G, grid_G, size, point.squared_error.value)
        saved_B = np.array(
            [1 - n / equal_labels(one_G, grid_G, size, float(y)) for one_G, y in zip(human_BG, judged_B, strict=True)]
        )
        predicted = 1 - n / equal_labels(human_predicted_G, grid_G, size, point.predicted)
        saving = percentile_interval(1 - n / equal, saved_B, confidence)
        found.append(RealisedSaving(point.estimator, point.judge, n, equal, saving, predicted))
    return tuple(found)


def equal_labels(human_G: np.ndarray, grid_G: np.ndarray, size: int, squared_error: float) -> float:
    """Human labels with this squared error: linear in 1/m between the points and (L, 0), beyond them in proportion."""
    part_G = (1 / grid_G - 1 / size)[::-1]
    error_G = np.maximum.accumulate(human_G[::-1])
    if squared_error >= error_G[-1]:
        part = part_G[-1] * squared_error / error_G[-1]
    else:
        part = float(np.interp(squared_error, np.r_[0.0, error_G], np.r_[0.0, part_G]))
    return float(1 / (1 / size + part))
