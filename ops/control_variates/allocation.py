"""Which pairs to label next: a simple random sample, or Neyman's allocation to strata, without losing unbiasedness.

A *wave* is one draw of pairs to label. Its total is set by the user. Its sizes by stratum may depend on labels of
earlier waves; which pairs of a stratum it takes is random among those that no earlier wave took. The estimate of a wave
is the stratified mean t_w = sum_h W_h mean_wh, W_h = N_h / N, and waves are combined with fixed weights, their totals:
sum_w (n_w / n) t_w.

Why that is unbiased, whatever the sizes: an earlier wave is a simple random sample within stratum h, so what it leaves
over is one as well, and the mean over what is left has the expectation of the mean over the stratum. Given the past,
mean_wh has the mean over what is left as its expectation, for any size above 0. So E mean_wh = mean over the stratum,
and no correction for what earlier waves took is needed: their luck, good or bad, cancels in expectation. That asks of
an estimate: (1) every stratum is in every wave (at least ``MINIMUM`` pairs of it, all where fewer are left); (2)
weights of waves are not chosen by results; (3) a stratum that earlier waves have labelled wholly has its value from
them. Putting all labels of a stratum into one mean breaks (2): where a pilot happens to see little spread, little is
drawn after it, and the pilot's mean keeps its weight. With labels of 0 and 1 and a win rate of .95, spread is little
where the mean is high: the pooled mean is then too high. Putting all labels into one mean, strata or not, is far off
(tests/control_variates/test_allocation.py measures both).

A wave need not be labelled wholly. Pairs come in random order, and whoever labels from the top has labelled a random
part: of each wave and stratum the labelled part counts as the sample.

Neyman's sizes are proportional to W_h times the standard deviation of what is left of labels when the judge has been
used, z - alpha zh (Cochran, Sampling Techniques, 1977, section 5.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ops.control_variates.data import LabelledPairs
from ops.errors import DatasetError

MINIMUM = 2
"""Pairs of each stratum in a stratified wave: fewer have no variance."""

PRIOR_LABELS = 2.0
"""Weight of the guess from the judge's spread against the variance of a stratum's own labels, in labels."""

Design = Literal["uniform", "neyman"]


@dataclass(frozen=True)
class Draw:
    """Pairs to label next, in random order (axis K: drawn pairs, S: strata).

    Attributes:
        row_K: int [K], rows of the N pairs.
        stratum_K: int [K], their strata.
        size_S: int [S], drawn pairs by stratum.
        available_S: int [S], pairs that could have been drawn.
        wave: its number; ``seed``: the draw is a function of seed, wave and what was available.
    """

    design: Design
    wave: int
    seed: int
    row_K: np.ndarray
    stratum_K: np.ndarray
    size_S: np.ndarray
    available_S: np.ndarray


def uniform(taken_N: np.ndarray, stratum_N: np.ndarray, count: int, *, wave: int, seed: int) -> Draw:
    """A simple random sample without replacement among pairs that no earlier wave took.

    Args:
        taken_N: bool [N], pairs that an earlier wave took, labelled since or not.
        stratum_N: int [N], 0..S-1; only told of what was drawn.

    Raises:
        DatasetError: fewer pairs are left than ``count``.
    """
    available_S = _available(taken_N, stratum_N, count)
    row_K = np.random.default_rng([seed, wave]).permutation(np.flatnonzero(~taken_N))[:count]
    return _draw("uniform", wave, seed, row_K, stratum_N, available_S)


def neyman(pairs: LabelledPairs, taken_N: np.ndarray, count: int, *, wave: int, seed: int) -> Draw:
    """A stratified random sample whose sizes follow the spread of labels that judges leave over, by earlier waves.

    Args:
        pairs: all pairs of one model with the labels of earlier waves.
        taken_N: bool [N], pairs that an earlier wave took, labelled since or not; all labelled pairs are among them.

    Raises:
        DatasetError: fewer pairs are left than ``count``, or ``count`` is below 2 for each stratum, or labels are too
            few to learn a spread from.
    """
    available_S = _available(taken_N, pairs.stratum_N, count)
    least_S = np.minimum(MINIMUM, available_S)
    if count < least_S.sum():
        raise DatasetError(
            f"wave {wave}",
            f"{count} pairs for {(available_S > 0).sum()} strata: each needs {MINIMUM}",
            field="count",
            remedy=f"at least {least_S.sum()} pairs, fewer strata, or the design uniform",
        )
    share_S = np.bincount(pairs.stratum_N) / len(pairs.stratum_N)
    size_S = rounded_sizes(share_S * residual_spread(pairs), count, least_S, available_S)
    rng = np.random.default_rng([seed, wave])
    mixed_M = rng.permutation(np.flatnonzero(~taken_N))
    within_M = _position_within(pairs.stratum_N[mixed_M], len(size_S))
    # mixed once more: so far strata drawn sparsely come first, and the top of a file would not be Neyman's sample
    row_K = rng.permutation(mixed_M[within_M < size_S[pairs.stratum_N[mixed_M]]])
    return _draw("neyman", wave, seed, row_K, pairs.stratum_N, available_S)


def residual_spread(pairs: LabelledPairs) -> np.ndarray:
    """Standard deviation of z - alpha zh in each stratum, float [S], all 1 where labels leave nothing to explain.

    alpha is common to all strata. The variance of a stratum's own labels (n_h - 1 degrees of freedom) is averaged with
    ``PRIOR_LABELS`` of a guess, so that three labels that happen to agree do not say that a stratum needs none: the
    pooled residual variance, half of it times the judges' variance in the stratum over its mean in all of them. A
    stratum with fewer than two labels has the guess alone.

    Raises:
        DatasetError: fewer labels than judges + 2.
    """
    labelled_N = ~np.isnan(pairs.labels_N)
    stratum_n, n_judges = pairs.stratum_N[labelled_N], pairs.judges_NJ.shape[1]
    n_strata = int(pairs.stratum_N.max()) + 1
    if labelled_N.sum() < n_judges + 2:
        raise DatasetError(
            "the pilot",
            f"{labelled_N.sum()} labels and {n_judges} judges: a spread needs at least {n_judges + 2} labels",
            field="labels",
            remedy="draw a uniform wave first",
        )
    count_S = np.bincount(stratum_n, minlength=n_strata)
    target_nK = np.column_stack([pairs.labels_N[labelled_N], pairs.judges_NJ[labelled_N]])
    mean_SK = np.stack([np.bincount(stratum_n, column, n_strata) for column in target_nK.T], axis=1)
    centred_nK = target_nK - (mean_SK / np.maximum(count_S, 1)[:, None])[stratum_n]
    alpha_J = np.linalg.pinv(centred_nK[:, 1:]) @ centred_nK[:, 0]
    residual_n = centred_nK[:, 0] - centred_nK[:, 1:] @ alpha_J
    squares_S = np.bincount(stratum_n, residual_n**2, n_strata)
    degrees_S = np.maximum(count_S - 1, 0)
    pooled = squares_S.sum() / max(degrees_S.sum(), 1)
    if pooled <= 0:
        return np.ones(n_strata)
    guess_S = pooled * _judged_spread(pairs.judges_NJ @ alpha_J, pairs.stratum_N, n_strata)
    return np.sqrt((squares_S + PRIOR_LABELS * guess_S) / (degrees_S + PRIOR_LABELS))


def _judged_spread(prediction_N: np.ndarray, stratum_N: np.ndarray, n_strata: int) -> np.ndarray:
    """(1 + variance of the judges' prediction in the stratum / its mean over pairs) / 2; 1 where judges say nothing."""
    size_S = np.maximum(np.bincount(stratum_N, minlength=n_strata), 1)
    mean_S = np.bincount(stratum_N, prediction_N, n_strata) / size_S
    variance_S = np.bincount(stratum_N, (prediction_N - mean_S[stratum_N]) ** 2, n_strata) / size_S
    overall = (variance_S * size_S).sum() / len(stratum_N)
    return (1 + variance_S / overall) / 2 if overall > 0 else np.ones(n_strata)


def rounded_sizes(weight_S: np.ndarray, count: int, least_S: np.ndarray, most_S: np.ndarray) -> np.ndarray:
    """Whole numbers that sum to ``count``, as near to proportional to ``weight_S`` as their bounds allow, int [S].

    Sizes at a bound stay there and the rest is shared in proportion: x_h = clip(lambda weight_h, least_h, most_h) with
    the lambda that makes them sum up; then largest remainders are rounded up (ties: the first stratum).

    Raises:
        ValueError: bounds that ``count`` cannot meet.
    """
    if not least_S.sum() <= count <= most_S.sum():
        raise ValueError(f"sizes between {least_S.sum()} and {most_S.sum()} cannot sum to {count}")
    largest = weight_S.max()
    positive_S = np.maximum(weight_S, 1e-9 * largest) if largest > 0 else np.ones(len(weight_S))
    bend_B = np.sort(np.concatenate([least_S / positive_S, most_S / positive_S]))
    total_B = np.clip(bend_B[:, None] * positive_S, least_S, most_S).sum(1)  # straight between the bends
    exact_S = np.clip(np.interp(count, total_B, bend_B) * positive_S, least_S, most_S)
    size_S = np.minimum(np.floor(exact_S + 1e-9).astype(np.int64), most_S)
    missing = count - int(size_S.sum())
    remainder_S = np.where(size_S < most_S, exact_S - size_S, -np.inf)
    size_S[np.argsort(-np.round(remainder_S, 9), kind="stable")[:missing]] += 1
    return size_S


def _available(taken_N: np.ndarray, stratum_N: np.ndarray, count: int) -> np.ndarray:
    left = int((~taken_N).sum())
    if not 1 <= count <= left:
        raise DatasetError(
            "pairs to label",
            f"{count} are asked for, {left} of {len(taken_N)} are left",
            field="count",
            remedy=f"between 1 and {left}"
            if left
            else "every pair has been drawn: label those, or draw more responses",
        )
    return np.bincount(stratum_N[~taken_N], minlength=int(stratum_N.max()) + 1)


def _position_within(stratum_M: np.ndarray, n_strata: int) -> np.ndarray:
    """How many earlier entries have the same stratum, int [M]."""
    order_M = np.argsort(stratum_M, kind="stable")
    start_S = np.concatenate([[0], np.cumsum(np.bincount(stratum_M, minlength=n_strata))[:-1]])
    position_M = np.empty(len(stratum_M), dtype=np.int64)
    position_M[order_M] = np.arange(len(stratum_M)) - start_S[stratum_M[order_M]]
    return position_M


def _draw(
    design: Design, wave: int, seed: int, row_K: np.ndarray, stratum_N: np.ndarray, available_S: np.ndarray
) -> Draw:
    stratum_K = stratum_N[row_K]
    return Draw(design, wave, seed, row_K, stratum_K, np.bincount(stratum_K, minlength=len(available_S)), available_S)
