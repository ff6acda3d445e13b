"""What labels will be worth: per model and judge, from the labels so far or supposed before there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ops.control_variates.pilot import Pilot, read_pilot, without_pilot
from ops.control_variates.planning import LabelsNeeded, half_width_at, labels_needed, predicted_saving
from ops.errors import DatasetError
from ops.estimation.bootstrap import UNDEFINED
from ops.lab import Lab
from ops.stages.human_labels import read_labels, stored_pairs
from ops.stages.labelled_pairs import current_pairs
from ops.stages.win_rate_data import ModelPairs
from ops.stages.win_rates import TOGETHER, judge_sets
from ops.types import Interval

SUPPOSED = (0.0, 0.3, 0.5, 0.7)
"""Correlations shown before there are labels; 0 is the worst case: a judge of no use, which costs about one label."""
BEFORE_LABELS = 100
"""Labels that are planned for before there are any."""
MARKS = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
"""Numbers of labels whose expected half-widths are shown, as far as there are pairs."""


@dataclass(frozen=True)
class LabelPlan:
    """What is expected of one model's labels with one judge (or several).

    Attributes:
        judge: None: human labels alone.
        correlation: of labels and judge within strata, as estimates use it (their multiple correlation where there are
            several); NaN for human labels.
        is_supposed: whether it was guessed and not estimated.
        n: labels that ``saving`` is of.
        saving: predicted part of the labels saved, rho^2 (1 - n/N) with one pair per problem.
        needed: labels for the half-width asked for.
        half_widths: expected with so many labels.
        problem: why there is no plan; then nothing else is there.
    """

    model: str
    judge: str | None
    n_labelled: int
    n_pairs: int
    correlation: Interval
    is_supposed: bool
    n: int
    saving: Interval
    needed: LabelsNeeded | None
    half_widths: dict[int, float]
    problem: str = ""


def plan_labels(
    lab: Lab, half_width: float, *, correlation: float | None = None, n: int | None = None
) -> list[LabelPlan]:
    """A row for human labels alone and for each judge, of every model.

    Models without labels (or with too few) get supposed correlations instead.

    Args:
        half_width: of the interval that is wished for.
        correlation: suppose it, whatever the labels say.
        n: labels to tell the saving of; by default those that there are.

    Raises:
        DatasetError: when the half-width or correlation is out of range.
        StorageError: when pairs, or with labels judgements, are not there yet.
    """
    pairs = stored_pairs(lab)
    labels = lab.store.read("human_labels", read_labels(lab).fingerprint, ["model"])
    known = {} if correlation is not None or labels.is_empty() else {item.model: item for item in current_pairs(lab)}
    plans: list[LabelPlan] = []
    for (name,), frame in pairs.group_by("model", maintain_order=True):
        model = str(name)
        problem_N = np.unique(frame["problem_id"].to_numpy(), return_inverse=True)[1]
        if model in known and known[model].n_labelled:
            plans += _from_labels(lab, known[model], half_width, n)
            continue
        guesses = SUPPOSED if correlation is None else (0.0, correlation)
        plans += _supposed(lab, model, problem_N, list(dict.fromkeys(guesses)), half_width, n)
    return plans


def _from_labels(lab: Lab, pairs: ModelPairs, half_width: float, n: int | None) -> list[LabelPlan]:
    rows: dict[str | None, LabelPlan] = {}
    statistics, missing = lab.experiment.statistics, lab.evaluation.missing_judgements
    alike: Pilot | None = None  # the last that knows from a judge how alike labels of one problem are
    for judges in [*judge_sets(pairs), ()]:
        data, _ = pairs.with_judges(judges, missing, lab.experiment.name)
        judge = TOGETHER.join(judges) or None
        try:
            pilot = read_pilot(data, statistics.confidence, resamples=statistics.resamples, seed=statistics.seed)
        except DatasetError as error:
            rows[judge] = _unplanned(pairs, judge, error.problem)
            continue
        if judge is not None:
            alike = pilot
        elif pilot.icc_source == "worst case" and alike is not None:
            pilot = replace(pilot, icc=alike.icc, residual_icc=alike.icc, icc_source=alike.icc_source)
        rows[judge] = _plan(lab, pairs.model, judge, pilot, half_width, n, is_supposed=False)
    return [rows.pop(None), *rows.values()]


def _supposed(
    lab: Lab, model: str, problem_N: np.ndarray, guesses: Sequence[float], half_width: float, n: int | None
) -> list[LabelPlan]:
    count = min(BEFORE_LABELS, len(problem_N)) if n is None else n
    pilots: list[tuple[str | None, Pilot]] = [(None, without_pilot(problem_N, None))]
    pilots += [("any", without_pilot(problem_N, rho)) for rho in guesses]
    return [_plan(lab, model, judge, pilot, half_width, count, is_supposed=True) for judge, pilot in pilots]


def _unplanned(pairs: ModelPairs, judge: str | None, problem: str) -> LabelPlan:
    about = (pairs.model, judge, pairs.n_labelled, len(pairs.labels_N), UNDEFINED, False, pairs.n_labelled, UNDEFINED)
    return LabelPlan(*about, needed=None, half_widths={}, problem=problem)


def _plan(
    lab: Lab, model: str, judge: str | None, pilot: Pilot, half_width: float, n: int | None, *, is_supposed: bool
) -> LabelPlan:
    confidence = lab.experiment.statistics.confidence
    count = pilot.n_labelled if n is None else n
    if not 1 <= count <= pilot.n_pairs:
        problem = f"{count} labels of {pilot.n_pairs} pairs of {model}"
        raise DatasetError("the plan", problem, field="--n", remedy=f"between 1 and {pilot.n_pairs}")
    square = pilot.rho_squared.value if judge is not None else 0.0
    marks = [mark for mark in (*MARKS, pilot.n_pairs) if pilot.fewest <= mark <= pilot.n_pairs]
    widths = {mark: float(half_width_at(pilot, mark, confidence, rho_squared=square)) for mark in sorted(set(marks))}
    roots = [float(np.sqrt(item)) for item in (pilot.rho_squared.value, pilot.rho_squared.low, pilot.rho_squared.high)]
    saving = predicted_saving(pilot, count) if judge is not None else UNDEFINED
    needed = labels_needed(pilot, half_width, confidence)
    return LabelPlan(
        model, judge, pilot.n_labelled, pilot.n_pairs, Interval(*roots), is_supposed, count, saving, needed, widths
    )
