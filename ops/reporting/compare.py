"""Two or more experiments, iteration by iteration: what differs in their settings, and what differs in their results.

The first experiment is the one that is subtracted. Where two experiments were evaluated on the same problems their
values are paired problem by problem, and the interval resamples the problems of both sides together, so that what they
share (easy and hard problems) cancels. Where the problems differ, the interval resamples each side's problems on its
own: it is wider, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ops.config import Experiment, Statistics
from ops.errors import ExperimentError, StorageError
from ops.estimation.bootstrap import mean_draws, mean_interval, percentile_interval, resample_counts
from ops.estimation.paired import paired_mean
from ops.lab import Lab
from ops.plan import asset_name
from ops.reporting import words
from ops.reporting.settings_diff import Setting, differing_settings
from ops.reporting.trajectory_plots import spread
from ops.stages.diversity import SELF_BLEU_RESPONSES
from ops.stages.iteration_changes import EvalValues, eval_values
from ops.stopping import last_iteration
from ops.types import Interval

OWN = "its training filter"
"""The ``rule`` of gaps where the experiments measure no filter in common."""
MAX_RULES = 4
"""Filters, and verifiers, that a terminal and the curves of a page show; the tables of the page hold all."""

Key = tuple[str, int | None, str | None]
"""Metric, k, and the filter or verifier that it is of."""


@dataclass(frozen=True)
class Cell:
    """One experiment's estimate, and its difference to the first experiment's.

    Attributes:
        difference: this minus the first; None for the first experiment itself.
        n_problems: that the difference is made from: pairs, or the smaller side.
    """

    value: Interval
    difference: Interval | None
    n_problems: int


@dataclass(frozen=True)
class Row:
    """One metric at one iteration, with a cell for each experiment."""

    iteration: int
    key: Key
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Comparison:
    """Experiments side by side; the first is the reference.

    Attributes:
        settings: those that differ.
        is_paired: for each experiment whether it has the first one's evaluation problems (True for the first).
        n_problems: evaluation problems of each; ``n_common``: those that it shares with the first.
        n_responses: (fewest, most) of an evaluation problem, of each experiment at the last of ``iterations``.
        not_compared: metrics that depend on how many responses a problem has, left out because that differs.
        iterations: at which all are measured, ascending.
    """

    names: tuple[str, ...]
    hypotheses: tuple[str, ...]
    settings: tuple[Setting, ...]
    confidence: float
    is_paired: tuple[bool, ...]
    n_problems: tuple[int, ...]
    n_common: tuple[int, ...]
    n_responses: tuple[tuple[int, int], ...]
    not_compared: tuple[str, ...]
    iterations: tuple[int, ...]
    rows: tuple[Row, ...]

    def at(self, iteration: int) -> list[Row]:
        """The rows of one iteration."""
        return [row for row in self.rows if row.iteration == iteration]

    def shown(self, iteration: int) -> list[Row]:
        """The rows of one iteration, of at most ``MAX_RULES`` filters and of as many verifiers."""
        rules: dict[str, list[str | None]] = {}
        chosen = []
        for row in self.at(iteration):
            metric, _, rule = row.key
            mine = rules.setdefault(metric, [])
            if rule is None or len(mine) < MAX_RULES:
                mine.append(rule)
                chosen.append(row)
        return chosen

    def series(self, key: Key, place: int) -> list[tuple[int, Interval]]:
        """One metric of the experiment at ``place``, by iteration; undefined ones are left out."""
        points = [(row.iteration, row.cells[place].value) for row in self.rows if row.key == key]
        return [(k, item) for k, item in points if not math.isnan(item.value)]


def compare(labs: Sequence[Lab], iteration: int | None = None) -> Comparison:
    """Compare what is stored of two or more experiments, with the first one's statistics (resamples, level, seed).

    Args:
        iteration: only this one; None: all at which every experiment is measured.

    Raises:
        ExperimentError: the same experiment twice, or fewer than two.
        StorageError: no iteration at which all are measured, or not the wanted one; a damaged table.
    """
    names = tuple(lab.experiment.name for lab in labs)
    if len(set(names)) != len(names) or len(names) < 2:
        raise ExperimentError(
            "mindgap compare",
            f"expected two or more different experiments, got {', '.join(names)}",
            remedy="name others",
        )
    iterations = _shared_iterations(labs, iteration)
    rows: list[Row] = []
    found: list[EvalValues] = []
    for k in iterations:
        found = [_values(lab, k) for lab in labs]
        rows += _rows(labs, k, found)
    ids = [set(values.problem_ids) for values in found]
    return Comparison(
        names=names,
        hypotheses=tuple(" ".join(lab.experiment.hypothesis.split()) for lab in labs),
        settings=differing_settings([lab.experiment for lab in labs]),
        confidence=labs[0].experiment.statistics.confidence,
        is_paired=tuple(values.problem_ids == found[0].problem_ids for values in found),
        n_problems=tuple(len(values.problem_ids) for values in found),
        n_common=tuple(len(ids[0] & mine) for mine in ids),
        n_responses=tuple((int(values.size_P.min()), int(values.size_P.max())) for values in found),
        not_compared=left_out(found),
        iterations=tuple(iterations),
        rows=tuple(rows),
    )


def _shared_iterations(labs: Sequence[Lab], wanted: int | None) -> list[int]:
    """Those at which every experiment has its responses and scores, as far as its loop went."""
    measured = [
        {
            k
            for k in range(last_iteration(lab.experiment, lab.plan, lab.store) + 1)
            if all(
                lab.store.has(table, lab.plan.fingerprints[asset_name(table, k)])
                for table in ("generations", "verification_scores")
            )
        }
        for lab in labs
    ]
    for lab, mine in zip(labs, measured, strict=True):
        if not mine:
            name = lab.experiment.name
            raise StorageError(f"experiment {name}", "has no results yet", remedy=f"mindgap run {name}")
    shared = sorted(set.intersection(*measured))
    if wanted is None and shared:
        return shared
    if wanted in shared:
        return [wanted]
    have = "; ".join(
        f"{lab.experiment.name}: {', '.join(map(str, sorted(mine)))}" for lab, mine in zip(labs, measured, strict=True)
    )
    what = "no iteration" if wanted is None else f"iteration {wanted} is not one"
    raise StorageError("mindgap compare", f"{what} at which all are measured ({have})", remedy="run what is missing")


def _values(lab: Lab, iteration: int) -> EvalValues:
    found = eval_values(lab, iteration)
    if found is None:
        name = lab.experiment.name
        raise StorageError(f"experiment {name}", "has no evaluation problems", remedy="compare experiments that have")
    return found


def left_out(found: Sequence[EvalValues]) -> tuple[str, ...]:
    """Metrics that say nothing about two experiments with different numbers of responses for each problem.

    The entropy of few answers is too low, a vote of more answers is another vote, and self-BLEU grows with the number
    of texts up to ``SELF_BLEU_RESPONSES``. Accuracy, and pass@k and distinct answers at the same k, are unbiased.
    """
    first = found[0]
    if all(_same_sizes(values, first) for values in found[1:]):
        return ()
    has_few = any(values.size_P.min() < SELF_BLEU_RESPONSES for values in found)
    return ("majority_vote_accuracy", "answer_entropy_nats", *(("self_bleu",) if has_few else ()))


def _same_sizes(values: EvalValues, other: EvalValues) -> bool:
    """As many responses of every problem; of different problems, as few and as many at least and at most."""
    if values.problem_ids == other.problem_ids:
        return np.array_equal(values.size_P, other.size_P)
    return (values.size_P.min(), values.size_P.max()) == (other.size_P.min(), other.size_P.max())


def _flat_values(values: EvalValues, not_compared: Sequence[str]) -> dict[Key, np.ndarray]:
    """Every metric [P] by key; the gap of the filter that trains, whatever it reads, also under the name ``OWN``."""
    flat: dict[Key, np.ndarray] = {
        (metric, k, None): value_P for (metric, k), value_P in values.metrics.items() if metric not in not_compared
    }
    own = {} if values.training is None else {OWN: values.training[1]}
    for rule, gaps in {**values.gaps, **own}.items():
        flat["gap", None, rule] = gaps.gap_P
        flat["relative_gap", None, rule] = gaps.relative_gap_P
    return flat | {("score_drift", None, name): drift_P for name, drift_P in values.drift.items()}


def _rows(labs: Sequence[Lab], iteration: int, found: Sequence[EvalValues]) -> list[Row]:
    statistics = labs[0].experiment.statistics
    flat = [_flat_values(values, left_out(found)) for values in found]
    counts = [_resampled(found, place, statistics) for place in range(len(found))]
    rows = []
    for key in _keys(labs[0].experiment, flat):
        cells = []
        for place, values in enumerate(flat):
            value = mean_interval(values[key], counts[place], statistics.confidence)
            if place == 0:
                cells.append(Cell(value, None, _defined(values[key])))
            elif found[place].problem_ids == found[0].problem_ids:
                paired = paired_mean(values[key], flat[0][key], counts[0], statistics.confidence)
                cells.append(Cell(value, paired.difference, paired.n))
            else:
                difference = unpaired_mean(values[key], flat[0][key], counts[place], counts[0], statistics.confidence)
                cells.append(Cell(value, difference, min(_defined(values[key]), _defined(flat[0][key]))))
        rows.append(Row(iteration, key, tuple(cells)))
    return rows


def _resampled(found: Sequence[EvalValues], place: int, statistics: Statistics) -> np.ndarray:
    """Multiplicities [R, P]: those of the first experiment on the same problems, else independent ones."""
    is_paired = found[place].problem_ids == found[0].problem_ids
    seed = statistics.seed + (0 if is_paired else place)
    return resample_counts(len(found[place].problem_ids), statistics.resamples, seed)


def _defined(value_P: np.ndarray) -> int:
    return int((~np.isnan(value_P)).sum())


def unpaired_mean(
    value_P: np.ndarray, other_P: np.ndarray, counts_RP: np.ndarray, other_counts_RP: np.ndarray, confidence: float
) -> Interval:
    """Difference of two means over different problems: each side is resampled on its own.

    Args:
        counts_RP, other_counts_RP: drawn independently of each other, with as many resamples.
    """
    point = float(np.nanmean(value_P) - np.nanmean(other_P)) if _defined(value_P) and _defined(other_P) else math.nan
    draws_R = mean_draws(value_P, counts_RP) - mean_draws(other_P, other_counts_RP)
    return percentile_interval(point, draws_R, confidence)


def _keys(first: Experiment, flat: Sequence[Mapping[Key, np.ndarray]]) -> list[Key]:
    """What all experiments have, in the order of ``words.METRICS``; the first one's training filter before others.

    pass@k at a middle and the largest k (pass@1 is the accuracy), other metrics with k at the largest one.
    """
    shared = [key for key in flat[0] if all(key in values for values in flat) and key[0] in words.METRICS]
    has_filter = any(metric == "gap" and rule != OWN for metric, _, rule in shared)
    shared = [key for key in shared if not (has_filter and key[2] == OWN)]
    chosen = []
    for metric in words.METRICS:
        mine = [key for key in shared if key[0] == metric]
        ks = spread(sorted({key[1] for key in mine if key[1] is not None}))
        if metric != "pass_at_k":  # one response is one answer: only the largest k says something
            ks = ks[-1:]
        if metric == "pass_at_k" and ks[:1] == [1]:  # pass@1 is the accuracy
            ks = ks[1:]
        mine = [key for key in mine if key[1] is None or key[1] in ks]
        chosen += sorted(mine, key=lambda key: (key[1] or 0, key[2] != first.filter.label))
    return [key for key in chosen if any(_defined(values[key]) for values in flat)]
