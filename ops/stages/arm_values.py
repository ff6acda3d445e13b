"""Every number of every arm, problem by problem, and what is estimated from it over problems and over seeds.

Intervals resample problems, never seeds: an interval says what other problems would have given with these seeds. How
much seeds scatter is the standard error beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ops.arms_plan import ArmsBench
from ops.errors import StorageError
from ops.estimation.bootstrap import mean_draws, percentile_interval, resample_counts
from ops.lab import Lab
from ops.plan import asset_name
from ops.selection.base import Filter
from ops.stages.chosen import training_filter
from ops.stages.diversity import ProblemValues, problem_values
from ops.stages.measured import Scores, ScoreTable
from ops.stages.study_values import Estimate, gaps_of_weights
from ops.stages.verifier_metrics import drift_of
from ops.types import Interval
from ops.verifiers.base import DerivedVerifier, Verifier

TRAINING_FILTER = "training filter"
"""The ``rule`` of what each arm's own training filter does, so that arms with different filters can be compared."""

Key = tuple[str, int | None, str | None]
"""Metric, k, rule."""

Values = Mapping[Key, np.ndarray]
"""Values [P] of one experiment at one iteration, NaN where a problem has none."""


@dataclass(frozen=True)
class OverSeeds:
    """One statistic of an arm, or a difference between arms.

    Attributes:
        by_seed: of every seed that has it.
        interval: mean of the seeds' values; its interval resamples problems.
        standard_error: standard deviation over seeds (ddof 1) / sqrt(seeds); NaN with one seed.
        n_problems: with a value, the fewest of any seed.
    """

    by_seed: Mapping[int, Interval]
    interval: Interval
    standard_error: float
    n_problems: int

    @property
    def n_seeds(self) -> int:
        """Seeds with a defined value."""
        return len(self.by_seed)


_UNDEFINED = Interval(math.nan, math.nan, math.nan)
NOTHING = OverSeeds({}, _UNDEFINED, math.nan, 0)


def values_of(bench: ArmsBench, name: str, iteration: int) -> Values:
    """All metrics of one experiment at one iteration on the evaluation problems; read once per bench.

    Raises:
        StorageError: when a table is damaged, or arms of one seed were asked different problems.
    """
    found: dict[tuple[str, int], Values] = bench.cache.setdefault("values", {})
    if (name, iteration) not in found:
        found[name, iteration] = _values(bench, name, iteration)
    return found[name, iteration]


def combine(bench: ArmsBench, by_seed: Mapping[int, Values]) -> dict[Key, OverSeeds]:
    """Means over problems, and of these over seeds, of all statistics that every seed has.

    Seeds whose arms were asked the same problems are resampled together, so that resample r is one replication of the
    study on other problems; other problems are resampled independently of them.

    Args:
        by_seed: values [P] on the seed's own evaluation problems.
    """
    keys = [key for key in next(iter(by_seed.values()), {}) if all(key in values for values in by_seed.values())]
    estimates: dict[Key, dict[int, Estimate]] = {key: {} for key in keys}
    used: dict[Key, list[int]] = {key: [] for key in keys}
    for seed, values in by_seed.items() if keys else ():
        value_PK = np.stack([values[key] for key in keys], axis=1)
        draws_RK = mean_draws(value_PK, counts_of(bench, seed))
        known_PK = ~np.isnan(value_PK)
        n_K = known_PK.sum(axis=0)
        sum_K = np.where(known_PK, value_PK, 0.0).sum(axis=0)
        for place, key in enumerate(keys):
            if n_K[place]:
                estimates[key][seed] = Estimate(float(sum_K[place] / n_K[place]), draws_RK[:, place])
            used[key].append(int(n_K[place]))
    return {key: _over_seeds(bench, estimates[key], min(used[key])) for key in keys}


def _over_seeds(bench: ArmsBench, estimates: Mapping[int, Estimate], n_problems: int) -> OverSeeds:
    confidence = bench.statistics.confidence
    by_seed = {seed: item.interval(confidence) for seed, item in estimates.items()}
    values = [item.value for item in by_seed.values()]
    if not values:
        return OverSeeds({}, _UNDEFINED, math.nan, n_problems)
    draws_R = np.mean(np.stack([item.draws_R for item in estimates.values()]), axis=0)
    interval = percentile_interval(float(np.mean(values)), draws_R, confidence)
    return OverSeeds(by_seed, interval, standard_error(values), n_problems)


