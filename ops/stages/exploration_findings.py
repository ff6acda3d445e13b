"""What 2509.06941 says of diversity, decided from a study of exploration: each with its numbers and seeds in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from ops.exploration_bench import ExplorationBench, TaskBench
from ops.exploration_findings import (
    QUESTIONS_NEEDED,
    SEEDS_NEEDED,
    Both,
    keeps_accuracy,
    lies_above,
    loses_diversity,
    transfers_to_unsolved,
)
from ops.exploration_study import TALK_K, is_plain
from ops.reporting.words import interval, number
from ops.stages.arm_estimates import NOTHING, OverSeeds
from ops.stages.exploration_comparison import dynamics_of, questions_of
from ops.stages.exploration_values import both_intervals, difference, shared_ks
from ops.stages.study_findings import finding
from ops.storage.schemas import polars_schema
from ops.study_findings import FAILS, HOLDS, UNDECIDED, Outcome
from ops.types import Interval, StageResult

STATEMENTS = {
    "7a": "Reinforcement learning without a bonus loses pass@k at the largest k against the base model.",
    "7b": "This arm's pass@k at the largest k lies above {reference}.",
    "7c": "It does so without losing pass@1 against {reference}.",
    "7d": "The loss of diversity transfers to unsolved questions: training without a bonus draws fewer distinct "
    "answers to them than the base model.",
}
PLAIN, NOT_PLAIN = "plain training's", "the reference arm's, which is not plain training"
UNSOLVED = ("distinct_answers_minus_base", "unsolved")

Row = tuple[str, Outcome, str, Interval]
"""Finding, outcome, evidence, value."""


def measure_exploration_findings(bench: ExplorationBench) -> StageResult:
    """Decide the findings and commit the table ``findings``. The rules are those of ``ops.exploration_findings``.

    7a and 7d are about the reference arm, 7b and 7c about every other one: ``7b.ucb``.
    """

    def compute() -> pl.DataFrame:
        planned = {member.arm: is_plain(member.experiment) for member in bench.loaded.members}
        reference = PLAIN if planned[bench.loaded.reference] else NOT_PLAIN
        statements = {name: words.format(reference=reference) for name, words in STATEMENTS.items()}
        rows = [
            finding(name, task.task, statements[name.partition(".")[0]], outcome, words, value)
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
    loss, transfer = _of_reference(task, reference)
    yield loss
    yield transfer
    for arm in task.arms:
        if arm != reference:
            yield from _of_arm(task, arm, reference, loss[1])


def _of_reference(task: TaskBench, reference: str) -> tuple[Row, Row]:
    """7a and 7d, which are about training without a bonus."""
    if not is_plain(task.lab(next(iter(task.seeds_of(reference).values()))).experiment):
        words = f"{reference}: the reference arm is not plain training: its bonus, advantage or reward is for diversity"
        return ("7a", UNDECIDED, words, NOTHING.interval), ("7d", UNDECIDED, words, NOTHING.interval)
    return _loss(task, reference), _transfer(task, reference)


def _loss(task: TaskBench, reference: str) -> Row:
    """7a."""
    ks = shared_ks(task, reference)
    if not ks:
        return "7a", UNDECIDED, f"{reference}: no k is measured of all its policies", NOTHING.interval
    change = _passed(task, reference, None, ks[-1])
    evidence = (
        f"{reference}: after {task.steps_of(reference)[-1]} steps pass@k minus the base model's is "
        f"{_at(task, reference, None, _shown(ks))}{_lacking(change)}"
    )
    return "7a", loses_diversity(both_intervals(task, change)), evidence, change.interval


def _transfer(task: TaskBench, reference: str) -> Row:
    """7d, from the training problems."""
    found = dynamics_of(task, reference).get(UNSOLVED, NOTHING)
    asked = questions_of(task, reference, *UNSOLVED)
    if not found.by_seed:
        return "7d", UNDECIDED, f"{reference}: no question is unsolved, or nothing is known of it", NOTHING.interval
    both = both_intervals(task, found)
    seeds = "; ".join(
        f"seed {seed} {interval(item, sign=True)} of {asked[seed]} questions" for seed, item in found.by_seed.items()
    )
    evidence = (
        f"{reference}: distinct answers to unsolved training questions, policy minus base model at the same number of "
        f"responses, are {_mean(found, both)}: {seeds}"
    )
    if reason := _too_little(task, asked):
        return "7d", UNDECIDED, f"{evidence}; undecided, because {reason}", found.interval
    return "7d", transfers_to_unsolved(list(found.by_seed.values()), both.seeds), evidence, found.interval


def _too_little(task: TaskBench, asked: dict[int, int]) -> str:
    """Why 7d decides nothing; '' where it may.

    Args:
        asked: unsolved questions by seed, of the seeds that have a value.
    """
    planned = task.bench.study.seeds
    if len(planned) < SEEDS_NEEDED:
        return f"at least {SEEDS_NEEDED} seeds are needed"
    if lacking := [str(seed) for seed in planned if seed not in asked]:
        return f"of seed {', '.join(lacking)} there is no value"
    if few := [str(seed) for seed, n in asked.items() if n < QUESTIONS_NEEDED]:
        return f"seed {', '.join(few)} has fewer than {QUESTIONS_NEEDED} questions"
    return ""


def _mean(found: OverSeeds, both: Both) -> str:
    """The mean over seeds with its t interval; of one seed the value alone, whose interval follows."""
    if found.n_seeds == 1:
        return number(found.interval.value, sign=True)
    error = f"over {found.n_seeds} seeds, standard error {number(found.standard_error)}"
    return f"{interval(both.seeds, sign=True)} {error}"


def _of_arm(task: TaskBench, arm: str, reference: str, loss: Outcome) -> Iterator[Row]:
    """7b and 7c of one arm.

    Args:
        loss: of 7a on the same task: where nothing was lost, nothing can be won back.
    """
    ks = shared_ks(task, arm, reference)
    if not ks or not _passed(task, arm, reference, 1).by_seed:
        for name in ("7b", "7c"):
            words = f"{arm}: no seed is measured of both this arm and {reference}"
            yield f"{name}.{arm}", UNDECIDED, words, NOTHING.interval
        return
    large, small = (_passed(task, arm, reference, k) for k in (ks[-1], 1))
    outcome = lies_above(both_intervals(task, large))
    shown = _shown(ks)[1:] or ks
    words = (
        f"{arm}: pass@k minus that of {reference} is {_at(task, arm, reference, shown)}; minus the base model's "
        f"{_at(task, arm, None, shown)}{_lacking(large)}"
    )
    if outcome == HOLDS:
        words = f"{words}; {_won_back(reference, loss)}"
    yield f"7b.{arm}", outcome, words, large.interval
    words = f"{arm}: pass@k minus that of {reference} is {_at(task, arm, reference, [1])}{_lacking(small)}"
    yield f"7c.{arm}", keeps_accuracy(both_intervals(task, small)), words, small.interval


def _won_back(reference: str, loss: Outcome) -> str:
    return {
        HOLDS: f"it lies above {reference} and wins back of what that lost (7a)",
        FAILS: f"it lies above {reference}, which has lost nothing: 7a does not hold",
        UNDECIDED: f"it lies above {reference}, which has measurably lost nothing: 7a is undecided",
    }[loss]


def _passed(task: TaskBench, arm: str, reference: str | None, k: int) -> OverSeeds:
    return difference(task, arm, reference, ("pass_at_k", k, None))


def _shown(ks: Sequence[int]) -> list[int]:
    """Of the measured k the smallest, that of the talk where it is one, and the largest."""
    return sorted({k for k in (1, TALK_K, ks[-1]) if k in ks})


def _at(task: TaskBench, arm: str, reference: str | None, ks: Sequence[int]) -> str:
    """``pass@64 −.071 [−.090, −.052] over problems, [−.083, −.059] over 3 seeds; pass@32 ...``, from the largest k."""
    return "; ".join(f"pass@{k} {_words(task, _passed(task, arm, reference, k))}" for k in sorted(ks, reverse=True))


def _words(task: TaskBench, found: OverSeeds) -> str:
    if not found.by_seed:
        return number(found.interval.value)
    item, n = both_intervals(task, found).seeds, found.n_seeds
    if n < SEEDS_NEEDED:
        return f"{interval(found.interval, sign=True)} over problems, one seed"
    over_seeds = f"[{number(item.low, sign=True)}, {number(item.high, sign=True)}] over {n} seeds"
    return f"{interval(found.interval, sign=True)} over problems, {over_seeds}"


def _lacking(found: OverSeeds) -> str:
    """That seeds are missing, where they are too few to say anything of other trainings."""
    return f"; undecided, because at least {SEEDS_NEEDED} seeds are needed" if found.n_seeds < SEEDS_NEEDED else ""
