"""Finding 3 of 2412.02674: the shape of the gap as a function of the threshold, and where the best one carries over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ops.estimation.sweep import ScoredResponses, best_on_train, default_thresholds
from ops.reporting.words import interval
from ops.stages.comparison import THRESHOLDS
from ops.stages.study_values import Cohort, Estimate, Measured, gaps_of_weights, mean_of, pairs_of
from ops.study_findings import TOLERANCE, UNDECIDED, Outcome, above, below, rises_with_threshold
from ops.types import Interval
from ops.verifiers.base import Verifier

GRID = 11
"""Thresholds of a shape, evenly spaced over the scores that occur."""
OCCURRING = (0.01, 0.99)
"""Quantiles of the training scores between which a shape is read: outside of them all or nothing is kept."""
MIN_KEPT = 0.01
"""Thresholds that keep less of the training responses are left out: there the gap is 0 by convention, not by shape."""
CONCAVE = ("logit", "tournament")
RISING = "score_cot"
CHOSEN = ("logit", "score_cot", "tournament")
"""Mechanisms whose best threshold is compared; binary CoT has two scores only."""

Row = tuple[str, str, str, Outcome, str, Interval]
_UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


def threshold_findings(cohort: Cohort, cohorts: list[Cohort], confidence: float) -> Iterator[Row]:
    """Rows (finding, task, statement, outcome, evidence, value) of 3a, 3b, 3c and 3d for one cohort."""
    for mechanism in CONCAVE:
        yield _shape(
            cohort,
            confidence,
            "3a",
            mechanism,
            f"The gap is a concave function of the {mechanism} threshold.",
        )
    yield _rising(cohort, confidence)
    yield _carried_between_models(cohort, confidence)
    yield _carried_between_tasks(cohort, cohorts, confidence)


def curve(measured: Measured, verifier: Verifier) -> tuple[np.ndarray, np.ndarray] | None:
    """(places x [T] in 0..1 of the scores that occur, gaps [P, T]) at thresholds that keep enough; None without any.

    What occurs and is kept is seen on the train responses; without a train split on the evaluation responses, which
    chooses thresholds by how much they keep, not by their gap.
    """
    found = _thresholds(measured, verifier)
    if found is None:
        return None
    x_T, threshold_T = found
    return x_T, np.stack([gaps_at(measured, verifier, threshold) for threshold in threshold_T], axis=1)


def _thresholds(measured: Measured, verifier: Verifier) -> tuple[np.ndarray, np.ndarray] | None:
    """Places in 0..1 and the thresholds there, float [T]; None where there is no scale or no spread."""
    score = measured.score(verifier.called, "train" if "train" in measured.splits else "eval")
    known = score[~np.isnan(score)]
    if verifier.score_range is None or not len(known):
        return None
    low, high = np.quantile(known, OCCURRING)
    if low == high:
        return None
    x_T = np.arange(GRID) / (GRID - 1)
    threshold_T = low + (high - low) * x_T
    keeps_T = np.array([float((score >= threshold).mean()) >= MIN_KEPT for threshold in threshold_T])
    return (x_T[keeps_T], threshold_T[keeps_T]) if keeps_T.any() else None


def gains(cohort: Cohort, measured: Measured, verifier: Verifier, confidence: float) -> bool:
    """Whether the check gains anything: its gap at the threshold chosen on train has an interval above 0 on eval.

    A check that gains nothing has no shape to speak of. Without a train split, or where nothing can be chosen, its own
    threshold stands in.
    """
    threshold = best_threshold(measured, verifier)
    threshold = verifier.default_threshold if threshold is None else threshold
    return cohort.mean(gaps_at(measured, verifier, threshold)).interval(confidence).low > 0


def gaps_at(measured: Measured, verifier: Verifier, threshold: float, split: str = "eval") -> np.ndarray:
    """Gap [P] of keeping scores of at least ``threshold``."""
    kept = measured.score(verifier.called, split) >= threshold  # NaN keeps nothing
    return gaps_of_weights(measured.splits[split], kept.astype(float)).gap_P


def _of(measured: Measured, mechanism: str) -> list[Verifier]:
    return [item for item in measured.own_verifiers() if item.name == mechanism]


def _fitted(cohort: Cohort, measured: Measured, verifier: Verifier, degree: int) -> Estimate | None:
    """Highest coefficient of a least-squares polynomial in x: a weighted mean of differences of that order."""
    found = curve(measured, verifier)
    if found is None or len(found[0]) < degree + 2:
        return None
    x_T, gap_PT = found
    weights_T = np.linalg.pinv(np.vander(x_T, degree + 1))[0]
    return cohort.mean(gap_PT @ weights_T)


def _shape(cohort: Cohort, confidence: float, name: str, mechanism: str, statement: str) -> Row:
    """3a: the curvature, a weighted mean of second differences, averaged over models, lies below 0."""
    found, useless = {}, 0
    for measured in cohort.measured:
        for verifier in _of(measured, mechanism):
            estimate = _fitted(cohort, measured, verifier, 2)
            if estimate is not None and gains(cohort, measured, verifier, confidence):
                found[measured.member.model] = estimate
            useless += estimate is not None and measured.member.model not in found
    without = f"; {useless} models whose {mechanism} check gains nothing are left out" if useless else ""
    if not found:
        reason = f"no {mechanism} check with enough thresholds that gains anything{without}"
        return name, cohort.task, statement, UNDECIDED, reason, _UNDEFINED
    curvature = mean_of(list(found.values())).interval(confidence)
    evidence = (
        f"{mechanism}: curvature {interval(curvature, sign=True)} of the gap over the scores that occur, mean of "
        f"{len(found)} models ({_by_model(found, confidence)}){without}"
    )
    return name, cohort.task, statement, below(curvature), evidence, curvature


def _rising(cohort: Cohort, confidence: float) -> Row:
    statement = "The gap rises with the score CoT threshold."
    slopes: dict[str, Estimate] = {}
    falls: list[Estimate] = []
    for measured in cohort.measured:
        for verifier in _of(measured, RISING):
            slope, fall_of = _fitted(cohort, measured, verifier, 1), _fall(cohort, measured, verifier)
            if slope is not None and gains(cohort, measured, verifier, confidence):
                slopes[measured.member.model] = slope
                falls += [fall_of] if fall_of is not None else []
    if not slopes:
        return (
            "3b",
            cohort.task,
            statement,
            UNDECIDED,
            "no score CoT check with enough thresholds that gains anything",
            _UNDEFINED,
        )
    rise, fall = (mean_of(items).interval(confidence) for items in (list(slopes.values()), falls))
    if falls:
        of = "" if len(falls) == len(slopes) else f" ({len(falls)} models with training problems)"
        fallen = f"fall from the peak, chosen on train, to the highest threshold {interval(fall, sign=True)}{of}"
    else:
        fallen = "no training problems to choose the peak on, so the fall from it to the highest threshold is unknown"
    slope_words = f"slope {interval(rise, sign=True)} over the scores that occur ({_by_model(slopes, confidence)})"
    evidence = f"score_cot: {slope_words}; {fallen}"
    return "3b", cohort.task, statement, rises_with_threshold(rise, fall), evidence, rise


def _fall(cohort: Cohort, measured: Measured, verifier: Verifier) -> Estimate | None:
    """Gap at the threshold that is best on train minus that at the highest one, both on the evaluation problems.

    None without train problems: a peak chosen on the problems it is measured on is never below the end.
    """
    found = _thresholds(measured, verifier)
    if found is None or "train" not in measured.splits:
        return None
    _, threshold_T = found
    on_train = [float(gaps_at(measured, verifier, threshold, "train").mean()) for threshold in threshold_T]
    peak_P, end_P = (gaps_at(measured, verifier, threshold_T[i]) for i in (int(np.argmax(on_train)), -1))
    return cohort.mean(peak_P - end_P)


def best_threshold(measured: Measured, verifier: Verifier) -> float | None:
    """The threshold with the largest gap on the train problems; None without them or without a score. Found once."""
    if verifier.called not in measured.best_thresholds:
        measured.best_thresholds[verifier.called] = _best_threshold(measured, verifier)
    return measured.best_thresholds[verifier.called]


def _best_threshold(measured: Measured, verifier: Verifier) -> float | None:
    if "train" not in measured.splits:
        return None
    grid = default_thresholds(measured.score(verifier.called, "train"), THRESHOLDS)
    if not len(grid):
        return None
    train, evaluation = (_scored_once(measured, verifier, split) for split in ("train", "eval"))
    found = best_on_train(train, evaluation, 0.95, thresholds=grid)
    return None if found is None else found.value


def _scored_once(measured: Measured, verifier: Verifier, split: str) -> ScoredResponses:
    """One split with every problem once instead of resamples: only the choice is wanted, not its interval."""
    responses = measured.splits[split]
    once_RP = np.ones((1, len(responses.problem_ids)))
    score = measured.score(verifier.called, split)
    return ScoredResponses(responses.problem_index, score, responses.is_correct, once_RP)


def _loss(cohort: Cohort, target: Measured, source: Measured, verifier: Verifier) -> Estimate | None:
    """Gap of ``target`` at its own best threshold minus that at the best of ``source``, on evaluation problems."""
    if verifier.called not in source.verifiers:
        return None
    own, foreign = best_threshold(target, verifier), best_threshold(source, source.verifiers[verifier.called])
    if own is None or foreign is None:
        return None
    at_own_P, at_foreign_P = gaps_at(target, verifier, own), gaps_at(target, verifier, foreign)
    if not (at_own_P.any() or at_foreign_P.any()):
        return None  # no threshold gains anything: there is nothing to carry over
    return cohort.mean(at_own_P - at_foreign_P)


def _losses(cohort: Cohort, pairs: Iterable[tuple[Measured, Measured]]) -> dict[str, list[Estimate]]:
    """By the check's label: the losses of all (target, source)."""
    losses: dict[str, list[Estimate]] = {}
    for target, source in pairs:
        for mechanism in CHOSEN:
            for verifier in _of(target, mechanism):
                loss = _loss(cohort, target, source, verifier)
                if loss is not None:
                    losses.setdefault(verifier.called, []).append(loss)
    return losses


