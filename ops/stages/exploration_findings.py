"""What 2509.06941 says of diversity, decided from a study of exploration: each with its numbers and seeds in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from ops.exploration_bench import ExplorationBench, TaskBench
from ops.exploration_findings import keeps_accuracy, loses_diversity, transfers_to_unsolved, wins_it_back
from ops.exploration_study import has_no_bonus
from ops.reporting.words import interval, number
from ops.stages.arm_estimates import NOTHING, OverSeeds
from ops.stages.arm_findings import of_seeds
from ops.stages.exploration_comparison import dynamics_of
from ops.stages.exploration_values import difference, largest_k
from ops.stages.study_findings import finding
from ops.storage.schemas import polars_schema
from ops.study_findings import UNDECIDED, Outcome
from ops.types import Interval, StageResult

STATEMENTS = {
    "7a": "Reinforcement learning without a bonus loses pass@k at the largest k against the base model.",
    "7b": "This arm wins it back: its pass@k at the largest k lies above that of the reference arm.",
    "7c": "It does so without losing pass@1 against the reference arm.",
    "7d": "The loss of diversity transfers to unsolved questions: training without a bonus draws fewer distinct "
    "answers to them than the base model.",
}
UNSOLVED = ("distinct_answers_minus_base", "unsolved")

Row = tuple[str, Outcome, str, Interval]
"""Finding, outcome, evidence, value."""


def measure_exploration_findings(bench: ExplorationBench) -> StageResult:
    """Decide the findings and commit the table ``findings``. The rules are those of ``ops.exploration_findings``.

    7a and 7d are about the reference arm, 7b and 7c about every other one: ``7b.ucb``.
    """

    def compute() -> pl.DataFrame:
        rows = [
            finding(name, task.task, STATEMENTS[name.partition(".")[0]], outcome, words, value)
            for task in bench.tasks
            for name, outcome, words, value in sorted(_of_task(task), key=lambda row: row[0].partition(".")[0])
        ]
        return pl.DataFrame(rows, schema=polars_schema("findings"))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        return {f"{row['task']} {row['finding']}": row["outcome"] for row in frame.to_dicts()}

    return bench.materialise("findings", "findings", compute, metadata)


def _of_task(task: TaskBench) -> Iterator[Row]:
    reference = task.reference
    if reference is None:
        lacking = f"{task.bench.loaded.reference}: nothing is measured yet"
        for name in ("7a", "7d", *(f"{name}.{arm}" for arm in task.arms for name in ("7b", "7c"))):
            yield name, UNDECIDED, lacking, NOTHING.interval
        return
    yield from _of_reference(task, reference)
    for arm in task.arms:
        if arm != reference:
            yield from _of_arm(task, arm, reference)


def _of_reference(task: TaskBench, reference: str) -> Iterator[Row]:
    """7a and 7d, which are about training without a bonus."""
    experiment = task.lab(next(iter(task.seeds_of(reference).values()))).experiment
    if not has_no_bonus(experiment):
        for name in ("7a", "7d"):
            yield name, UNDECIDED, f"{reference}: the reference arm has a bonus itself", NOTHING.interval
        return
    k, steps = largest_k(task, reference), task.steps_of(reference)[-1]
    change, at_one = (difference(task, reference, None, ("pass_at_k", size, None)) for size in (k, 1))
    evidence = (
        f"{reference}: after {steps} steps pass@{k} minus the base model's is {of_seeds(change)}, "
        f"pass@1 {of_seeds(at_one)}"
    )
    yield "7a", loses_diversity(change.interval), evidence, change.interval
    yield _transfer(task, reference)


def _transfer(task: TaskBench, reference: str) -> Row:
    """7d, from the training problems."""
    found = dynamics_of(task, reference).get(UNSOLVED, NOTHING)
    if not found.by_seed:
        return "7d", UNDECIDED, f"{reference}: no question is unsolved, or nothing is known of it", NOTHING.interval
    seeds = "; ".join(f"seed {seed} {interval(item, sign=True)}" for seed, item in found.by_seed.items())
    evidence = (
        f"{reference}: distinct answers to unsolved training questions, policy minus base model at the same number of "
        f"responses, are {_mean(found)}: {seeds}"
    )
    return "7d", transfers_to_unsolved(list(found.by_seed.values())), evidence, found.interval


def _mean(found: OverSeeds) -> str:
    """The mean over seeds, without an interval where there are several."""
    if found.n_seeds == 1:
        return interval(found.interval, sign=True)
    error = f"standard error over {found.n_seeds} seeds {number(found.standard_error)}"
    return f"{number(found.interval.value, sign=True)} ({error})"


def _of_arm(task: TaskBench, arm: str, reference: str) -> Iterator[Row]:
    """7b and 7c of one arm."""
    k = largest_k(task, arm, reference)
    large, small = (difference(task, arm, reference, ("pass_at_k", size, None)) for size in (k, 1))
    if not large.by_seed:
        for name in ("7b", "7c"):
            words = f"{arm}: no seed is measured of both this arm and {reference}"
            yield f"{name}.{arm}", UNDECIDED, words, NOTHING.interval
        return
    to_base = difference(task, arm, None, ("pass_at_k", k, None))
    words = (
        f"{arm}: pass@{k} minus that of {reference} is {of_seeds(large)}; minus the base model's {of_seeds(to_base)}"
    )
    yield f"7b.{arm}", wins_it_back(large.interval), words, large.interval
    words = f"{arm}: pass@1 minus that of {reference} is {of_seeds(small)}"
    yield f"7c.{arm}", keeps_accuracy(small.interval), words, small.interval
