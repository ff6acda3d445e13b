"""Calibration of scores that claim to be probabilities: reliability bins, expected calibration error, Brier score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ops.estimation.bootstrap import UNDEFINED, divide, percentile_interval, ratio_draws, ratio_intervals
from ops.estimation.gap import per_problem
from ops.types import Interval

Binning = Literal["equal_width", "equal_mass"]


@dataclass(frozen=True)
class ReliabilityBin:
    """Responses whose probability lies in [low, high) (the last bin includes its end).

    Attributes:
        n: responses in the bin; an empty bin has NaN for the rest.
        mean_probability: what the verifier claims there.
        accuracy: share of correct responses there, with its interval over problems.
    """

    low: float
    high: float
    n: int
    mean_probability: float
    accuracy: Interval


@dataclass(frozen=True)
class Calibration:
    """Calibration of one verifier.

    Attributes:
        bins: the reliability plot, ascending; together they hold all n_responses.
        ece: expected calibration error, sum over bins of n_bin / n * |mean probability - accuracy|.
        brier: mean squared difference of probability and correctness.
        n_responses: responses with a parseable probability.
        n_unparseable: responses left out.
    """

    bins: tuple[ReliabilityBin, ...]
    ece: Interval
    brier: Interval
    n_responses: int
    n_unparseable: int


def calibrate(
    problem_index: np.ndarray,
    probability: np.ndarray,
    is_correct: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
    n_bins: int = 10,
    binning: Binning = "equal_width",
) -> Calibration:
    """Reliability bins, ECE and Brier score of probabilities; bins are fixed on the whole sample.

    The ECE is biased upwards in small samples: each bin's absolute difference is positive even where the verifier is
    perfectly calibrated, by about sqrt(2 p (1 - p) / (pi n_bin)). A resample adds the same noise once more, so the
    percentile interval leans upwards too and may lie wholly above the truth of a well-calibrated verifier. Compare
    verifiers on the same responses and with the same bins; the Brier score has no such bias.

    Args:
        problem_index: int [N], 0..P-1.
        probability: float [N] in [0, 1], NaN where the verdict could not be parsed (left out).
        is_correct: bool [N].
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.
        n_bins: number of bins; with ``equal_mass`` fewer where probabilities tie, as equal ones share a bin.
        binning: ``equal_width`` cuts [0, 1] evenly, ``equal_mass`` cuts at quantiles of the probabilities.

    Raises:
        ValueError: a probability outside [0, 1], or n_bins below 1.
    """
    used = ~np.isnan(probability)
    left_out = int((~used).sum())
    n_problems = counts_RP.shape[1]
    problem_index, probability, truth = problem_index[used], probability[used], is_correct[used].astype(float)
    _check(probability, n_bins)
    if not len(probability):
        return Calibration((), UNDEFINED, UNDEFINED, 0, left_out)
    edges = _edges(probability, n_bins, binning)
    n_PB, claimed_PB, correct_PB = _binned(problem_index, probability, truth, edges, n_problems)
    squared_P = per_problem(problem_index, (probability - truth) ** 2, n_problems)
    return Calibration(
        bins=_reliability(edges, n_PB, claimed_PB, correct_PB, counts_RP, confidence),
        ece=percentile_interval(*_ece(n_PB, claimed_PB, correct_PB, counts_RP), confidence),
        brier=ratio_intervals({"brier": (squared_P, n_PB.sum(1))}, counts_RP, confidence)["brier"],
        n_responses=len(truth),
        n_unparseable=left_out,
    )


def ece_draws(
    problem_index: np.ndarray, probability: np.ndarray, is_correct: np.ndarray, counts_RP: np.ndarray, n_bins: int = 10
) -> tuple[float, np.ndarray]:
    """The ECE of ``calibrate`` (bins of equal width) with its resamples [R], so that differences can be paired.

    Arguments and errors are those of ``calibrate``. NaN where no probability could be parsed.
    """
    used = ~np.isnan(probability)
    _check(probability[used], n_bins)
    edges = _edges(probability, n_bins, "equal_width")
    truth = is_correct[used].astype(float)
    return _ece(*_binned(problem_index[used], probability[used], truth, edges, counts_RP.shape[1]), counts_RP)


def _binned(
    problem_index: np.ndarray, probability: np.ndarray, truth: np.ndarray, edges: np.ndarray, n_problems: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every problem in every bin, [P, B]: responses, the sum of their probabilities, how many are right."""
    bins = len(edges) - 1
    # The inner edges only: so the first and the last bin are closed at 0 and 1.
    cell = problem_index * bins + np.searchsorted(edges[1:-1], probability, side="right")
    n_PB, claimed_PB, correct_PB = (
        np.bincount(cell, weights=value, minlength=n_problems * bins).reshape(n_problems, bins)
        for value in (np.ones(len(truth)), probability, truth)
    )
    return n_PB, claimed_PB, correct_PB


def _ece(
    n_PB: np.ndarray, claimed_PB: np.ndarray, correct_PB: np.ndarray, counts_RP: np.ndarray
) -> tuple[float, np.ndarray]:
    over_PB, size_P = claimed_PB - correct_PB, n_PB.sum(1)
    error_RB = ratio_draws(over_PB, np.repeat(size_P[:, None], over_PB.shape[1], axis=1), counts_RP)
    return float(divide(np.abs(over_PB.sum(0)).sum(), size_P.sum())), np.abs(error_RB).sum(1)


def _check(probability: np.ndarray, n_bins: int) -> None:
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    if ((probability < 0) | (probability > 1)).any():
        raise ValueError("probability must lie in [0, 1]; turn other scores into probabilities first")


def _edges(probability: np.ndarray, n_bins: int, binning: Binning) -> np.ndarray:
    if binning == "equal_width":
        return np.arange(n_bins + 1) / n_bins  # linspace misses 0.3 and 0.7 by a bit
    # Cuts at observed values, so that equal probabilities always share a bin.
    cuts = np.unique(np.quantile(probability, np.linspace(0.0, 1.0, n_bins + 1)[1:-1], method="higher"))
    return np.r_[0.0, cuts[(cuts > probability.min()) & (cuts > 0.0)], 1.0]


def _reliability(
    edges: np.ndarray,
    n_PB: np.ndarray,
    claimed_PB: np.ndarray,
    correct_PB: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
) -> tuple[ReliabilityBin, ...]:
    accuracies = ratio_intervals(
        {str(b): (correct_PB[:, b], n_PB[:, b]) for b in range(n_PB.shape[1])}, counts_RP, confidence
    )
    n_B, claimed_B = n_PB.sum(0), claimed_PB.sum(0)
    return tuple(
        ReliabilityBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            n=int(n),
            mean_probability=float(claimed_B[b] / n) if n else float("nan"),
            accuracy=accuracies[str(b)],
        )
        for b, n in enumerate(n_B)
    )
