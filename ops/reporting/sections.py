"""The compact tables of a terminal report: diversity, verifiers, training data, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ops.reporting.numbers import interval_of, number_of
from ops.reporting.page import saturation_rows, stopping_rows
from ops.reporting.rich_tables import add_texts, compact_table
from ops.reporting.summary import Summary
from ops.reporting.trajectory import Points, Trajectory
from ops.reporting.words import NOTHING, interval, number, percent
from ops.types import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def sections(summary: Summary) -> list[RenderableType]:
    """Those that have something to show."""
    found = summary.trajectory
    made = [_diversity(found), _verifiers(found), _training(summary), *_stopping(found)]
    return [section for section in made if section is not None]


def _short(points: Mapping[int, Interval], iteration: int, digits: int = 3, sign: bool = False) -> str:
    item = points.get(iteration)
    return NOTHING if item is None else number(item.value, digits, sign)


def _diversity(found: Trajectory) -> Table | None:
    """Values without intervals, which are on the page and in the table ``diversity_metrics``."""
    largest = {name: max(found.ks(name), default=0) for name in ("distinct_answers_in_k", "distinct_correct_in_k")}
    columns: dict[str, tuple[Points, int]] = {
        "majority\nvote": (found.metric("majority_vote_accuracy"), 3),
        **{
            f"{word}\nin {k}": (found.metric(name, k), 2)
            for (name, k), word in zip(largest.items(), ("distinct", "correct"), strict=True)
            if k
        },
        "entropy\nnats": (found.metric("answer_entropy_nats"), 2),
        "self-\nBLEU": (found.metric("self_bleu"), 3),
        "tokens": (found.metric("response_tokens"), 1),
        "KL to\nbase": (found.metric("kl_to_base_nats", table="policy_shift"), 2),
    }
    flips = {row["iteration"]: row for row in found.rows("problem_flips", reference="previous", criterion="half")}
    shown = {header: (dict(points), digits) for header, (points, digits) in columns.items() if points}
    if not shown:
        return None
    table = compact_table("Diversity", ("it", *shown, "learned", "for-\ngotten"))
    for k in found.iterations:
        cells = [_short(points, k, digits) for points, digits in shown.values()]
        cells += [percent(flips[k][name]) if k in flips else NOTHING for name in ("learned", "forgotten")]
        add_texts(table, [str(k), *cells])
    return table


def _verifiers(found: Trajectory) -> Table | None:
    """The first and the last iteration of every verifier."""
    rows = found.rows("verifier_metrics")
    if not rows:
        return None
    ends = (rows[0]["iteration"], rows[-1]["iteration"])
    table = compact_table(
        "Verifiers", ("verifier", "it", "AUROC", "precision", "recall", "ECE", "score drift", "no\nverdict"), 1
    )
    for name in found.verifiers():
        for row in found.rows("verifier_metrics", verifier=name):
            if row["iteration"] in ends:
                drift = interval_of(row, "score_drift")
                cells = [number(row[metric]) for metric in ("auroc", "precision", "recall", "ece")]
                cells += [interval(drift, sign=True), percent(row["unparseable_fraction"])]
                add_texts(table, [name if row["iteration"] == ends[0] else "", str(row["iteration"]), *cells])
    return table


def _training(summary: Summary) -> Table | None:
    """What each update was trained on, and its last validation loss."""
    found = summary.trajectory
    names = ("balance_score", "precision", "kept_problem_fraction", "distinct_correct_kept")
    points = {name: dict(found.metric(name, table="selection_metrics")) for name in names}
    trained = [item for item in summary.iterations if item.finetune_rows is not None]
    if not trained:
        return None
    headers = (
        "after it",
        "rows",
        "right",
        "balance\nscore",
        "problems\nkept",
        "distinct\ncorrect",
        "loss",
        "validation\nloss",
    )
    table = compact_table("Training data", headers)
    for item in trained:
        k = item.iteration
        rows = sorted(found.rows("training_steps", iteration=k), key=lambda row: row["step"])
        kept = points["kept_problem_fraction"].get(k)
        cells = [f"{item.finetune_rows:,}", percent(item.finetune_correct_fraction), _short(points["balance_score"], k)]
        cells += [percent(kept.value if kept else None), _short(points["distinct_correct_kept"], k, 2)]
        cells += [number(_last(rows, name)) for name in ("loss", "validation_loss")]
        add_texts(table, [str(k), *cells])
    return table


def _last(rows: list[dict], column: str) -> float:
    """Of the step whose weights became the model, or else the last one where it was measured."""
    known = [row for row in rows if row[column] is not None]
    kept = [row for row in known if row["kept"]]
    return number_of((kept or known)[-1][column]) if known else math.nan


def _stopping(found: Trajectory) -> list[RenderableType]:
    """The rules at the last iteration that they were judged at, and where the fitted curves lead."""
    rules = stopping_rows(found)
    made: list[RenderableType] = []
    if rules:
        last = max(row["iteration"] for row in rules)
        table = compact_table(
            f"Stopping rules at iteration {last}", ("rule", "value", "limit", "fires", "ends the loop"), 1
        )
        for row in (row for row in rules if row["iteration"] == last):
            fires = NOTHING if row["fires"] is None else "yes" if row["fires"] else "no"
            cells = [interval(row["value"], sign=True), number(row["limit"], sign=True), fires]
            add_texts(table, [row["rule"].replace("_", " "), *cells, "yes" if row["stops"] else "no"])
        made.append(table)
    fits = saturation_rows(found)
    if fits:
        table = compact_table(
            "Where the curves lead (exponential decay)", ("quantity", "limit", "half-life", "next iteration"), 1
        )
        for row in fits:
            add_texts(table, [row["quantity"].replace("_", " "), row["limit"], row["half_life"], row["next_value"]])
        made.append(table)
    return made
