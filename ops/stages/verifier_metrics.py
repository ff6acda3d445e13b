"""Metrics of every verifier: how well it classifies, ranks and is calibrated, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ops.errors import ExperimentError
from ops.estimation.auroc import auroc_interval
from ops.estimation.bootstrap import mean_interval
from ops.estimation.calibration import Calibration, calibrate
from ops.estimation.classification import classify, oracle_minus_selected
from ops.estimation.drift import score_drift
from ops.lab import Lab
from ops.stages.gap import verified_by
from ops.stages.measured import (
    Responses,
    Scores,
    ScoreTable,
    bootstrap_of,
    splits_of,
    with_ends,
    without_nan,
)
from ops.stages.scores import seconds_by_verifier
from ops.storage.schemas import polars_schema
from ops.types import Interval, StageResult
from ops.verifiers.base import Verifier

_UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


ROUNDING = 1e-6
"""Of a range: how far outside of it a score may lie that was computed in single precision."""


def probability_of(verifier: Verifier, score: np.ndarray) -> np.ndarray | None:
    """Scores [N] mapped linearly from the verifier's range to [0, 1]; None where it has no such range.

    Raises:
        ExperimentError: a score outside of the range. What a model is asked for lies inside by construction, so it is
            a recorded score, and the ``scale`` declared for it is not its scale.
    """
    if verifier.score_range is None:
        return None
    low, high = verifier.score_range
    probability = (score - low) / (high - low)
    outside = score[(probability < -ROUNDING) | (probability > 1.0 + ROUNDING)]
    if len(outside):
        worst = float(outside[np.abs(outside - (low + high) / 2.0).argmax()])
        raise ExperimentError(
            f"verifier {verifier.called}",
            f"{len(outside):,} of {len(score):,} scores lie outside of the scale [{low:g}, {high:g}], "
            f"for example {worst!r}",
            field=f"verifiers[{verifier.called}].scale",
            remedy="declare the scale that the scores are on, or leave it out: they are then not read as probabilities",
        )
    return np.clip(probability, 0.0, 1.0)


def measure_verifiers(lab: Lab, iteration: int) -> StageResult:
    """Measure every verifier on both splits and commit the table ``verifier_metrics``."""

    def compute() -> pl.DataFrame:
        table, seconds = ScoreTable(lab, iteration), seconds_by_verifier(lab, iteration)
        rows = []
        for split, responses in splits_of(lab, iteration).items():
            counts_RP = bootstrap_of(lab, responses)
            for verifier in lab.experiment.verifiers:
                scores = table.of(verifier.called, responses)
                cost = seconds.get(verifier.called)
                rows.append({"split": split, **_row(lab, verifier, responses, scores, counts_RP, cost)})
        return pl.DataFrame(rows, schema=polars_schema("verifier_metrics"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for row in frame.filter(pl.col("split") == "eval").iter_rows(named=True):
            drift = ("score_drift", "score_drift_low", "score_drift_high")
            for name in ("auroc", "auroc_low", "auroc_high", "precision", "recall", "ece", *drift):
                numbers[f"{row['verifier']}_{name}"] = row[name]
        return numbers

    return lab.materialise("verifier_metrics", "verifier_metrics", iteration, compute, metadata)


def _row(
    lab: Lab, verifier: Verifier, responses: Responses, scores: Scores, counts_RP: np.ndarray, seconds: float | None
) -> dict[str, Any]:
    """The verifier as a classifier accepts what its default filter keeps: its own verdict, where it gives one."""
    confidence, index, truth = lab.experiment.statistics.confidence, responses.problem_index, responses.is_correct
    accepted = verifier.default_filter().weights(index, scores.score, truth)
    classified = classify(index, truth, accepted, counts_RP, confidence, ~scores.unparseable)
    selected = oracle_minus_selected(index, scores.score, truth, counts_RP, confidence)
    calibration = _calibration(lab, verifier, responses, scores, counts_RP)
    drift_P = drift_of(verifier, responses, scores)
    row = {
        "generator": lab.experiment.model.shown,
        "verifier": verifier.called,
        **verified_by(lab, (verifier.called,)),
        "n_problems": len(responses.problem_ids),
        "n_responses": len(truth),
        "unparseable_fraction": float(scores.unparseable.mean()),
        "accepted_fraction": float(accepted.mean()),
        "mean_score": float(np.nanmean(scores.score)) if not np.isnan(scores.score).all() else None,
        "new_tokens_per_1000_responses": 1000.0 * float(scores.n_tokens.mean()),
        "seconds_per_1000_responses": None if seconds is None else 1000.0 * seconds,
        **with_ends(
            verification_accuracy=classified.verification_accuracy,
            precision=classified.precision,
            recall=classified.recall,
            auroc=auroc_interval(index, scores.score, truth, counts_RP, confidence),
            ece=_UNDEFINED if calibration is None else calibration.ece,
            brier=_UNDEFINED if calibration is None else calibration.brier,
            score_drift=_UNDEFINED if drift_P is None else mean_interval(drift_P, counts_RP, confidence),
            verification_accuracy_minus_generation_accuracy=classified.verification_accuracy_minus_generation_accuracy,
            precision_minus_accuracy=classified.precision_minus_accuracy,
            oracle_minus_selected=selected.oracle_minus_selected,
        ),
    }
    return without_nan(row)


def drift_of(verifier: Verifier, responses: Responses, scores: Scores) -> np.ndarray | None:
    """Score drift of each problem [P]; None where the verifier's scores have no range, and so do not claim a truth.

    Raises:
        ExperimentError: as ``probability_of``.
    """
    probability = probability_of(verifier, scores.score)
    if probability is None:
        return None
    return score_drift(responses.problem_index, probability, responses.is_correct, len(responses.problem_ids))


def _calibration(
    lab: Lab, verifier: Verifier, responses: Responses, scores: Scores, counts_RP: np.ndarray
) -> Calibration | None:
    probability = probability_of(verifier, scores.score)
    if probability is None:
        return None
    confidence = lab.experiment.statistics.confidence
    return calibrate(responses.problem_index, probability, responses.is_correct, counts_RP, confidence)


def measure_calibration(lab: Lab, iteration: int) -> StageResult:
    """The reliability plot of every verifier whose scores read as probabilities: the table ``calibration_bins``."""

    def compute() -> pl.DataFrame:
        table = ScoreTable(lab, iteration)
        rows: list[dict[str, Any]] = []
        for split, responses in splits_of(lab, iteration).items():
            counts_RP = bootstrap_of(lab, responses)
            for verifier in lab.experiment.verifiers:
                found = _calibration(lab, verifier, responses, table.of(verifier.called, responses), counts_RP)
                rows += [
                    without_nan(
                        {
                            "split": split,
                            "verifier": verifier.called,
                            "bin": number,
                            "bin_low": item.low,
                            "bin_high": item.high,
                            "n_responses": item.n,
                            "mean_probability": item.mean_probability,
                            **with_ends(accuracy=item.accuracy),
                        }
                    )
                    for number, item in enumerate(found.bins if found is not None else ())
                ]
        return pl.DataFrame(rows, schema=polars_schema("calibration_bins"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        return {"verifiers": frame["verifier"].n_unique(), "bins_with_responses": int((frame["n_responses"] > 0).sum())}

    return lab.materialise("calibration_bins", "calibration_bins", iteration, compute, metadata)
