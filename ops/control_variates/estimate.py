"""One estimate from labelled and unlabelled pairs, with its intervals (control variates, arXiv 2502.10563)."""

from __future__ import annotations

import numpy as np

from ops.control_variates.bootstrap import bootstrapped, expanded, percentiles, saving
from ops.control_variates.data import Estimate, Estimator, LabelledPairs
from ops.control_variates.intervals import score_interval, t_interval
from ops.control_variates.studies import Studies, folds_by_problem, study_of
from ops.control_variates.variance import Fit, fit, synthetic_fit
from ops.errors import DatasetError

NAN = float("nan")


def estimate(
    pairs: LabelledPairs,
    estimator: Estimator,
    *,
    confidence: float = 0.95,
    folds: int = 5,
    seed: int = 0,
    resamples: int = 0,
) -> Estimate:
    """Estimate the mean label over all pairs' population.

    Args:
        pairs: all pairs of one model; labelled ones drawn at random within their stratum.
        estimator: ``human`` (labels alone), ``synthetic`` (a single judge alone, biased), ``control_variate`` (alpha
            from all labelled pairs; its bias is of order 1/n) or ``cross_fitted`` (alpha from other folds; unbiased).
        folds: of problems, for ``cross_fitted``; at most the number of labelled problems.
        seed: of folds and of the bootstrap.
        resamples: of problems, for the bootstrap intervals; 0: none, and these are NaN.

    Raises:
        DatasetError: too few labels for the estimator, a stratum with fewer than two labelled problems, or arrays that
            do not belong together.
    """
    check(pairs, estimator)
    study = study_of(pairs)
    if estimator == "synthetic":
        return synthetic_estimate(pairs, study, confidence, seed, resamples)
    if estimator == "human":
        study = study.without_judges()
    if estimator == "cross_fitted":
        study = study.in_folds(folds_by_problem(study.problem_L, folds, seed))

    def fits(studies: Studies) -> tuple[Fit, Fit]:
        return fit(studies, cross_fitted=estimator == "cross_fitted"), fit(studies.without_judges())

    found, human = fits(study)
    low_R, high_R = score_interval(found, confidence)
    t_low_R, t_high_R = t_interval(found, confidence)
    between, savings = (NAN, NAN), (NAN, NAN)
    if resamples:
        values_R, _, savings_R = bootstrapped(study, fits, resamples, seed)
        fitted = study.n_strata + study.n_judges
        wider = expanded(confidence, float(found.problems_R[0]), float(found.freedom_R[0]), fitted)
        between, savings = percentiles(values_R, wider), percentiles(savings_R, confidence)
    return Estimate(
        estimator=estimator,
        value=float(found.value_R[0]),
        standard_error=float(np.sqrt(found.variance_R[0])),
        degrees_of_freedom=float(found.freedom_R[0]),
        low=float(low_R[0]),
        high=float(high_R[0]),
        t_low=float(t_low_R[0]),
        t_high=float(t_high_R[0]),
        bootstrap_low=between[0],
        bootstrap_high=between[1],
        coefficient_J=found.alpha_RJ[0],
        correlation=float(found.correlation_R[0]) if study.n_judges else NAN,
        **counts(pairs),
        saving=float(saving(found, human)[0]),
        saving_low=savings[0],
        saving_high=savings[1],
    )


def synthetic_estimate(pairs: LabelledPairs, study: Studies, confidence: float, seed: int, resamples: int) -> Estimate:
    """The mean of the judge over all pairs; its interval is about the judge, not about people. No saving is defined."""
    found = synthetic_fit(study)
    shift, scale = float(pairs.judges_NJ[:, 0].mean()), float(study.scale_RJ[0, 0])
    scale = scale if np.isfinite(scale) else 0.0
    t_low_R, t_high_R = t_interval(found, confidence)
    low, high = (shift + scale * float(end_R[0]) for end_R in (t_low_R, t_high_R))
    between = (NAN, NAN)
    if resamples:
        values_R, _, _ = bootstrapped(study, lambda some: (synthetic_fit(some),) * 2, resamples, seed)
        first, last = percentiles(values_R, confidence)
        between = shift + scale * first, shift + scale * last
    return Estimate(
        estimator="synthetic",
        value=shift,
        standard_error=scale * float(np.sqrt(found.variance_R[0])),
        degrees_of_freedom=float(found.freedom_R[0]),
        low=low,
        high=high,
        t_low=low,
        t_high=high,
        bootstrap_low=between[0],
        bootstrap_high=between[1],
        coefficient_J=np.zeros(0),
        correlation=NAN,
        **counts(pairs),
        saving=NAN,
        saving_low=NAN,
        saving_high=NAN,
    )


