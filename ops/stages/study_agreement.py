"""Finding 4 of 2412.02674: AND-ensembles against their members, and correlation between mechanisms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ops.estimation.correlation import pearson_draws
from ops.reporting.words import interval
from ops.selection.conjunction import And
from ops.stages.study_thresholds import Row, gaps_at
from ops.stages.study_values import Cohort, Estimate, Measured, mean_of
from ops.study_findings import LOW_CORRELATION, UNDECIDED, beats_its_members, below
from ops.types import Interval
from ops.verifiers.ensemble import Ensemble

MECHANISMS = ("logit", "binary_cot", "score_cot", "tournament")
"""The paper's four."""
_UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


def ensemble_findings(cohort: Cohort, confidence: float) -> Iterator[Row]:
    """Rows (finding, task, statement, outcome, evidence, value) of 4a and 4b for one cohort."""
    differences: dict[str, dict[str, list[Estimate]]] = {}
    for measured in cohort.measured:
        for label, members in _conjunctions(measured).items():
            for member, difference_P in members.items():
                differences.setdefault(label, {}).setdefault(member, []).append(cohort.mean(difference_P))
    statement = "The AND of several checks beats each of them."
    if not differences:
        yield "4a", cohort.task, statement, UNDECIDED, "no AND among the checks", _UNDEFINED
    for label, by_member in differences.items():
        found = {name: mean_of(items).interval(confidence) for name, items in by_member.items()}
        smallest = min(found.values(), key=lambda item: item.value)
        parts = "; ".join(f"minus {name} {interval(item, sign=True)}" for name, item in found.items())
        evidence = f"{label}, gap of the AND, mean of {len(next(iter(by_member.values())))} models: {parts}"
        yield "4a", cohort.task, statement, beats_its_members(list(found.values())), evidence, smallest
    yield _correlation(cohort, confidence)


def _conjunctions(measured: Measured) -> dict[str, dict[str, np.ndarray]]:
    """Of every AND (verifier or filter) by label: gap of the AND minus gap of each member, [P] by member's label."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for verifier in measured.own_verifiers():
        if isinstance(verifier, Ensemble) and verifier.how == "and":
            both_P = gaps_at(measured, verifier, verifier.default_threshold)
            members = {}
            for member in verifier.of:
                each = measured.verifiers[member.verifier]
                cut = each.default_threshold if member.threshold is None else member.threshold
                members[member.verifier] = both_P - gaps_at(measured, each, cut)
            found[verifier.called] = members
    for item in measured.own_filters():
        if isinstance(item, And):
            both_P = measured.gaps(item).gap_P
            found[item.label] = {member.label: both_P - measured.gaps(member).gap_P for member in item.filters}
    return found


def _correlation(cohort: Cohort, confidence: float) -> Row:
    """4b: the mean Pearson correlation over pairs of mechanisms and over models lies below the limit."""
    statement = "Correlation between mechanisms is low."
    found: dict[str, list[Estimate]] = {}
    for measured in cohort.measured:
        own = [item for item in measured.own_verifiers() if item.name in MECHANISMS]
        for a, b in itertools.combinations(own, 2):
            if a.name != b.name:
                scores = measured.score(a.called), measured.score(b.called)
                index = measured.splits["eval"].problem_index
                estimate = Estimate(*pearson_draws(index, *scores, cohort.counts_RP))
                found.setdefault(f"{a.called}-{b.called}", []).append(estimate)
    means = {name: mean_of(items) for name, items in found.items()}
    known = {name: item for name, item in means.items() if not np.isnan(item.value)}
    if not known:
        return "4b", cohort.task, statement, UNDECIDED, "fewer than two mechanisms with varying scores", _UNDEFINED
    value = mean_of(list(known.values())).interval(confidence)
    parts = "; ".join(f"{name} {interval(item.interval(confidence), sign=True)}" for name, item in known.items())
    evidence = (
        f"mean Pearson correlation of scores {interval(value, sign=True)} (low below {LOW_CORRELATION:g}): {parts}"
    )
    return "4b", cohort.task, statement, below(value, LOW_CORRELATION), evidence, value
