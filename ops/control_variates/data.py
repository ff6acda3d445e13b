"""What goes into an estimate, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Estimator = Literal["human", "synthetic", "control_variate", "cross_fitted"]


@dataclass(frozen=True)
class LabelledPairs:
    """All N pairs of one model, some of them labelled (axis N: pairs, J: judges).

    Attributes:
        labels_N: float [N] in [0, 1], NaN where unlabelled; several annotators' labels are averaged before.
        judges_NJ: float [N, J], any scale, no NaN; J may be 0.
        problem_N: int [N], 0..P-1: pairs of one problem are not independent.
        stratum_N: int [N], 0..S-1; all 0 without strata.
        wave_N: int [N]: which draw a labelled pair came from, 0.. in their order; -1 where unlabelled. Waves whose
            sizes by stratum were chosen from earlier labels are weighed by their totals, never by what was found.
    """

    labels_N: np.ndarray
    judges_NJ: np.ndarray
    problem_N: np.ndarray
    stratum_N: np.ndarray
    wave_N: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """An estimate with its intervals, all at one confidence.

    Attributes:
        value: the estimate.
        standard_error: of it, clustered by problem.
        degrees_of_freedom: of the t quantile (Satterthwaite's with strata).
        low, high: score interval (Wilson's with the effective number of labels), the one to quote; of ``synthetic``,
            whose scores need not lie between 0 and 1, the t interval.
        t_low, t_high: value plus and minus t standard errors.
        bootstrap_low, bootstrap_high: expanded percentiles of resampled problems; NaN where it was not asked for.
        coefficient_J: float [J], the coefficients of the judges (alpha); empty for human and synthetic.
        correlation: of labels and judges among labelled pairs within strata, with its sign for one judge, the multiple
            correlation for several; NaN without judges or where all labels are equal, 0 for a constant judge.
        n_labelled, n_pairs, n_problems: labelled pairs, all pairs, problems with a labelled pair.
        saving: 1 - variance / variance of the human estimate on the same labels (negative: the judge cost precision);
            NaN for ``synthetic`` and where all labels are equal.
        saving_low, saving_high: its bootstrap interval over problems; NaN where it was not asked for.
    """

    estimator: Estimator
    value: float
    standard_error: float
    degrees_of_freedom: float
    low: float
    high: float
    t_low: float
    t_high: float
    bootstrap_low: float
    bootstrap_high: float
    coefficient_J: np.ndarray
    correlation: float
    n_labelled: int
    n_pairs: int
    n_problems: int
    saving: float
    saving_low: float
    saving_high: float
