"""What is estimated of arms from their problems: over problems by resampling them, over seeds by a standard error.

Intervals resample problems, never seeds: an interval says what other problems would have given with these seeds. How
much seeds scatter is the standard error beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ops.arms_plan import ArmsBench
from ops.config import Statistics
from ops.estimation.auroc import auroc_draws
from ops.estimation.bootstrap import divide, mean_draws, percentile_interval, resample_counts
from ops.estimation.calibration import ece_draws
from ops.stages.arm_values import Key, Values, values_of, verified
from ops.stages.study_values import Estimate
from ops.stages.verifier_metrics import probability_of
from ops.types import Interval

Estimates = Mapping[Key, tuple[Estimate, int]]
"""With the number of problems that have a value."""


class Resampled(Protocol):
    """Whose problems are resampled: a study of arms, or one task of a study of exploration."""

    @property
    def cache(self) -> dict[str, Any]:
        """Holds, under ``problems``, the ids of every seed's evaluation problems."""

    @property
    def statistics(self) -> Statistics:
        """How many resamples, and their seed."""


@dataclass(frozen=True)
class OverSeeds:
    """One statistic of an arm, or a difference between arms.

    Attributes:
        by_seed: of every seed that has it.
        interval: mean of the seeds' values; its interval resamples problems.
        standard_error: standard deviation over seeds (ddof 1) / sqrt(seeds); NaN with one seed.
        n_problems: with a value, the fewest of any seed that has it.
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


def combine(bench: Resampled, by_seed: Mapping[int, Values]) -> dict[Key, OverSeeds]:
    """Means over problems, and of these over seeds, of all statistics that every seed has.

    Args:
        by_seed: values [P] on the seed's own evaluation problems.
    """
    return over_seeds(bench, {seed: _means(values, counts_of(bench, seed)) for seed, values in by_seed.items()})


def over_seeds(bench: Resampled, by_seed: Mapping[int, Estimates]) -> dict[Key, OverSeeds]:
    """Means over seeds of all estimates that every seed has; a seed where one is undefined is left out of its mean.

    Seeds whose arms were asked the same problems are resampled together, so that resample r is one replication of the
    study on other problems; other problems are resampled independently of them.
    """
    keys = [key for key in next(iter(by_seed.values()), {}) if all(key in found for found in by_seed.values())]
    defined = {
        key: {seed: found[key] for seed, found in by_seed.items() if not math.isnan(found[key][0].value)}
        for key in keys
    }
    return {key: _over_seeds(bench, found) for key, found in defined.items()}


def _means(values: Values, counts_RP: np.ndarray) -> Estimates:
    if not values:
        return {}
    value_PK = np.stack(list(values.values()), axis=1)
    draws_RK = mean_draws(value_PK, counts_RP)
    known_PK = ~np.isnan(value_PK)
    n_K = known_PK.sum(axis=0)
    mean_K = divide(np.where(known_PK, value_PK, 0.0).sum(axis=0), n_K)
    return {key: (Estimate(float(mean_K[i]), draws_RK[:, i]), int(n_K[i])) for i, key in enumerate(values)}


def _over_seeds(bench: Resampled, found: Mapping[int, tuple[Estimate, int]]) -> OverSeeds:
    if not found:
        return NOTHING
    confidence = bench.statistics.confidence
    by_seed = {seed: item.interval(confidence) for seed, (item, _) in found.items()}
    values = [item.value for item in by_seed.values()]
    draws_R = np.mean(np.stack([item.draws_R for item, _ in found.values()]), axis=0)
    interval = percentile_interval(float(np.mean(values)), draws_R, confidence)
    return OverSeeds(by_seed, interval, standard_error(values), min(n for _, n in found.values()))


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
    return weighted_sums([(weight, of_arm(bench, *place)) for place, weight in terms.items()], keys)


def weighted_sums(
    terms: Sequence[tuple[float, Mapping[int, Values]]], keys: set[Key] | None = None
) -> dict[int, Values]:
    """Of values [P] by seed, for every seed and statistic that all terms have, problem by problem.

    Args:
        keys: of these statistics only; None: of all.
    """
    found: dict[int, Values] = {}
    for seed in sorted(set.intersection(*(set(values) for _, values in terms))):
        parts = [(weight, values[seed]) for weight, values in terms]
        shared = [key for key in parts[0][1] if all(key in values for _, values in parts) and (not keys or key in keys)]
        found[seed] = {key: sum((weight * values[key] for weight, values in parts), np.zeros(())) for key in shared}
    return found


def contrast(bench: ArmsBench, key: Key, terms: Mapping[tuple[str, int], float]) -> OverSeeds:
    """``paired`` of one metric, estimated; undefined where no seed has it."""
    return combine(bench, paired(bench, terms, {key})).get(key, NOTHING)


def counts_of(bench: Resampled, seed: int) -> np.ndarray:
    """Bootstrap multiplicities [R, P] of a seed's evaluation problems: the same problems have the same ones."""
    ids = bench.cache.get("problems", {})[seed]
    counts: dict[tuple[str, ...], np.ndarray] = bench.cache.setdefault("counts", {})
    if ids not in counts:
        statistics = bench.statistics
        counts[ids] = resample_counts(len(ids), statistics.resamples, statistics.seed + len(counts))
    return counts[ids]


def pooled_of(bench: ArmsBench, name: str, iteration: int) -> Estimates:
    """AUROC and expected calibration error of one experiment's verifiers at one iteration.

    They are statistics of all responses together, not means over problems; resamples draw whole problems.
    """
    found: dict[tuple[str, int], Estimates] = bench.cache.setdefault("pooled", {})
    if (name, iteration) not in found:
        found[name, iteration] = dict(_pooled(bench, name, iteration))
    return found[name, iteration]


def pooled(bench: ArmsBench, arm: str, iteration: int) -> dict[Key, OverSeeds]:
    """``pooled_of`` of every seed of an arm that is measured at that iteration, over seeds."""
    names = {seed: name for seed, name in bench.seeds_of(arm).items() if iteration < bench.measured[name]}
    return over_seeds(bench, {seed: pooled_of(bench, name, iteration) for seed, name in names.items()})


def pooled_difference(bench: ArmsBench, a: str, b: str, iteration: int) -> dict[Key, OverSeeds]:
    """a minus b of every seed that both have; resample r is of the same problems on both sides."""
    sides = [{seed: pooled_of(bench, name, iteration) for seed, name in bench.seeds_of(arm).items()} for arm in (a, b)]
    return over_seeds(bench, {seed: _minus(sides[0][seed], sides[1][seed]) for seed in sides[0] if seed in sides[1]})


def _minus(first: Estimates, second: Estimates) -> Estimates:
    found = {}
    for key, (item, n) in first.items():
        if key in second:
            other, n_other = second[key]
            found[key] = (Estimate(item.value - other.value, item.draws_R - other.draws_R), min(n, n_other))
    return found


def _pooled(bench: ArmsBench, name: str, iteration: int) -> Iterator[tuple[Key, tuple[Estimate, int]]]:
    responses, verifiers = verified(bench, name, iteration)
    counts_RP = counts_of(bench, bench.members[name].seed)
    index, truth, n_problems = responses.problem_index, responses.is_correct, len(responses.problem_ids)
    for rule, (verifier, scores) in verifiers.items():
        yield ("auroc", None, rule), (Estimate(*auroc_draws(index, scores.score, truth, counts_RP)), n_problems)
        probability = probability_of(verifier, scores.score)
        if probability is not None:
            yield ("ece", None, rule), (Estimate(*ece_draws(index, probability, truth, counts_RP)), n_problems)
