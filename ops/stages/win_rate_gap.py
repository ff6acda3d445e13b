"""Rows of ``win_rates`` with the generation-verification gap of each model from few labels (2412.02674)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ops.control_variates.gap import GapFromLabels, LabelledResponses, gap_from_labels
from ops.errors import DatasetError
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.lab import Lab
from ops.stages.win_rate_data import ModelPairs

Cells = dict[str, Any]


def gap_rows(lab: Lab, pairs: ModelPairs) -> tuple[list[Cells], list[str]]:
    """For every verifier with a threshold of its own: the gap from labels alone, and with all judges as controls.

    The filter keeps what the verifier scores at or above its default threshold. What it could not read is not kept;
    as control variate it counts as the mean score, unless such responses are left out altogether.

    Returns:
        The rows, and why there are none of a verifier.

    Raises:
        ExperimentError: for a response without a score, where that is not allowed.
    """
    rows: list[Cells] = []
    reasons: list[str] = []
    for judge in lab.evaluation.judges:
        if not isinstance(judge, BradleyTerry) or judge.called not in pairs.scores:
            continue
        try:
            responses, n_excluded = _responses(lab, pairs, judge)
            statistics, folds = lab.experiment.statistics, lab.evaluation.folds
            found = gap_from_labels(responses, statistics.confidence, folds=folds, seed=statistics.seed)
        except DatasetError as error:
            reasons.append(f"{pairs.model}, gap of {judge.called}: {error.problem}")
            continue
        about: Cells = {"model": pairs.model, "reference": None, "quantity": "gap", "judge": judge.called}
        about |= {"is_biased": n_excluded > 0, "n_excluded": n_excluded, "n_pairs": found.n_responses}
        labelled_N = ~np.isnan(responses.labels_N)
        about |= {"n_labelled": found.n_labelled, "n_problems": len(np.unique(responses.problem_N[labelled_N]))}
        rows += [{**about, **cells} for cells in _cells(found)]
    return rows, reasons


def _threshold(judge: BradleyTerry) -> float | None:
    """The verifier's default threshold on the scale of its judgements; None where it has none."""
    threshold = judge.verifier.default_threshold
    return None if threshold == -np.inf else float(judge.probabilities(np.array([threshold]))[0])


def _responses(lab: Lab, pairs: ModelPairs, judge: BradleyTerry) -> tuple[LabelledResponses, int]:
    """Arrays for the gap, and how many responses were left out.

    The filter reads ``judge``; all judges together are controls, its own scores among them, which alone say little
    beyond what the filter's weights say.

    Raises:
        DatasetError: why there is no gap to estimate.
        ExperimentError: for a response without a score, where that is not allowed.
    """
    where, missing = lab.experiment.name, lab.evaluation.missing_judgements
    threshold = _threshold(judge)
    if threshold is None:
        raise DatasetError(where, "it has no threshold of its own")
    if pairs.drawn_within:
        raise DatasetError(where, "labels were drawn within strata, of which the gap takes no account")
    score_N = pairs.scores[judge.called]
    if np.isnan(score_N).all():
        raise DatasetError(where, "it could read no response")
    controls = (judge.called, *(name for name in pairs.scores if name != judge.called))
    controls = tuple(name for name in controls if not np.isnan(pairs.scores[name]).all())
    data, n_excluded = pairs.with_judges(controls, missing, where)
    if missing == "exclude":
        score_N = score_N[~np.isnan([pairs.scores[name] for name in controls]).any(axis=0)]
    if np.bincount(data.problem_N).max() < 2:
        raise DatasetError(where, "a filter needs 2 responses to choose from (n_eval)")
    weights_N = (np.nan_to_num(score_N, nan=-np.inf) >= threshold).astype(np.float64)
    return LabelledResponses(data.labels_N, weights_N, data.judges_NJ, data.problem_N), n_excluded


def _cells(found: GapFromLabels) -> list[Cells]:
    """Labels alone, then with the judge; intervals are t intervals: a gap has no score interval and no bootstrap."""
    human, varied, crossed = found.labels_only, found.control_variate, found.cross_fitted
    return [
        {
            "estimator": "human",
            **{name: getattr(human, name) for name in ("value", "low", "high")},
            "standard_error": found.standard_error_labels_only,
            "t_low": human.low,
            "t_high": human.high,
        },
        {
            "estimator": "control_variate",
            **{name: getattr(varied, name) for name in ("value", "low", "high")},
            "standard_error": found.standard_error,
            "t_low": varied.low,
            "t_high": varied.high,
            "coefficient": float(found.coefficient_J[0]) if len(found.coefficient_J) == 1 else None,
            "saving": found.saving,
        },
        {
            "estimator": "cross_fitted",
            **{name: getattr(crossed, name) for name in ("value", "low", "high")},
            "standard_error": found.standard_error_cross_fitted,
            "t_low": crossed.low,
            "t_high": crossed.high,
        },
    ]
