"""Problems with a response of the base model and one of the trained policy, chosen without looking at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from ops.identity import short_hash
from ops.lab import Lab
from ops.stages.drawing import pool_responses
from ops.stages.evaluation import policy_source
from ops.stages.problems import problems_of
from ops.stages.wanted import n_samples

Kind = Literal["found", "lost", "any"]
KINDS: dict[Kind, str] = {
    "found": "Found: no response of the base model is right, some of the trained policy are",
    "lost": "Lost: some response of the base model is right, none of the trained policy",
    "any": "Any: whatever a hash puts first",
}


@dataclass(frozen=True)
class Said:
    """One response of one model to a problem, and the share of its responses to it that are right."""

    step: int
    accuracy: float
    response: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class PolicyExample:
    """A problem before and after training."""

    kind: Kind
    problem_id: str
    prompt: str
    before: Said
    after: Said


def policy_examples(lab: Lab, per_kind: int = 2) -> tuple[PolicyExample, ...]:
    """Up to ``per_kind`` evaluation problems of every kind, those that a hash of their ids puts first.

    Of a model that has right responses to the problem a right one is shown, else a wrong one; of these the one with the
    smallest id. Empty where nothing is evaluated yet.

    Raises:
        StorageError: when the table is there but its responses are no longer in their pools.
    """
    if not lab.store.has("policy_evaluation", lab.plan.fingerprints["exploration/evaluation"]):
        return ()
    last = max(lab.plan.policies)
    both = _shown(lab, 0).join(_shown(lab, last), on="problem_id", suffix="_after")
    # by a hash: the ids of some tasks say how hard a problem is
    both = both.sort(pl.col("problem_id").map_elements(short_hash, return_dtype=pl.String))
    before, after = pl.col("accuracy") > 0, pl.col("accuracy_after") > 0
    wanted: dict[Kind, pl.Expr] = {"found": ~before & after, "lost": before & ~after, "any": pl.lit(True)}
    return tuple(
        _example(kind, row, last)
        for kind, keep in wanted.items()
        for row in both.filter(keep).head(per_kind).iter_rows(named=True)
    )


def _shown(lab: Lab, step: int) -> pl.DataFrame:
    """A row for every evaluation problem: the response to show, and the accuracy. Texts are read piece by piece."""
    problems = [problem for problem in problems_of(lab, 0) if problem.split == "eval"]
    counts = [n_samples(lab, problem) for problem in problems]
    where = f"{lab.experiment.name}: evaluation after {step} steps"
    columns = ["problem_id", "prompt", "response", "verdict", "reason"]
    is_right = pl.col("verdict") == "correct"
    order = [(~is_right), pl.col("response_id")]
    parts = [
        piece.sort(order)
        .group_by("problem_id", maintain_order=True)
        .agg(*(pl.col(name).first() for name in [*columns[1:], "response_id"]), right=is_right.sum(), n=pl.len())
        for piece in pool_responses(lab, policy_source(lab, step), problems, counts, lab.plan.policies[step], where)
    ]
    first = pl.concat(parts).sort(order).group_by("problem_id", maintain_order=True)
    found = first.agg(
        *(pl.col(name).first() for name in columns[1:]), accuracy=pl.col("right").sum() / pl.col("n").sum()
    )
    return found.select(*columns, "accuracy")


def _example(kind: Kind, row: dict[str, Any], last: int) -> PolicyExample:
    def said(step: int, end: str) -> Said:
        names = ("accuracy", "response", "verdict", "reason")
        accuracy, response, verdict, reason = (row[f"{name}{end}"] for name in names)
        return Said(step, accuracy, response, verdict, reason or "")

    return PolicyExample(kind, row["problem_id"], row["prompt"], said(0, ""), said(last, "_after"))
