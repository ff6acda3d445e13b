"""The answer of an experiment with ``exploration`` in one sentence, and its key figures."""

from __future__ import annotations

from ops.reporting.exploration_summary import ExplorationSummary
from ops.reporting.tiles import Tile, change_tile, level_tile
from ops.reporting.words import interval, number
from ops.types import Interval

NOT_MEASURED = "not measured"
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
    ends = f"{number(before.value)} to {number(after.value)}: {interval(change, sign=True)}"
    verb = moved(change)
    return f"pass@{k} {verb}, from {ends}" if verb.startswith("did") else f"pass@{k} {verb} from {ends}"


def moved(change: Interval) -> str:
    """``rose``, ``fell`` or ``did not change measurably``."""
    return "rose" if change.low > 0 else "fell" if change.high < 0 else "did not change measurably"


def key_figures(summary: ExplorationSummary) -> list[Tile]:
    """Changes of pass@1, of pass@k at the largest k and of distinct answers; questions solved; entropy and KL."""
    tiles = []
    ends = sorted({summary.ks[0], summary.ks[-1]}) if summary.ks else []
    for title, metric, k in (
        *((f"Change in pass@{k}", "pass_at_k", k) for k in ends),
        *((f"Change in distinct answers in {k}", "distinct_answers_in_k", k) for k in ends[-1:]),
    ):
        before, after = summary.value(0, metric, k), summary.value(summary.final, metric, k)
        change = summary.change(summary.final, metric, k)
        if before is not None and after is not None and change is not None:
            tiles.append(change_tile(title, change, f"{number(before.value)} → {number(after.value)}"))
    found = summary.dynamics("policy_minus_base", "solved_questions")
    if found:
        last = found[-1]
        item = Interval(last["value"], last["low"], last["high"])
        note = f"policy − base model, {last['n_responses']:,} responses each"
        tiles.append(change_tile("Training questions solved so far", item, note))
    return [*tiles, *_training_tiles(summary)][:TILES]


def _training_tiles(summary: ExplorationSummary) -> list[Tile]:
    """Of ``policy_steps``, which has no problems to resample: no interval."""
    tiles = []
    for title, column in (("Entropy of the policy", "entropy_nats"), ("KL to the base model", "kl_to_base_nats")):
        points = summary.over_steps(column)
        if points:
            (first, before), (last, after) = points[0], points[-1]
            note = f"nats per token at step {last:,}; {number(before)} at step {first:,}"
            tiles.append(level_tile(title, Interval(after, float("nan"), float("nan")), note, sign=False))
    return tiles
