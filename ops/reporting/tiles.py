"""The three to five numbers that somebody who reads nothing else should see."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ops.reporting.summary import Summary
from ops.reporting.trajectory import Points
from ops.reporting.words import interval, number
from ops.types import Interval


@dataclass(frozen=True)
class Tile:
    """One number with its interval, and what it was before.

    Attributes:
        direction: ``up`` or ``down`` where it is a change whose interval excludes 0, else ''.
    """

    title: str
    value: str
    low_high: str
    note: str
    direction: str = ""


def key_figures(summary: Summary) -> list[Tile]:
    """Accuracy, diversity, gap, drift and distance; those that are measured."""
    if not summary.iterations:
        return []
    first, last = summary.iterations[0], summary.iterations[-1]
    tiles = []
    if summary.changes is None:
        tiles.append(level_tile("Accuracy", first.accuracy, f"iteration {first.iteration}", sign=False))
    else:
        changes = summary.changes
        note = f"{number(first.accuracy.value)} → {number(last.accuracy.value)}"
        tiles.append(change_tile("Change in accuracy", changes.accuracy, note))
        ends = [item.pass_at_k.get(changes.k) for item in (first, last)]
        note = " → ".join(number(item.value) for item in ends if item is not None)
        tiles.append(change_tile(f"Change in pass@{changes.k}", changes.pass_at_k, note))
    note = last.primary.label
    if last is not first:
        other = "" if first.primary.label == last.primary.label else f" ({first.primary.label})"
        note += f", {number(first.primary.gap.value, sign=True)}{other} at iteration {first.iteration}"
    tiles.append(level_tile(f"Gap at iteration {last.iteration}", last.primary.gap, note))
    found = summary.trajectory
    drift = found.column("verifier_metrics", "score_drift", verifier=found.verifier) if found.verifier else []
    tiles += _ended(f"Score drift of {found.verifier}", drift, "mean score − accuracy")
    tiles += _ended(
        "KL to the base model", [p for p in found.metric("kl_to_base_nats", table="policy_shift") if p[0]], "nats"
    )
    return [tile for tile in tiles if tile is not None][:5]


def _ended(title: str, points: Points, unit: str) -> list[Tile]:
    if not points:
        return []
    (first, before), (last, after) = points[0], points[-1]
    was = f", {number(before.value, sign=True)} at iteration {first}" if first != last else ""
    return [level_tile(f"{title} at iteration {last}", after, unit + was)]


def level_tile(title: str, item: Interval, note: str, sign: bool = True) -> Tile:
    """Of a level: where it lies says nothing of whether it moved, so it has no direction."""
    value, _, ends = interval(item, sign=sign).partition(" ")
    return Tile(title, value, ends, note)


def change_tile(title: str, item: Interval, note: str) -> Tile:
    """Of a change: its direction is known where the interval excludes 0."""
    direction = "up" if item.low > 0 else "down" if item.high < 0 else ""
    return replace(level_tile(title, item, note), direction=direction)