def _carried_between_models(cohort: Cohort, confidence: float) -> Row:
    losses = _losses(cohort, pairs_of(cohort))
    statement = "The best threshold carries over between models."
    return _carried(cohort, confidence, "3c", statement, losses, "another model's", holds_below=True)


def _carried_between_tasks(cohort: Cohort, cohorts: list[Cohort], confidence: float) -> Row:
    pairs = (
        (target, source)
        for other in cohorts
        if other.task != cohort.task
        for target in cohort.measured
        for source in other.measured
        if source.member.model == target.member.model
    )
    losses = _losses(cohort, pairs)
    statement = "The best threshold does not carry over between tasks."
    return _carried(cohort, confidence, "3d", statement, losses, "the other task's", holds_below=False)


def _carried(
    cohort: Cohort,
    confidence: float,
    name: str,
    statement: str,
    losses: dict[str, list[Estimate]],
    whose: str,
    *,
    holds_below: bool,
) -> Row:
    """The mean loss against the tolerance."""
    if not losses:
        return name, cohort.task, statement, UNDECIDED, f"nothing to compare with {whose} best threshold", _UNDEFINED
    loss = mean_of([item for items in losses.values() for item in items]).interval(confidence)
    parts = "; ".join(
        f"{label} {interval(mean_of(items).interval(confidence), sign=True)}" for label, items in losses.items()
    )
    evidence = (
        f"loss in gap at {whose} best threshold instead of the model's own, both chosen on train: "
        f"{interval(loss, sign=True)} (tolerance {TOLERANCE:g}); {parts}"
    )
    outcome = below(loss, TOLERANCE) if holds_below else above(loss, TOLERANCE)
    return name, cohort.task, statement, outcome, evidence, loss


def _by_model(found: dict[str, Estimate], confidence: float) -> str:
    return ", ".join(f"{model} {interval(item.interval(confidence), sign=True)}" for model, item in found.items())