def standard_error(values: list[float]) -> float:
    """Standard deviation (ddof 1) / sqrt(n) of the seeds' values; NaN with fewer than two."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def of_arm(bench: ArmsBench, arm: str, iteration: int) -> dict[int, Values]:
    """The values of every seed of an arm that is measured at that iteration."""
    return {
        seed: values_of(bench, name, iteration)
        for seed, name in bench.seeds_of(arm).items()
        if iteration < bench.measured[name]
    }


def paired(bench: ArmsBench, terms: Mapping[tuple[str, int], float], keys: set[Key] | None = None) -> dict[int, Values]:
    """Weighted sums of values [P] over (arm, iteration), for every seed that all these arms have, problem by problem.

    ``{("gold", 3): 1, ("gold", 0): -1}`` is the change of the arm gold from iteration 0 to 3. A problem without a value
    in one of the terms has none in the sum.
    """
    seeds = [set(of_arm(bench, arm, iteration)) for arm, iteration in terms]
    found: dict[int, Values] = {}
    for seed in sorted(set.intersection(*seeds)):
        parts = [(weight, of_arm(bench, *place)[seed]) for place, weight in terms.items()]
        shared = [key for key in parts[0][1] if all(key in values for _, values in parts) and (not keys or key in keys)]
        found[seed] = {key: sum((weight * values[key] for weight, values in parts), np.zeros(())) for key in shared}
    return found


def contrast(bench: ArmsBench, key: Key, terms: Mapping[tuple[str, int], float]) -> OverSeeds:
    """``paired`` of one metric, estimated; undefined where no seed has it."""
    return combine(bench, paired(bench, terms, {key})).get(key, NOTHING)


def counts_of(bench: ArmsBench, seed: int) -> np.ndarray:
    """Bootstrap multiplicities [R, P] of a seed's evaluation problems: the same problems have the same ones."""
    ids = bench.cache.get("problems", {})[seed]
    counts: dict[tuple[str, ...], np.ndarray] = bench.cache.setdefault("counts", {})
    if ids not in counts:
        statistics = bench.statistics
        counts[ids] = resample_counts(len(ids), statistics.resamples, statistics.seed + len(counts))
    return counts[ids]


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
    own = _training_filter(lab, iteration)
    values |= _gaps({**shared_filters(bench), **({TRAINING_FILTER: own} if own is not None else {})}, found, scores)
    values |= _drifts(bench, found, scores)
    if iteration > 0:
        before = values_of(bench, name, iteration - 1)
        accuracy, gap = ("accuracy", None, None), ("gap", None, TRAINING_FILTER)
        # J(f_t) - J(f_t-1) = gap(f_t-1) - update_error (2412.02674 section 2)
        values["update_error", None, TRAINING_FILTER] = before[gap] - (values[accuracy] - before[accuracy])
    return values


def _training_filter(lab: Lab, iteration: int) -> Filter | None:
    """The arm's own; None at an iteration whose pilot has not chosen it (the last one trains nothing)."""
    choices = asset_name("sampling_choices", iteration)
    chooses = lab.experiment.adapt is not None
    is_known = not chooses or lab.store.has("sampling_choices", lab.plan.fingerprints[choices])
    return training_filter(lab, iteration) if is_known else None


def _scores(bench: ArmsBench, name: str, iteration: int, found: ProblemValues) -> dict[str, Scores]:
    table = ScoreTable(bench.labs[name], iteration)
    return {item.called: table.of(item.called, found.responses) for item in bench.labs[name].experiment.verifiers}


def _gaps(filters: Mapping[str, Filter], found: ProblemValues, scores: Mapping[str, Scores]) -> dict[Key, np.ndarray]:
    values: dict[Key, np.ndarray] = {}
    score = {name: item.score for name, item in scores.items()}
    for rule, item in filters.items():
        responses = found.responses
        weights = item.weights_of(responses.problem_index, score, responses.is_correct)
        gaps = gaps_of_weights(responses, weights)
        values["gap", None, rule] = gaps.gap_P
        values["relative_gap", None, rule] = gaps.relative_gap_P
        values["filtered_accuracy", None, rule] = gaps.filtered_P
    return values


def _drifts(bench: ArmsBench, found: ProblemValues, scores: Mapping[str, Scores]) -> dict[Key, np.ndarray]:
    """Of the verifiers that all arms have and whose scores have a range."""
    drifts = {name: drift_of(item, found.responses, scores[name]) for name, item in shared_verifiers(bench).items()}
    return {("score_drift", None, name): drift_P for name, drift_P in drifts.items() if drift_P is not None}


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
