"""Findings 5 and 6 of 2412.02674 decided from a study of arms, each with its number, intervals and seeds in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from ops.arm_kinds import ArmKind, kind_of
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
from ops.stages.arm_estimates import NOTHING, OverSeeds, combine, contrast, of_arm, paired
from ops.stages.arm_values import TRAINING_FILTER, Key, Values, values_of
from ops.stages.study_findings import finding
from ops.storage.schemas import polars_schema
from ops.study_findings import UNDECIDED, Outcome, beats_its_members
from ops.types import Interval, StageResult

STATEMENTS = {
    "5a": "The gap goes to about 0 within two to three iterations.",
    "5b": "pass@k rises for small k and falls for large k.",
    "5c": "pass@k at large k falls with a fixed other verifier as well.",
    "5d": "It falls least with gold labels.",
    "6a": "Accuracy after the first update exceeds accuracy plus gap before it.",
    "6b": "The first update also teaches the format: strict accuracy gains more than flexible accuracy.",
}
VERIFIED: tuple[ArmKind, ...] = ("self", "cross", "mixed")
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


def _lacking(bench: ArmsBench, wanted: tuple[ArmKind, ...], words: str) -> str:
    """``words``, unless the study has such an arm of which nothing is measured yet."""
    for member in bench.loaded.members:
        if member.arm not in bench.arms and kind_of(member.experiment) in wanted:
            return f"{member.arm}: nothing is measured yet"
    return words


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
    arms = [arm for arm, kind in kinds.items() if kind in VERIFIED]
    if not arms:
        yield "5a", UNDECIDED, _lacking(bench, VERIFIED, "no arm whose responses are verified"), NOTHING.interval
    for arm in arms:
        until, closed = judged_until(bench, arm)
        if until < CLOSED_FROM:
            yield "5a", UNDECIDED, f"{arm}: iterations 0..{until} are too few", NOTHING.interval
            continue
        names = bench.seeds_of(arm)
        at = {seed: min(until, closed.get(seed, until)) for seed in names}
        before, after = (
            {seed: values_of(bench, names[seed], k) for seed, k in ks.items()} for ks in (dict.fromkeys(at, 0), at)
        )
        unknown = [seed for seed in names if OWN_GAP not in before[seed] or OWN_GAP not in after[seed]]
        if unknown:
            yield "5a", UNDECIDED, f"{arm}: {_unknown(names[unknown[0]])}", NOTHING.interval
            continue
        first, last = (combine(bench, values)[OWN_GAP] for values in (before, after))
        excess, deficit = (_beside(bench, before, after, share) for share in (-NEARLY_CLOSED, NEARLY_CLOSED))
        share = f"{100 * NEARLY_CLOSED:g} % of the first one"
        evidence = (
            f"{arm}: gap of its training filter {of_seeds(first)} at iteration 0 and {of_seeds(last)} "
            f"{_when(at, closed)}; less {share} {interval(excess, sign=True)}, "
            f"plus {share} {interval(deficit, sign=True)}"
        )
        yield "5a", gap_closes(first.interval, excess, deficit), evidence, last.interval


def judged_until(bench: ArmsBench, arm: str) -> tuple[int, dict[int, int]]:
    """The iteration at which 5a is judged, and by seed the earlier one after which ``gap_closed`` has stopped it.

    Leaving out the seeds that stopped because their gap had closed would keep those only whose gap stays open.
    """
    names = bench.seeds_of(arm)
    closed = {seed: bench.stopped[name][0] for seed, name in names.items() if _is_closed(bench, name)}
    others = [bench.measured[name] - 1 for seed, name in names.items() if seed not in closed]
    until = min([CLOSED_BY, *others])
    return until, {seed: k for seed, k in closed.items() if k < until}


def _is_closed(bench: ArmsBench, name: str) -> bool:
    """Whether the rule gap_closed, maybe with others, has ended this experiment."""
    if name not in bench.stopped:
        return False
    rules = bench.read(name, "stopping_rules", bench.stopped[name][0])
    return rules is not None and "gap_closed" in rules.filter(pl.col("stops") & pl.col("fires"))["rule"]


def _beside(bench: ArmsBench, before: Mapping[int, Values], after: Mapping[int, Values], share: float) -> Interval:
    """The later gap plus a share of the first one, paired by seed and problem."""
    sums = {seed: {OWN_GAP: after[seed][OWN_GAP] + share * before[seed][OWN_GAP]} for seed in before}
    return combine(bench, sums)[OWN_GAP].interval


def _unknown(name: str) -> str:
    return f"what its filter keeps is not known, because {name} lacks a table sampling_choices"


def _when(at: Mapping[int, int], closed: Mapping[int, int]) -> str:
    """``at iteration 3``; or where each seed ended."""
    if not closed:
        return f"at iteration {max(at.values())}"
    ends = ", ".join(f"seed {seed}: {k}" for seed, k in at.items())
    stopped = "its seeds" if len(closed) == len(at) else f"seed {', '.join(map(str, closed))}"
    return f"where it ended (iteration by {ends}; gap_closed has stopped {stopped})"


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
        yield "5c", UNDECIDED, _lacking(bench, ("cross",), "no arm that another model verifies"), NOTHING.interval


def _gold(bench: ArmsBench, kinds: Mapping[str, ArmKind]) -> Iterator[Row]:
    """5d: the change of pass@k with gold labels minus that of every other arm with a filter."""
    golden = [arm for arm, kind in kinds.items() if kind == "gold"]
    others = [arm for arm, kind in kinds.items() if kind in VERIFIED]
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
        words = "no arm with gold labels beside one that is verified"
        yield "5d", UNDECIDED, _lacking(bench, VERIFIED if golden else ("gold",), words), NOTHING.interval


def _first_update(bench: ArmsBench, kinds: Mapping[str, ArmKind]) -> Iterator[Row]:
    """6a of every arm with a filter: without one there is no gap to exceed. 6b of every arm."""
    for arm, kind in kinds.items():
        has_gap = kind != "none"
        if bench.last_of(arm) == 0:
            for name in ("6a", "6b") if has_gap else ("6b",):
                yield name, UNDECIDED, f"{arm}: only iteration 0 is measured", NOTHING.interval
            continue
        gained = change(bench, arm, ACCURACY, 0, 1)
        if has_gap:
            yield _exceeds(bench, arm, gained)
        strict, format_ = change(bench, arm, STRICT, 0, 1), _format(bench, arm)
        words = (
            f"{arm}: the first update changed strict accuracy by {of_seeds(strict)} and flexible accuracy by "
            f"{interval(gained.interval, sign=True)}: strict minus flexible by {of_seeds(format_)}"
        )
        yield "6b", learns_the_format(format_.interval), words, format_.interval
    if all(kind == "none" for kind in kinds.values()):
        yield "6a", UNDECIDED, _lacking(bench, (*VERIFIED, "gold"), "no arm with a filter"), NOTHING.interval


def _exceeds(bench: ArmsBench, arm: str, gained: OverSeeds) -> Row:
    """6a of one arm."""
    error = combine(bench, of_arm(bench, arm, 1)).get(OWN_ERROR, NOTHING)
    first = combine(bench, of_arm(bench, arm, 0)).get(OWN_GAP, NOTHING)
    if not error.by_seed:
        return "6a", UNDECIDED, f"{arm}: {_unknown(next(iter(bench.seeds_of(arm).values())))}", NOTHING.interval
    evidence = (
        f"{arm}: the first update changed accuracy by {of_seeds(gained)}, the gap of its training filter was "
        f"{interval(first.interval, sign=True)}: update error {of_seeds(error)}"
    )
    return "6a", exceeds_the_gap(error.interval), evidence, error.interval


def _format(bench: ArmsBench, arm: str) -> OverSeeds:
    """Change of strict minus flexible accuracy with the first update, paired by seed and problem."""
    changes = paired(bench, {(arm, 1): 1.0, (arm, 0): -1.0}, {STRICT, ACCURACY})
    key: Key = ("strict_minus_flexible", None, None)
    return combine(bench, {seed: {key: found[STRICT] - found[ACCURACY]} for seed, found in changes.items()})[key]


_DECIDED = (_gap, _diversity, _gold, _first_update)
