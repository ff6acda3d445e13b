"""The generation-verification gap from few gold labels and many self-verification scores (2412.02674, 2502.10563).

The weights w(s) of a filter, and the scores they are made from, are known of all N responses; whether a response is
correct (z) only of n of them, drawn at random. The gap is a mean over all responses of a label times a known number,

    gap = mean_N(c z),   c_i = (w_i / mean_x(w) - 1) N / (P m_x)   of response i of problem x with m_x responses,

with mean_x over the responses of the problem, and c = 0 where the filter keeps nothing: exactly what
``ops.estimation.gap`` computes when everything is labelled. So it is a mean that control variates apply to: label
y = c z, controls h = c zh for each judge zh, and c itself, whose mean over N is 0 (without it y carries the noise of
c mean(z), which says nothing of the gap):

    estimate = mean_n(y) - alpha' (mean_n(h) - mean_N(h)),

alpha by least squares with a constant. The pooled quantity, mean(w z) / mean(w) - mean(z), is another one: the
precision of what a filter accepts minus the accuracy (``precision_minus_accuracy``). It has c_i = w_i / mean_N(w) - 1.

Standard errors are clustered by problem, with the noise of all N responses and, for the pooled quantity, that of
mean(w). There is no bootstrap: a few problems carry the variance, and with 100 labels percentiles of resampled
problems cover 90 to 92 % in place of 95 %; a variance ratio of resamples has no usable mean (a saving of -58 was seen).

A score that the weights are made from adds little to c itself: where a filter keeps only high scores, c has said what
they say. Judges that the filter does not use save labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.control_variates.gap_regression import GapRegression, LabelledResponses, Quantity
from ops.control_variates.intervals import quantiles
from ops.control_variates.studies import folds_by_problem
from ops.errors import DatasetError
from ops.types import Interval


@dataclass(frozen=True)
class GapFromLabels:
    """A gap from n labels.

    Intervals are t intervals. c is large where a filter keeps little of a problem, so a few problems carry most of the
    variance: there are as many degrees of freedom as problems that carry it, (sum u^2)^2 / sum u^4 of what each adds
    (as many as labelled problems would be too many: in the simulation 95 % intervals then cover 93.0 % with 100
    labels). The price: slightly wide intervals with many labels.

    Attributes:
        labels_only: from labels and weights: the only control is c.
        control_variate: with the judges as well; alpha from the same labels, so biased by the order of 1/n (in the
            simulation .06 standard errors with 100 labels).
        cross_fitted: alpha from other folds: no such bias.
        standard_error, standard_error_...: clustered by problem.
        coefficient_J: alpha of each judge, in units of the label per unit of its score.
        saving: 1 - variance of ``control_variate`` / variance of ``labels_only``, squares of their standard errors; NaN
            where the latter is 0.
        n_problems: P, labelled or not.
    """

    quantity: Quantity
    labels_only: Interval
    control_variate: Interval
    cross_fitted: Interval
    standard_error_labels_only: float
    standard_error: float
    standard_error_cross_fitted: float
    coefficient_J: np.ndarray
    saving: float
    n_labelled: int
    n_responses: int
    n_problems: int


def gap_from_labels(
    responses: LabelledResponses,
    confidence: float,
    *,
    quantity: Quantity = "gap",
    folds: int = 5,
    seed: int = 0,
) -> GapFromLabels:
    """Estimate the gap of the weights, with and without the judges as control variates.

    Args:
        confidence: e.g. 0.95.
        folds: of labelled problems, dealt out by ``seed``, for ``cross_fitted``.

    Raises:
        DatasetError: fewer labels than the regression needs, labels outside [0, 1], judges or weights that are NaN, or
            weights that are all 0 (the pooled quantity divides by them).
    """
    _check(responses, quantity)
    labels_only, judged = (GapRegression(responses, quantity, with_judges) for with_judges in (False, True))
    fold_n = folds_by_problem(responses.problem_N[judged.labelled_N], folds, seed)
    in_folds = GapRegression(responses, quantity, True, fold_n)
    value, error, degrees, coefficient_K = judged.estimate()
    plain, plain_error, plain_degrees, _ = labels_only.estimate()
    fitted, fitted_error, fitted_degrees, _ = in_folds.estimate()
    return GapFromLabels(
        quantity=quantity,
        labels_only=_t_interval(plain, plain_error, plain_degrees, confidence),
        control_variate=_t_interval(value, error, degrees, confidence),
        cross_fitted=_t_interval(fitted, fitted_error, fitted_degrees, confidence),
        standard_error_labels_only=plain_error,
        standard_error=error,
        standard_error_cross_fitted=fitted_error,
        coefficient_J=coefficient_K[1:] / judged.scale_J,
        saving=1.0 - error**2 / plain_error**2 if plain_error > 0 else float("nan"),
        n_labelled=judged.n_labelled,
        n_responses=len(responses.labels_N),
        n_problems=judged.n_problems,
    )


def _check(responses: LabelledResponses, quantity: Quantity) -> None:
    where = "labelled responses"
    labels_n = responses.labels_N[~np.isnan(responses.labels_N)]
    if ((labels_n < 0) | (labels_n > 1)).any():
        raise DatasetError(where, "labels lie in [0, 1]", field="labels", remedy="1 correct, 0 not, NaN unlabelled")
    if not (responses.weights_N >= 0).all():
        raise DatasetError(
            where, "a weight is negative or NaN", field="weights", remedy="an unparseable verdict has weight 0"
        )
    if quantity == "precision_minus_accuracy" and not responses.weights_N.any():
        raise DatasetError(where, "the filter keeps nothing, so what it keeps has no precision", field="weights")
    if not np.isfinite(responses.judges_NJ).all():
        raise DatasetError(
            where,
            "a judge has no score of a response",
            field="judges",
            remedy="leave the response out, or give it the judge's mean",
        )
    needed = responses.judges_NJ.shape[1] + 4
    n_problems = len(np.unique(responses.problem_N[~np.isnan(responses.labels_N)]))
    if n_problems < needed:
        raise DatasetError(
            where,
            f"labels of {n_problems} problems, at least {needed} are needed with {responses.judges_NJ.shape[1]} judges",
            field="labels",
            remedy="label responses to more problems",
        )


def _t_interval(value: float, error: float, degrees: float, confidence: float) -> Interval:
    half = float(quantiles(np.array(degrees), confidence)) * error
    return Interval(value, value - half, value + half)
