"""A study's responses and scores, problem by problem: what fits across models, tasks and verifiers are made from.

Models that met the same evaluation problems form one *cohort*: they are resampled with the same multiplicities, so that
resample r is one replication of the whole study on other problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import mean_draws, percentile_interval, resample_counts
from ops.estimation.gap import ProblemGaps, problem_gaps
from ops.selection.base import Filter
from ops.stages.measured import Responses, ScoreTable, splits_of
from ops.study import is_cross
from ops.study_plan import StudyBench
from ops.types import Interval
from ops.verifiers.base import Verifier


@dataclass(frozen=True)
class Estimate:
    """A statistic with its resamples over problems, float64 [R]; every estimate of a cohort has the same resamples."""

    value: float
    draws_R: np.ndarray

    def interval(self, confidence: float) -> Interval:
        """With the percentile interval of its resamples."""
        return percentile_interval(self.value, self.draws_R, confidence)


def mean_of(estimates: list[Estimate]) -> Estimate:
    """Mean of estimates of one cohort; undefined ones are left out, and it is undefined where all are."""
    known = [item for item in estimates if not np.isnan(item.value)]
    if not known:
        return Estimate(float("nan"), np.array([]))
    return Estimate(
        float(np.mean([item.value for item in known])), np.mean(np.stack([item.draws_R for item in known]), axis=0)
    )


class Measured:
    """One model's responses to one task, read once; ``name`` is the experiment's.

    ``best_thresholds`` keeps those that ``ops.stages.study_thresholds`` has found, by the check's label.
    """

    def __init__(self, bench: StudyBench, name: str) -> None:
        lab = bench.labs[name]
        self.name, self.member, self.lab = name, bench.members[name], lab
        self.splits = splits_of(lab, 0)
        self.table = ScoreTable(lab, 0)
        self.verifiers: Mapping[str, Verifier] = {item.called: item for item in lab.experiment.verifiers}
        self._scores: dict[tuple[str, str], np.ndarray] = {}
        self.best_thresholds: dict[str, float | None] = {}

    @property
    def problem_ids(self) -> list[str]:
        """Of the evaluation problems, in the order of every [P]."""
        return self.splits["eval"].problem_ids if "eval" in self.splits else []

    def score(self, verifier: str, split: str = "eval") -> np.ndarray:
        """Scores [N] of one verifier, NaN where unparseable."""
        if (verifier, split) not in self._scores:
            self._scores[verifier, split] = self.table.of(verifier, self.splits[split]).score
        return self._scores[verifier, split]

    def gaps(self, item: Filter) -> ProblemGaps:
        """The gap of one filter on the evaluation problems."""
        responses = self.splits["eval"]
        scores = {name: self.score(name) for name in item.verifier_names}
        weights = item.weights_of(responses.problem_index, scores, responses.is_correct)
        return gaps_of_weights(responses, weights)

    def own_verifiers(self) -> list[Verifier]:
        """Those by which the model checks itself, and derived ones."""
        return [item for name, item in self.verifiers.items() if not is_cross(item, self.member)]

    def own_filters(self) -> list[Filter]:
        """Measured filters that read no cross-verifier's scores."""
        own = {item.called for item in self.own_verifiers()}
        return [item for item in self.lab.experiment.measured_filters() if own.issuperset(item.verifier_names)]


def gaps_of_weights(responses: Responses, weights: np.ndarray) -> ProblemGaps:
    """Per-problem gaps of weights [N]."""
    return problem_gaps(responses.problem_index, responses.is_correct, weights, len(responses.problem_ids))


@dataclass(frozen=True)
class Cohort:
    """Models that met the same evaluation problems of one task.

    Attributes:
        counts_RP: bootstrap multiplicities, shared by all of them.
    """

    task: str
    measured: tuple[Measured, ...]
    counts_RP: np.ndarray

    def mean(self, value_P: np.ndarray) -> Estimate:
        """Mean over problems with its resamples; problems with NaN are left out."""
        known = value_P[~np.isnan(value_P)]
        value = float(known.mean()) if len(known) else float("nan")
        return Estimate(value, mean_draws(value_P, self.counts_RP))


def cohorts_of(bench: StudyBench) -> list[Cohort]:
    """All complete experiments by task and evaluation problems, read once per bench.

    Where experiments of one task met other problems, the first cohort has the task's name, the others the name of
    their first experiment behind it: ``gsm8k/EXPERIMENT``.
    """
    if "cohorts" not in bench.cache:
        bench.cache["cohorts"] = _cohorts(bench)
    return bench.cache["cohorts"]


def _cohorts(bench: StudyBench) -> list[Cohort]:
    groups: dict[tuple[str, tuple[str, ...]], list[Measured]] = {}
    for name in bench.labs:
        measured = Measured(bench, name)
        if measured.problem_ids:
            groups.setdefault((measured.member.task, tuple(measured.problem_ids)), []).append(measured)
    statistics = bench.study.statistics
    seen: set[str] = set()
    cohorts = []
    for (task, ids), members in groups.items():
        label = task if task not in seen else f"{task}/{members[0].name}"
        seen.add(task)
        counts_RP = resample_counts(len(ids), statistics.resamples, statistics.seed)
        cohorts.append(Cohort(label, tuple(members), counts_RP))
    return cohorts


def pairs_of(cohort: Cohort) -> Iterator[tuple[Measured, Measured]]:
    """Ordered pairs of different models."""
    for first in cohort.measured:
        for second in cohort.measured:
            if first.name != second.name:
                yield first, second
