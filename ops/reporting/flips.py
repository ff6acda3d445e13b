"""Problems that were learned or forgotten, with a response from before and one from after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from ops.config import Experiment
from ops.lab import Lab
from ops.plan import Plan, asset_name
from ops.reporting.examples import shown_prompt
from ops.storage.store import Store

Flip = Literal["learned", "forgotten"]
FLIPS: tuple[Flip, ...] = ("learned", "forgotten")
SOLVED = 0.5
"""A problem counts as solved where at least this share of its responses is right: the criterion ``half``."""


@dataclass(frozen=True)
class Shown:
    """One response of a problem at one iteration, and the share of its responses there that are right."""

    iteration: int
    accuracy: float
    response: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class FlipExample:
    """A problem that was solved at one end only."""

    kind: Flip
    problem_id: str
    prompt: str
    before: Shown
    after: Shown


def flips_of(
    experiment: Experiment, plan: Plan, store: Store, iterations: tuple[int, ...], per_kind: int = 2
) -> tuple[FlipExample, ...]:
    """Up to ``per_kind`` evaluation problems of either kind, between the first and the last of ``iterations``.

    Not chosen by hand: those with the smallest ids, which are hashes. A response of an end where the problem is solved
    is a right one, of the other end a wrong one; of these that with the smallest id.

    Raises:
        StorageError: when a table is damaged.
    """
    prints = [plan.fingerprints[asset_name("generations", k)] for k in (*iterations[:1], *iterations[-1:])]
    if len(iterations) < 2 or not all(store.has("generations", fingerprint) for fingerprint in prints):
        return ()
    ends = [_problems(store, fingerprint) for fingerprint in prints]
    both = ends[0].join(ends[1], on="problem_id", suffix="_after").sort("problem_id")
    solved, solved_after = pl.col("accuracy") >= SOLVED, pl.col("accuracy_after") >= SOLVED
    wanted = {"learned": ~solved & solved_after, "forgotten": solved & ~solved_after}
    chosen = {kind: both.filter(wanted[kind]).head(per_kind).rows(named=True) for kind in FLIPS}
    ids = [row["problem_id"] for rows in chosen.values() for row in rows]
    is_chosen = (pl.col("split") == "eval") & pl.col("problem_id").is_in(ids)
    frames = [store.read("generations", fingerprint).filter(is_chosen) for fingerprint in prints]
    lab, places = Lab(experiment, plan, store), (iterations[0], iterations[-1])
    return tuple(_example(lab, kind, row, frames, places) for kind in FLIPS for row in chosen[kind])


def _problems(store: Store, fingerprint: str) -> pl.DataFrame:
    frame = store.read("generations", fingerprint, ["split", "problem_id", "verdict"])
    right = (pl.col("verdict") == "correct").mean()
    return frame.filter(pl.col("split") == "eval").group_by("problem_id").agg(accuracy=right)


def _example(
    lab: Lab, kind: Flip, row: dict[str, Any], frames: list[pl.DataFrame], places: tuple[int, int]
) -> FlipExample:
    shown, prompt = [], ""
    for frame, iteration, accuracy in zip(frames, places, (row["accuracy"], row["accuracy_after"]), strict=True):
        is_right = pl.col("verdict") == "correct"
        wanted = (pl.col("problem_id") == row["problem_id"]) & (is_right if accuracy >= SOLVED else ~is_right)
        found = frame.filter(wanted).sort("response_id").row(0, named=True)
        prompt = prompt or shown_prompt(lab, iteration, found)
        shown.append(Shown(iteration, accuracy, found["response"], found["verdict"], found["reason"] or ""))
    return FlipExample(kind, row["problem_id"], prompt, shown[0], shown[1])
