"""Win rates from labels and judgements (2502.10563), what judges are worth, and curves of squared error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from ops.control_variates.data import Estimate, Estimator, LabelledPairs
from ops.control_variates.estimate import estimate
from ops.control_variates.worth import label_worth
from ops.errors import DatasetError
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages.measured import without_nan
from ops.stages.win_rate_curves import curve_table
from ops.stages.win_rate_data import TOGETHER, ModelPairs, judge_sets, read_pairs, read_tables
from ops.stages.win_rate_gap import gap_rows
from ops.storage.schemas import polars_schema
from ops.types import StageResult

__all__ = ["TOGETHER", "estimate_win_rates", "judge_sets"]

Cells = dict[str, Any]


@dataclass
class Findings:
    """Rows of ``win_rates``, and why some have no estimate."""

    rows: list[Cells] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def estimate_win_rates(lab: Lab) -> StageResult:
    """Commit ``judge_metrics``, ``label_curves`` and, last, ``win_rates`` under ``evaluation/win_rates`` (CPU).

    Where there are too few labels for an estimate, its row has NULL for a value, and the metadata says why; without
    any there are the judges' own rows only, which are biased.

    Raises:
        ExperimentError: when strata are asked for and problems have none, labels were drawn within strata that the
            experiment does not name, or a pair has no judgement and ``missing_judgements`` is ``error``.
        StorageError: when a table is missing or damaged.
    """
    asset = evaluation_asset("win_rates")
    pairs = cache(lambda: read_pairs(lab))
    found = Findings()

    def rates() -> pl.DataFrame:
        for model in pairs():
            _estimate_model(lab, model, found)
        return pl.DataFrame([without_nan(row) for row in found.rows], schema=polars_schema("win_rates"))

    def metadata(frame: pl.DataFrame) -> Cells:
        return _shown(frame, pairs(), found.reasons)

    lab.materialise("judge_metrics", asset, None, lambda: _judge_metrics(lab), _counted)
    missing: list[str] = []

    def curves(frame: pl.DataFrame) -> Cells:
        return _counted(frame) | ({"not_drawn": "No curve: " + "; ".join(missing) + "."} if missing else {})

    lab.materialise("label_curves", asset, None, lambda: curve_table(lab, pairs(), missing), curves)
    return lab.materialise("win_rates", asset, None, rates, metadata)


def _estimate_model(lab: Lab, pairs: ModelPairs, found: Findings) -> None:
    """Rows of one model: human labels, every judge alone, and both together."""
    n_labelled = pairs.n_labelled
    where, missing = lab.experiment.name, lab.evaluation.missing_judgements
    estimators: list[Estimator] = ["control_variate", "cross_fitted"] if n_labelled else []
    if n_labelled:
        _add(lab, pairs, (), "human", pairs.with_judges((), missing, where), found)
    for judges in judge_sets(pairs):
        arrays = pairs.with_judges(judges, missing, where)
        if len(judges) == 1:
            _add(lab, pairs, judges, "synthetic", arrays, found)
        for estimator in estimators:
            _add(lab, pairs, judges, estimator, arrays, found)
    if lab.evaluation.estimand == "accuracy" and n_labelled:
        rows, reasons = gap_rows(lab, pairs)
        found.rows += rows
        found.reasons += reasons


def _add(
    lab: Lab,
    pairs: ModelPairs,
    judges: Sequence[str],
    estimator: Estimator,
    arrays: tuple[LabelledPairs, int],
    found: Findings,
) -> None:
    """One row; without a value and with a reason where it cannot be estimated."""
    data, n_excluded = arrays
    named = {"quantity": lab.evaluation.estimand, "estimator": estimator, "judge": TOGETHER.join(judges) or None}
    row = {
        "model": pairs.model,
        "reference": pairs.reference,
        **named,
        "is_biased": estimator == "synthetic" or n_excluded > 0,
        "n_pairs": len(data.labels_N),
        "n_labelled": int((~np.isnan(data.labels_N)).sum()),
        "n_problems": len(np.unique(data.problem_N[~np.isnan(data.labels_N)])),
        "n_excluded": n_excluded,
    }
    try:
        row |= _estimated(lab, data, estimator)
    except DatasetError as error:
        by = f" of {named['judge']}" if named["judge"] else ""
        found.reasons.append(f"{pairs.model}, {estimator}{by}: {error.problem}")
    found.rows.append(row)


def _estimated(lab: Lab, data: LabelledPairs, estimator: Estimator) -> Cells:
    """The columns of one estimate.

    Raises:
        DatasetError: when the data does not suffice for it.
    """
    statistics, evaluation = lab.experiment.statistics, lab.evaluation
    if not len(data.labels_N):
        raise DatasetError(lab.experiment.name, "there is no pair that could be judged")
    if estimator == "synthetic" and not _are_probabilities(data.judges_NJ):
        raise DatasetError(lab.experiment.name, "its scores are on a scale of their own, not from 0 to 1")
    item = estimate(
        data,
        estimator,
        confidence=statistics.confidence,
        folds=evaluation.folds,
        seed=statistics.seed,
        resamples=statistics.resamples,
    )
    cells: Cells = {name: getattr(item, name) for name in ("value", "low", "high", "standard_error")}
    cells |= {name: getattr(item, name) for name in ("t_low", "t_high", "bootstrap_low", "bootstrap_high")}
    if estimator in ("control_variate", "cross_fitted"):
        cells |= _saving(data, item)
    return cells


def _are_probabilities(judges_NJ: np.ndarray) -> bool:
    return judges_NJ.size > 0 and bool(((judges_NJ >= 0.0) & (judges_NJ <= 1.0)).all())


def _saving(data: LabelledPairs, item: Estimate) -> Cells:
    """What the judges saved of the labels as estimated, and what the correlation predicts that they do."""
    predicted, worth = (float("nan"), float("nan")) if np.isnan(item.saving) else label_worth(data, item)
    return {
        "coefficient": float(item.coefficient_J[0]) if len(item.coefficient_J) == 1 else None,
        "correlation": item.correlation,
        "saving": item.saving,
        "saving_low": item.saving_low,
        "saving_high": item.saving_high,
        "predicted_saving": predicted,
        "saving_without_limit": item.correlation**2,
        "human_labels_equal": worth,
    }


def _judge_metrics(lab: Lab) -> pl.DataFrame:
    from ops.estimation.judges import judge_metrics

    pairs, labels, judgements = read_tables(lab)
    return judge_metrics(pairs, judgements, labels, lab.experiment.statistics)


def _counted(frame: pl.DataFrame) -> Cells:
    return {"rows": frame.height}


def _shown(frame: pl.DataFrame, models: Sequence[ModelPairs], reasons: Sequence[str]) -> Cells:
    """Labels and estimates of every model, with all judges at once; what was assumed and what is missing in words."""
    numbers: Cells = {"rows": frame.height}
    for pairs in models:
        numbers[f"{pairs.model}_labels"] = pairs.n_labelled
        for estimator, judges in (("human", ()), ("control_variate", tuple(pairs.scores))):
            judge = TOGETHER.join(judges) or None
            rows = frame.filter(pl.col("judge").eq_missing(judge), model=pairs.model, estimator=estimator)
            for row in rows.filter(pl.col("quantity") != "gap", pl.col("value").is_not_null()).iter_rows(named=True):
                name = f"{pairs.model}_{estimator}"
                numbers |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
                if row["saving"] is not None:
                    numbers[f"{pairs.model}_saving"] = row["saving"]
    numbers |= {"labels": _labels_words(models)} if _labels_words(models) else {}
    numbers |= {"left_out": _left_out_words(frame)} if _left_out_words(frame) else {}
    return numbers | ({"not_estimated": "Not estimated: " + "; ".join(reasons) + "."} if reasons else {})


def _labels_words(models: Sequence[ModelPairs]) -> str:
    """What must be known of the labels: that there are none, or that some were not drawn at random."""
    if not any(pairs.n_labelled for pairs in models):
        return "No labels yet: judgements alone, biased by an unknown amount."
    assumed = [f"{pairs.model} {pairs.n_not_drawn:,}" for pairs in models if pairs.uses_not_drawn]
    left_out = [
        f"{pairs.model} {pairs.n_not_drawn:,}" for pairs in models if pairs.n_not_drawn and not pairs.uses_not_drawn
    ]
    said = []
    if assumed:
        said.append(
            "No export asked for these labels, or it drew them when there were fewer pairs; they are taken as drawn at "
            f"random: {', '.join(assumed)}. If somebody chose the pairs, or the pairs added since are of another kind, "
            "the estimates are biased."
        )
    if left_out:
        said.append(
            "Labels that no export asked for, or that were drawn when there were fewer pairs, do not count beside "
            f"those drawn at random: {', '.join(left_out)}."
        )
    return " ".join(said)


def _left_out_words(frame: pl.DataFrame) -> str:
    """Of which estimates some pairs are missing, because a judge could not read them."""
    rows = frame.filter(pl.col("n_excluded") > 0, estimator="control_variate").rows(named=True)
    some = [f"{row['model']} with {row['judge']} {row['n_excluded']:,}" for row in rows if row["quantity"] != "gap"]
    if not some:
        return ""
    return (
        "Estimates are of the pairs that the judges could read, and biased for all pairs, where some were left out: "
        f"{', '.join(some)}."
    )