def counts(pairs: LabelledPairs) -> dict[str, int]:
    """Numbers of labelled pairs, of pairs, and of problems with a labelled pair."""
    labelled_N = ~np.isnan(pairs.labels_N)
    return {
        "n_labelled": int(labelled_N.sum()),
        "n_pairs": len(labelled_N),
        "n_problems": len(np.unique(pairs.problem_N[labelled_N])),
    }


def check(pairs: LabelledPairs, estimator: Estimator) -> None:
    """Raise where the arrays do not belong together or there are too few labels."""
    n_pairs, n_judges = len(pairs.labels_N), pairs.judges_NJ.shape[1] if pairs.judges_NJ.ndim == 2 else -1
    lengths = {len(pairs.judges_NJ), len(pairs.problem_N), len(pairs.stratum_N), len(pairs.wave_N)}
    if n_judges < 0 or lengths != {n_pairs}:
        raise DatasetError("labelled pairs", "arrays of different lengths, or judges_NJ is not [N, J]")
    if n_pairs == 0:
        raise DatasetError("labelled pairs", "there is no pair", remedy="draw or supply responses first")
    if not np.isfinite(pairs.judges_NJ).all():
        remedy = "leave out the pairs without a judgement, and count them"
        raise DatasetError("labelled pairs", "a judge's score is missing or infinite", field="judges_NJ", remedy=remedy)
    labelled_N = ~np.isnan(pairs.labels_N)
    if ((pairs.labels_N[labelled_N] < 0) | (pairs.labels_N[labelled_N] > 1)).any():
        raise DatasetError("labelled pairs", "a label is outside [0, 1]", field="labels_N", remedy="0, 0.5 or 1")
    if (labelled_N & (pairs.wave_N < 0)).any():
        raise DatasetError("labelled pairs", "a labelled pair belongs to no wave", field="wave_N", remedy="0, 1, ...")
    if estimator == "synthetic":
        if n_judges != 1:
            raise DatasetError(
                "labelled pairs", f"{n_judges} judges, but `synthetic` is the mean of one", remedy="choose one judge"
            )
        return
    if estimator != "human" and n_judges == 0:
        raise DatasetError("labelled pairs", f"`{estimator}` without a judge", remedy="use `human`, or judge the pairs")
    enough_labels(pairs, 0 if estimator == "human" else n_judges)


def enough_labels(pairs: LabelledPairs, n_judges: int) -> None:
    """Raise where some stratum has fewer than two labelled problems, or all have fewer than judges + strata + 2."""
    labelled_N = ~np.isnan(pairs.labels_N)
    strata = np.unique(pairs.stratum_N)
    if strata[0] < 0 or strata[-1] >= len(strata):
        raise DatasetError("labelled pairs", "strata are not 0, 1, ... without gaps", field="stratum_N")
    for stratum in strata:
        found = len(np.unique(pairs.problem_N[labelled_N & (pairs.stratum_N == stratum)]))
        if found < 2:
            place = f" in stratum {stratum}" if len(strata) > 1 else ""
            raise DatasetError(
                "labelled pairs",
                f"labels of {found} problems{place}, but a variance needs 2",
                field="labels_N",
                remedy="label pairs of more problems" + (", or join strata" if place else ""),
            )
    found, needed = len(np.unique(pairs.problem_N[labelled_N])), n_judges + len(strata) + 2
    if n_judges and found < needed:
        raise DatasetError(
            "labelled pairs",
            f"labels of {found} problems, but {n_judges} coefficients in {len(strata)} strata need {needed}",
            field="labels_N",
            remedy="label pairs of more problems, or use fewer judges, or the estimator `human`",
        )
