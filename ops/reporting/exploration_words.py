"""The answer of an experiment with ``exploration`` in one sentence, and its key figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ops.reporting.exploration_summary import FEWEST_QUESTIONS, ExplorationSummary
from ops.reporting.numbers import interval_of
from ops.reporting.tiles import Tile, change_tile, level_tile
from ops.reporting.words import interval, number
from ops.types import Interval

NOT_MEASURED = "not measured"
ORGANISM = (
    "The model of this experiment is a model organism: a tiny decoder that this lab pretrained itself on the task. Its "
    "numbers show mechanisms of reinforcement learning and of its bonuses, not the sizes that they have elsewhere; "
    "they say nothing about any released model."
)
TILES = 5
"""At most so many key figures: one row."""


def answer(summary: ExplorationSummary) -> str:
    """``Over 100 steps ..., pass@1 rose from .25 to .33: +.08 [...]; pass@64 fell from .98 to .94: −.04 [...]``."""
    level = f"{100 * summary.confidence:g} % intervals over problems"
    if not summary.is_measured:
        return "Nothing is measured yet."
    steps = f"{summary.final:,} step{'s' * (summary.final != 1)}"
    if not summary.ks:
        return f"Not known yet: the policy was trained for {steps} and is not evaluated."
    ks = sorted({summary.ks[0], summary.ks[-1]})
    said = "; ".join(_moved(summary, k) for k in ks)
    return f"Over {steps} of reinforcement learning on gold answers, {said} ({level})."


def _moved(summary: ExplorationSummary, k: int) -> str:
    """``pass@64 fell from .980 to .941: −.039 [−.058, −.021]``; an interval that holds 0 is no rise and no fall."""
    before, after = summary.value(0, "pass_at_k", k), summary.value(summary.final, "pass_at_k", k)
    change = summary.change(summary.final, "pass_at_k", k)
    if before is None or after is None or change is None:
        return f"pass@{k} is {NOT_MEASURED}"
    if limit := at_limit(before, after):
        return f"pass@{k} is {number(after.value)} before and after, at the {limit}, where no change shows"
    ends = f"{number(before.value)} to {number(after.value)}: {interval(change, sign=True)}"
    verb = moved(change)
    return f"pass@{k} {verb}, from {ends}" if verb.startswith("did") else f"pass@{k} {verb} from {ends}"


def moved(change: Interval) -> str:
    """``rose``, ``fell`` or ``did not change measurably``."""
    return "rose" if change.low > 0 else "fell" if change.high < 0 else "did not change measurably"


def at_limit(*shares: Interval | None) -> str:
    """``ceiling`` where all shares are 1, ``floor`` where all are 0, else ''.

    Their difference is then 0 in every resample: no measurement of it, however narrow its interval.
    """
    values = {item.value if item is not None else float("nan") for item in shares}
    return "ceiling" if values == {1.0} else "floor" if values == {0.0} else ""


def change_words(before: Interval | None, after: Interval | None, change: Interval | None) -> str:
    """``+.036 [+.012, +.061]`` of a share, ``at ceiling`` where it is 1 on both sides."""
    limit = at_limit(before, after) if change is not None else ""
    return f"at {limit}" if limit else interval(change, sign=True)


def kl_words(summary: ExplorationSummary) -> str:
    """Where training stands from the base model at its end, or why that is not known."""
    if summary.kl_coefficient == 0:
        return "KL to the base model: not measured, because with kl_coefficient 0 training loads no base model."
    points = summary.means_over_pass("kl_to_base_nats")
    if not points:
        return f"KL to the base model: {NOT_MEASURED} (no table policy_steps yet)."
    step, value = points[-1]
    steps = min(summary.pass_steps, len(points))
    return (
        f"KL to the base model: {number(value)} nats per token (k3 estimator), mean of the last {steps} steps up to "
        f"step {step:,}; one number a step, so there is no interval."
    )


def responses_words(summary: ExplorationSummary) -> str:
    """How many responses policy and base model are compared at; '' where it is not measured."""
    rows = summary.dynamics("policy", "solved_questions")
    if not rows:
        return ""
    return f"{rows[-1]['n_responses']:,} responses of each: {each_words(rows[-1])}"


def each_words(row: Mapping[str, Any]) -> str:
    """``76.8 per question on average, 400 questions``, from a row of all training questions."""
    each = f"{row['n_responses'] / row['n_problems']:.1f}".removesuffix(".0")
    return f"{each} per question on average, {row['n_problems']:,} questions"


def few_words(n_questions: int) -> str:
    """``too few (3)``; '' where there are enough."""
    return f"too few ({n_questions})" if n_questions < FEWEST_QUESTIONS else ""


def key_figures(summary: ExplorationSummary) -> list[Tile]:
    """Changes of pass@1, of pass@k at the largest k and of distinct answers; questions solved; entropy."""
    tiles = []
    ends = sorted({summary.ks[0], summary.ks[-1]}) if summary.ks else []
    for title, metric, k in (
        *((f"Change in pass@{k}", "pass_at_k", k) for k in ends),
        *((f"Change in distinct answers in {k}", "distinct_answers_in_k", k) for k in ends[-1:]),
    ):
        before, after = summary.value(0, metric, k), summary.value(summary.final, metric, k)
        change = summary.change(summary.final, metric, k)
        if before is not None and after is not None and change is not None:
            note = f"{number(before.value)} → {number(after.value)}"
            is_share = metric == "pass_at_k"
            tiles.append(
                _changed(title, change, (before, after), note) if is_share else change_tile(title, change, note)
            )
    return [*tiles, *_solved_tile(summary), *_entropy_tile(summary)][:TILES]


def _changed(title: str, change: Interval, ends: tuple[Interval, Interval], note: str) -> Tile:
    """Of a share: at its ceiling or floor on both sides it says so, and has no interval."""
    if limit := at_limit(*ends):
        return Tile(title, number(ends[1].value), "", f"on both sides: at the {limit}, where no difference shows")
    return change_tile(title, change, note)


def _solved_tile(summary: ExplorationSummary) -> list[Tile]:
    """Questions solved so far, policy minus base model."""
    rows = [summary.dynamics(name, "solved_questions")[-1:] for name in ("policy", "base", "policy_minus_base")]
    if not all(rows):
        return []
    policy, base, difference = (interval_of(row) for [row] in rows)
    last = summary.dynamics("policy", "solved_questions")[-1]
    note = f"policy − base model; {each_words(last)}"
    return [_changed("Training questions solved so far", difference, (policy, base), note)]


def _entropy_tile(summary: ExplorationSummary) -> list[Tile]:
    """Of the policy's right responses in the last pass over the training questions."""
    rows = summary.dynamics("policy", "entropy_nats_correct")
    if not rows:
        return []
    first, last = rows[0], rows[-1]
    note = f"nats per token, the pass up to step {last['step']:,}; {number(first['value'])} at step {first['step']:,}"
    return [level_tile("Entropy of right responses", interval_of(last), note, sign=False)]
