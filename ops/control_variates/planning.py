"""What labels will be worth, before they are paid for: the predicted saving, labels for an interval, widths.

A study of N pairs, n of them labelled, q the probability that two of its pairs are of one problem. With sigma^2 the
variance of a label, C the covariance of two labels of one problem, and sigma_r^2, C_r the same of what judges leave
over, r = z - alpha zh, the estimate from n random ones of the N pairs has variance

    V(n) = sigma^2 / N + q (1 - 1/N) C  +  (1/n - 1/N) (sigma_r^2 - q C_r):

what N labels would leave open, plus what is open because only n are labelled. Without judges r = z, and V(n) =
(sigma^2 / n) (1 + (n - 1) q ICC), ICC = C / sigma^2: the design effect of several pairs per problem, which grows with
n. With one pair per problem (q = 0) the saving 1 - V_judge / V_human is rho^2 (1 - n/N) (2502.10563 prints rho^2, the
case of unlabelled pairs without end). rho^2 is adjusted for the number of judges, 1 - (1 - R^2)(n - 1)/(n - 1 - J): a
useless judge predicts a saving of 0 on average, not J/n.

Why not ``ppi_py.ppi_power_analysis``: its N unlabelled pairs are bought at a price beside the n labelled ones
(disjoint), pairs are independent, and it returns the cheapest (n, N). Here N is given and holds the n, ties make labels
less variable than theta (1 - theta), and pairs of one problem are alike. Where the two coincide, n labels nested in a
given N and effective sample size n0 = sigma^2 / V(n), they agree (tests/control_variates/test_planning.py).

Widths are those of the interval that is quoted (``Estimate.low``, ``high``), Wilson's with the effective number of
labels sigma^2 / V(n).

Plans are for pairs drawn uniformly. Estimates within strata leave open only what varies within them: sigma_w^2, C_w and
sigma_r^2 of deviations from the stratum's mean take the place of sigma^2, C and sigma_r^2 behind (1/n - 1/N), and rho
is that within strata. What a judge knows of the difference between strata saves nothing: the strata know it already.
As all pairs of a problem are in one stratum, C_w = C - (sigma^2 - sigma_w^2). (Sizes by Neyman do better.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.control_variates.intervals import quantiles
from ops.control_variates.pilot import Pilot
from ops.errors import DatasetError
from ops.types import Interval


@dataclass(frozen=True)
class LabelsNeeded:
    """Labels for an interval of a given half-width; None: all N pairs labelled would not do.

    Attributes:
        human: without judges.
        control_variate: with them; ``control_variate_low``, ``control_variate_high``: at the upper and lower end of the
            interval of rho^2.
        half_width_all: what N labels would give.
    """

    half_width: float
    confidence: float
    human: int | None
    control_variate: int | None
    control_variate_low: int | None
    control_variate_high: int | None
    half_width_all: float
    n_pairs: int

    @property
    def statement(self) -> str:
        """The answer in words."""
        goal = f"±{self.half_width:.3f} at {self.confidence:.0%}"
        if self.human is None:
            return (
                f"{goal} is out of reach: all {self.n_pairs:,} pairs labelled would give ±{self.half_width_all:.3f}; "
                "more problems are needed"
            )
        if self.control_variate is None:
            return f"{goal} needs {self.human:,} labels"
        return f"{goal} needs {self.human:,} labels, {self.control_variate:,} with the judge"


def variance_at(pilot: Pilot, n: np.ndarray | float, *, rho_squared: float = 0.0) -> np.ndarray:
    """V(n) of the module's docstring, of the same shape as ``n``; rho_squared 0: human labels alone."""
    sigma2, q, size = pilot.variance, pilot.same_problem, pilot.n_pairs
    everything = sigma2 / size + q * (1 - 1 / size) * pilot.icc * sigma2
    if rho_squared:
        open_now = pilot.within * (1 - rho_squared) * (1 - q * pilot.residual_icc)
    else:
        open_now = pilot.within - q * np.clip(pilot.icc - (1 - pilot.within), 0, pilot.within)
    return np.asarray(everything + (1 / np.asarray(n) - 1 / size) * sigma2 * open_now)


def predicted_saving(pilot: Pilot, n: int) -> Interval:
    """1 - V(n) with the judges / V(n) without: rho^2 (1 - n/N) where problems have one pair each.

    Args:
        n: labels, the pilot's or more.
    """
    human = float(variance_at(pilot, n))
    ends = [
        1 - float(variance_at(pilot, n, rho_squared=square)) / human if not np.isnan(square) else float("nan")
        for square in (pilot.rho_squared.value, pilot.rho_squared.low, pilot.rho_squared.high)
    ]
    return Interval(*ends)


def half_width_at(pilot: Pilot, n: np.ndarray | float, confidence: float, *, rho_squared: float = 0.0) -> np.ndarray:
    """Half the width of the score interval expected with n labels, float of the shape of ``n``.

    Half of high - low of (estimate - theta)^2 <= t z (theta (1 - theta) - mean y (1 - y)) / m, m = sigma^2 / V(n); t z
    the product of the t and the normal quantile, as in ``intervals.score_interval``.
    """
    from scipy.special import ndtri  # type: ignore[import-untyped]

    n = np.asarray(n, dtype=float)
    problems = pilot.n_problems * (1 - (1 - 1 / pilot.n_problems) ** n) if pilot.same_problem > 0 else n
    judges = pilot.n_judges if rho_squared else 0
    reach = quantiles(np.maximum(problems - pilot.n_strata - judges, 1), confidence) * ndtri((1 + confidence) / 2)
    ratio = reach * variance_at(pilot, n, rho_squared=rho_squared) / pilot.variance
    b = 2 * pilot.theta + ratio
    root = b**2 - 4 * (1 + ratio) * (pilot.theta**2 + ratio * pilot.own)
    return np.asarray(np.sqrt(np.maximum(root, 0)) / (2 * (1 + ratio)))


def labels_needed(pilot: Pilot, half_width: float, confidence: float) -> LabelsNeeded:
    """The fewest labels whose interval is expected to reach no further than ``half_width`` to either side.

    Raises:
        DatasetError: a half-width outside (0, 0.5).
    """
    if not 0 < half_width < 0.5:
        raise DatasetError("the plan", f"a half-width of {half_width:g}", field="half_width", remedy="0 < it < 0.5")

    def fewest(rho_squared: float) -> int | None:
        if np.isnan(rho_squared):
            return None
        n_C = np.arange(pilot.fewest, pilot.n_pairs + 1)
        reached_C = half_width_at(pilot, n_C, confidence, rho_squared=rho_squared) <= half_width
        return int(n_C[reached_C.argmax()]) if reached_C.any() else None

    return LabelsNeeded(
        half_width=half_width,
        confidence=confidence,
        human=fewest(0.0),
        control_variate=fewest(pilot.rho_squared.value),
        control_variate_low=fewest(pilot.rho_squared.high),
        control_variate_high=fewest(pilot.rho_squared.low),
        half_width_all=float(half_width_at(pilot, pilot.n_pairs, confidence)),
        n_pairs=pilot.n_pairs,
    )
