"""Curves of squared error against the number of labels, redrawn from those that there are (2502.10563)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ops.control_variates.curves import RealisedSaving, label_curves
from ops.errors import DatasetError
from ops.lab import Lab
from ops.stages.measured import with_ends, without_nan
from ops.stages.win_rate_data import TOGETHER, ModelPairs, judge_sets
from ops.storage.schemas import polars_schema

FEWEST_FOR_CURVES = 60
"""Labelled pairs of a model from which on its curve of squared error is drawn: it splits them again and again."""
CURVE_REDRAWS = 1000
"""Redraws of labels for one curve."""

Cells = dict[str, Any]


def curve_table(lab: Lab, models: Sequence[ModelPairs], reasons: list[str]) -> pl.DataFrame:
    """The table ``label_curves``, of every model with enough labels; why one has none goes into ``reasons``."""
    rows: list[Cells] = []
    for pairs in models:
        try:
            rows += _curve_rows(lab, pairs)
        except DatasetError as error:
            reasons.append(f"{pairs.model}: {error.problem}")
    return pl.DataFrame([without_nan(row) for row in rows], schema=polars_schema("label_curves"))


def _curve_rows(lab: Lab, pairs: ModelPairs) -> list[Cells]:
    """The curves of one model.

    Raises:
        DatasetError: when it has too few labels, or they are all equal.
    """
    evaluation, statistics = lab.evaluation, lab.experiment.statistics
    judges = tuple(pairs.scores)
    data, _ = pairs.with_judges(judges, evaluation.missing_judgements, lab.experiment.name)
    n_labelled = int((~np.isnan(data.labels_N)).sum())
    if n_labelled < FEWEST_FOR_CURVES:
        raise DatasetError("the curve", f"{n_labelled:,} labelled pairs, a curve needs {FEWEST_FOR_CURVES}")
    columns = {TOGETHER.join(some): [judges.index(name) for name in some] for some in judge_sets(pairs)}
    found = label_curves(
        data,
        columns,
        statistics.confidence,
        cross_fitted=True,
        folds=evaluation.folds,
        redraws=CURVE_REDRAWS,
        resamples=statistics.resamples,
        seed=statistics.seed,
    )
    about = {"model": pairs.model, "quantity": evaluation.estimand}
    realised = {(item.estimator, item.judge, item.n_labels): _realised(item) for item in found.savings}
    return [
        {
            **about,
            **realised.get((point.estimator, str(point.judge), point.n_labels), {}),
            "estimator": point.estimator,
            "judge": point.judge,
            "n_labels": point.n_labels,
            **with_ends(squared_error=point.squared_error),
            "predicted": point.predicted,
            "n_redraws": point.n_redraws,
        }
        for point in found.points
    ]


def _realised(item: RealisedSaving) -> Cells:
    """What redraws saved, and what theory says of them."""
    return {
        "human_labels_equal": item.human_labels,
        **with_ends(saving=item.saving),
        "predicted_saving": item.predicted,
    }
