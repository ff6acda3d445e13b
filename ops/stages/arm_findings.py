"""Findings 5 and 6 of 2412.02674 decided from a study of arms, each with its number, intervals and seeds in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from ops.arms import ArmKind, kind_of
from ops.arms_findings import (
    CLOSED_BY,
    CLOSED_FROM,
    NEARLY_CLOSED,
    curves_cross,
    exceeds_the_gap,
    falls,
    gap_closes,
    learns_the_format,
)
from ops.arms_plan import ArmsBench
from ops.reporting.words import interval, number
from ops.stages.arm_values import NOTHING, TRAINING_FILTER, Key, OverSeeds, combine, contrast, of_arm, paired
from ops.stages.study_findings import finding
from ops.storage.schemas import polars_schema
from ops.study_findings import UNDECIDED, Outcome, beats_its_members
from ops.types import Interval, StageResult

STATEMENTS = {
    "5a": "The gap goes to about 0 within two to three iterations.",
    "5b": "pass@k rises for small k and falls for large k.",
    "5c": "pass@k at large k falls with a fixed other verifier as well.",
    "5d": "It falls least with gold labels.",
    "6a": "Accuracy after the first update may exceed accuracy plus gap before it.",
    "6b": "The first update also teaches the format: strict accuracy gains more than flexible accuracy.",
}
OWN_GAP: Key = ("gap", None, TRAINING_FILTER)
OWN_ERROR: Key = ("update_error", None, TRAINING_FILTER)
ACCURACY: Key = ("accuracy", None, None)
STRICT: Key = ("strict_accuracy", None, None)

Row = tuple[str, Outcome, str, Interval]
"""Finding, outcome, evidence, value."""


def measure_arm_findings(bench: ArmsBench) -> StageResult:
    """Decide the findings and commit the table ``findings``. The rules are those of ``ops.arms_findings``."""

    def compute() -> pl.DataFrame:
        task = bench.loaded.members[0].experiment.task.name
        rows = [row for decide in _DECIDED for row in decide(bench, _kinds(bench))]
        found = [finding(name, task, STATEMENTS[name], outcome, words, value) for name, outcome, words, value in rows]
        return pl.DataFrame(found, schema=polars_schema("findings")).sort("finding", maintain_order=True)

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        shown = {(row["finding"], row["evidence"].partition(":")[0]): row["outcome"] for row in frame.to_dicts()}
        return {" ".join(name): outcome for name, outcome in shown.items()}

    return bench.materialise("findings", "findings", compute, metadata)


def _kinds(bench: ArmsBench) -> dict[str, ArmKind]:
    """Of the measured arms, in the order of the study."""
    return {member.arm: kind_of(member.experiment) for member in bench.members.values()}


def of_seeds(found: OverSeeds, *, sign: bool = True) -> str:
    """``+.071 [+.052, +.090] (standard error over 3 seeds .004)``."""
    seeds = f"standard error over {found.n_seeds} seeds {number(found.standard_error)}"
    return f"{interval(found.interval, sign)} ({seeds if found.n_seeds > 1 else 'one seed'})"


def change(bench: ArmsBench, arm: str, key: Key, since: int, until: int) -> OverSeeds:
    """Of one metric of one arm, paired by seed and problem."""
    return contrast(bench, key, {(arm, until): 1.0, (arm, since): -1.0})


def largest_k(bench: ArmsBench, *arms: str) -> int | None:
    """The largest k at which pass@k is measured at the first and the last iteration of all these arms."""
    shared: set[int] | None = None
    for arm in arms:
        for k in (0, bench.last_of(arm)):
            for values in of_arm(bench, arm, k).values():
                ks = {key[1] for key in values if key[0] == "pass_at_k" and key[1] is not None}
                shared = ks if shared is None else shared & ks
    return max(shared) if shared else None


def _gap(bench: ArmsBench, kinds: Mapping[str, ArmKind]) -> Iterator[Row]:
    """5a, of arms that check responses: with gold labels, or without a filter, no gap can close."""
    arms = [arm for arm, kind in kinds.items() if kind in ("self", "cross", "mixed")]
    if not arms:
        yield "5a", UNDECIDED, "no arm whose responses are verified", NOTHING.interval
    for arm in arms:
        until = min(CLOSED_BY, bench.last_of(arm))
        if until < CLOSED_FROM:
            yield "5a", UNDECIDED, f"{arm}: iterations 0..{until} are too few", NOTHING.interval
            continue
        first, last = (combine(bench, of_arm(bench, arm, k)).get(OWN_GAP, NOTHING) for k in (0, until))
        excess = contrast(bench, OWN_GAP, {(arm, until): 1.0, (arm, 0): -NEARLY_CLOSED})
        evidence = (
            f"{arm}: gap of its training filter {of_seeds(first)} at iteration 0 and {of_seeds(last)} at iteration "
            f"{until}; less {100 * NEARLY_CLOSED:g} % of the first one {interval(excess.interval, sign=True)}"
        )
        yield "5a", gap_closes(first.interval, excess.interval), evidence, last.interval


def _diversity(bench: ArmsBench, kinds: Mapping[str, ArmKind]) -> Iterator[Row]:
    """5b of every arm with a filter, 5c of those that a fixed other model verifies."""
    for arm, kind in kinds.items():
        until, k = bench.last_of(arm), largest_k(bench, arm)
        if kind == "none":
            continue
        if until == 0 or k is None:
            yield "5b", UNDECIDED, f"{arm}: only iteration 0 is measured", NOTHING.interval
            continue
        small, large = (change(bench, arm, ("pass_at_k", size, None), 0, until) for size in (1, k))
        evidence = (
            f"{arm}: from iteration 0 to {until} pass@1 changed by {of_seeds(small)}, pass@{k} by {of_seeds(large)}"
        )
        yield "5b", curves_cross(small.interval, large.interval), evidence, large.interval
        if kind == "cross":
            words = f"{arm}: from iteration 0 to {until} pass@{k} changed by {of_seeds(large)}"
            yield "5c", falls(large.interval), words, large.interval
    if "cross" not in kinds.values():
        yield "5c", UNDECIDED, "no arm that another model verifies", NOTHING.interval


def _gold(bench: ArmsBench, kinds: Mapping[str, ArmKind]) -> Iterator[Row]:
    """5d: the change of pass@k with gold labels minus that of every other arm with a filter."""
    golden = [arm for arm, kind in kinds.items() if kind == "gold"]
    others = [arm for arm, kind in kinds.items() if kind not in ("gold", "none")]
    for gold in golden if others else ():
        differences: dict[str, OverSeeds] = {}
        for arm in others:
            until, k = bench.last_of(gold, arm), largest_k(bench, gold, arm)
            if until > 0 and k is not None:
                terms = {(gold, until): 1.0, (gold, 0): -1.0, (arm, until): -1.0, (arm, 0): 1.0}
                differences[f"{arm} (pass@{k}, iteration {until})"] = contrast(bench, ("pass_at_k", k, None), terms)
        if not differences:
            yield "5d", UNDECIDED, f"{gold}: only iteration 0 is measured", NOTHING.interval
            continue
        smallest = min((item.interval for item in differences.values()), key=lambda item: item.value)
        parts = "; ".join(f"minus that of {name} {of_seeds(item)}" for name, item in differences.items())
        outcome = beats_its_members([item.interval for item in differences.values()])
        yield "5d", outcome, f"{gold}: change of pass@k since iteration 0 {parts}", smallest
    if not (golden and others):
        yield "5d", UNDECIDED, "no arm with gold labels beside one that is verified", NOTHING.interval


def _first_update(bench: ArmsBench, kinds: Mapping[str, ArmKind]) -> Iterator[Row]:
    """6a and 6b of every arm."""
    for arm in kinds:
        if bench.last_of(arm) == 0:
            for name in ("6a", "6b"):
                yield name, UNDECIDED, f"{arm}: only iteration 0 is measured", NOTHING.interval
            continue
        error = combine(bench, of_arm(bench, arm, 1)).get(OWN_ERROR, NOTHING)
        first = combine(bench, of_arm(bench, arm, 0)).get(OWN_GAP, NOTHING)
        gained = change(bench, arm, ACCURACY, 0, 1)
        evidence = (
            f"{arm}: the first update changed accuracy by {of_seeds(gained)}, the gap of its training filter was "
            f"{interval(first.interval, sign=True)}: update error {of_seeds(error)}"
        )
        yield "6a", exceeds_the_gap(error.interval), evidence, error.interval
        strict, format_ = change(bench, arm, STRICT, 0, 1), _format(bench, arm)
        words = (
            f"{arm}: the first update changed strict accuracy by {of_seeds(strict)} and flexible accuracy by "
            f"{interval(gained.interval, sign=True)}: strict minus flexible by {of_seeds(format_)}"
        )
        yield "6b", learns_the_format(format_.interval), words, format_.interval


def _format(bench: ArmsBench, arm: str) -> OverSeeds:
    """Change of strict minus flexible accuracy with the first update, paired by seed and problem."""
    changes = paired(bench, {(arm, 1): 1.0, (arm, 0): -1.0}, {STRICT, ACCURACY})
    key: Key = ("strict_minus_flexible", None, None)
    return combine(bench, {seed: {key: found[STRICT] - found[ACCURACY]} for seed, found in changes.items()})[key]


_DECIDED = (_gap, _diversity, _gold, _first_update)
