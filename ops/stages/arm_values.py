"""Every number of every arm, problem by problem: what ``ops.stages.arm_estimates`` estimates from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ops.arms_plan import ArmsBench
from ops.errors import StorageError
from ops.lab import Lab
from ops.plan import asset_name
from ops.selection.base import Filter
from ops.stages.chosen import training_filter
from ops.stages.diversity import ProblemValues, problem_values
from ops.stages.measured import Responses, Scores, ScoreTable, gaps_of
from ops.stages.problem_flips import solved
from ops.stages.verifier_metrics import drift_of
from ops.verifiers.base import DerivedVerifier, Verifier

TRAINING_FILTER = "training filter"
"""The ``rule`` of what each arm's own training filter does, so that arms with different filters can be compared; of
metrics of verifiers, the one that it reads."""
SOLVED = "half"
"""What counts as solved where problems are learned or forgotten: at least half of the responses are right."""

Key = tuple[str, int | None, str | None]
"""Metric, k, rule."""

Values = Mapping[Key, np.ndarray]
"""Values [P] of one experiment at one iteration, NaN where a problem has none."""


def values_of(bench: ArmsBench, name: str, iteration: int) -> Values:
    """All metrics of one experiment at one iteration on the evaluation problems; read once per bench.

    Raises:
        StorageError: when a table is damaged, or arms of one seed were asked different problems.
    """
    found: dict[tuple[str, int], Values] = bench.cache.setdefault("values", {})
    if (name, iteration) not in found:
        found[name, iteration] = _values(bench, name, iteration)
    return found[name, iteration]


def verified(bench: ArmsBench, name: str, iteration: int) -> tuple[Responses, dict[str, tuple[Verifier, Scores]]]:
    """The responses behind ``values_of``, with the scores of shared verifiers by their labels, and of the one that the
    training filter reads as ``TRAINING_FILTER`` (with several, or none, there is no such one)."""
    values_of(bench, name, iteration)
    return bench.cache["verified"][name, iteration]


def _values(bench: ArmsBench, name: str, iteration: int) -> Values:
    lab, member = bench.labs[name], bench.members[name]
    found = problem_values(lab, iteration, ("eval",))["eval"]
    ids = tuple(found.responses.problem_ids)
    if bench.cache.setdefault("problems", {}).setdefault(member.seed, ids) != ids:
        raise StorageError(
            f"experiment {name}",
            f"its evaluation problems at iteration {iteration} are not those of the other experiments of this seed",
            remedy=f"run `mindgap run {name}` again",
        )
    values: dict[Key, np.ndarray] = {(metric, k, None): value_P for (metric, k), value_P in found.value_P.items()}
    scores = _scores(bench, name, iteration, found)
    own = own_filter(lab, iteration)
    values |= _gaps({**shared_filters(bench), **({TRAINING_FILTER: own} if own is not None else {})}, found, scores)
    verifiers = _verifiers(bench, lab)
    of_verifiers = {rule: (item, scores[item.called]) for rule, item in verifiers.items()}
    bench.cache.setdefault("verified", {})[name, iteration] = (found.responses, of_verifiers)
    values |= _drifts(found, of_verifiers)
    solved_P = bench.cache.setdefault("solved", {})[name, iteration] = solved(found.responses)[SOLVED]
    if iteration > 0:
        values |= _flips(_solved_first(bench, name), solved_P)
        before = values_of(bench, name, iteration - 1)
        accuracy, gap = ("accuracy", None, None), ("gap", None, TRAINING_FILTER)
        if gap in before:
            # J(f_t) - J(f_t-1) = gap(f_t-1) - update_error (2412.02674 section 2)
            error_P = before[gap] - (values[accuracy] - before[accuracy])
            values["update_error", None, TRAINING_FILTER] = error_P
    return values


def own_filter(lab: Lab, iteration: int) -> Filter | None:
    """The arm's own training filter; None where a pilot chooses its threshold and the choice is not there."""
    if not lab.experiment.chooses_threshold:
        return training_filter(lab, iteration)
    choices = lab.plan.fingerprints[asset_name("sampling_choices", iteration)]
    return training_filter(lab, iteration) if lab.store.has("sampling_choices", choices) else None


def _solved_first(bench: ArmsBench, name: str) -> np.ndarray:
    values_of(bench, name, 0)
    return bench.cache["solved"][name, 0]


def _flips(before_P: np.ndarray, after_P: np.ndarray) -> dict[Key, np.ndarray]:
    """Whether each problem was learned, forgotten since iteration 0."""
    return {
        ("learned", None, None): ((before_P == 0.0) & (after_P == 1.0)).astype(float),
        ("forgotten", None, None): ((before_P == 1.0) & (after_P == 0.0)).astype(float),
    }


def _verifiers(bench: ArmsBench, lab: Lab) -> dict[str, Verifier]:
    """Shared ones by label, and the only one that the training filter reads as ``TRAINING_FILTER``."""
    names = lab.experiment.filter.verifier_names
    own = next((item for item in lab.experiment.verifiers if names == (item.called,)), None)
    return shared_verifiers(bench) | ({} if own is None else {TRAINING_FILTER: own})


def _scores(bench: ArmsBench, name: str, iteration: int, found: ProblemValues) -> dict[str, Scores]:
    table = ScoreTable(bench.labs[name], iteration)
    return {item.called: table.of(item.called, found.responses) for item in bench.labs[name].experiment.verifiers}


def _gaps(filters: Mapping[str, Filter], found: ProblemValues, scores: Mapping[str, Scores]) -> dict[Key, np.ndarray]:
    values: dict[Key, np.ndarray] = {}
    score = {name: item.score for name, item in scores.items()}
    for rule, item in filters.items():
        gaps = gaps_of(item, found.responses, score)
        values["gap", None, rule] = gaps.gap_P
        values["relative_gap", None, rule] = gaps.relative_gap_P
        values["filtered_accuracy", None, rule] = gaps.filtered_P
    return values


def _drifts(found: ProblemValues, verifiers: Mapping[str, tuple[Verifier, Scores]]) -> dict[Key, np.ndarray]:
    """Of those whose scores have a range."""
    drifts = {rule: drift_of(item, found.responses, scores) for rule, (item, scores) in verifiers.items()}
    return {("score_drift", None, rule): drift_P for rule, drift_P in drifts.items() if drift_P is not None}


def shared_verifiers(bench: ArmsBench) -> dict[str, Verifier]:
    """Verifiers that every arm lists alike, by label: members of an ensemble included."""
    known = [{item.called: item for item in member.experiment.verifiers} for member in bench.loaded.members]
    shared: dict[str, Verifier] = {}
    for name, verifier in known[0].items():
        members = verifier.members if isinstance(verifier, DerivedVerifier) else ()
        if all(other.get(name) == verifier for other in known) and all(item in shared for item in members):
            shared[name] = verifier
    return shared


def shared_filters(bench: ArmsBench) -> dict[str, Filter]:
    """Measured filters that every arm has and that read shared verifiers only, by what the filter is in words."""
    verifiers = shared_verifiers(bench)
    measured = [member.experiment.measured_filters() for member in bench.loaded.members]
    return {
        item.label: item
        for item in measured[0]
        if all(item in other for other in measured) and all(name in verifiers for name in item.verifier_names)
    }
