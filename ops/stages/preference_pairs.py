"""Pairs for direct preference optimisation: what the filter keeps, against what it drops of the same problem."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from ops.lab import Lab
from ops.stages.filtering import filter_weights, finished, training_responses
from ops.stages.measured import share
from ops.stages.problems import problems_of
from ops.storage.schemas import polars_schema

SIDES = ("chosen", "rejected")


def select_pairs(lab: Lab, iteration: int) -> pl.DataFrame:
    """The table ``preference_pairs``: P(chosen) is to rise against P(rejected).

    Chosen are finished responses that the filter gives weight, rejected finished ones that it gives none. A response
    whose verification could not be parsed is neither: nobody has rejected it. Scores are those of the filter's one
    verifier; the truth stands there for audit.
    """
    settings, item = lab.experiment.training, lab.experiment.filter
    responses = training_responses(lab, iteration)
    weights, scores = filter_weights(lab, iteration, responses)
    unread = np.any([np.isnan(score) for score in scores.values()], axis=0) if scores else np.zeros(len(weights), bool)
    nowhere = np.full(len(weights), np.nan)
    frame = responses.frame.with_columns(
        weight=pl.Series(weights), score=pl.Series(scores.get(item.verifier_name or "", nowhere)).fill_nan(None)
    ).filter(pl.Series(finished(responses.frame) & ((weights > 0) | ~unread)))
    rows = [row for part in frame.partition_by("problem_id", maintain_order=True) for row in _pairs(part, settings)]
    order = list(range(len(rows)))
    random.Random(f"preference_pairs:{settings.seed}").shuffle(order)
    chosen = [rows[i] for i in sorted(order[: settings.max_examples])]
    return _with_texts(lab, iteration, chosen)


def _pairs(part: pl.DataFrame, settings: Any) -> Iterator[dict[str, Any]]:
    """Pairs of one problem in the order of sample indices, at most ``max_per_problem``, drawn by seed.

    Two pairs never have the same two texts: a short answer that was sampled often would crowd out the rest. A text that
    was kept as one response and dropped as another (a verifier that draws may say both, and ``top_n`` breaks ties) is
    on neither side: pairs of it would contradict each other.
    """
    rows = part.to_dicts()
    kept, dropped = ({row["response"] for row in rows if (row["weight"] > 0) == side} for side in (True, False))
    both_sides = kept & dropped
    chosen = [row for row in rows if row["weight"] > 0 and row["response"] not in both_sides]
    rejected = [row for row in rows if row["weight"] == 0 and row["response"] not in both_sides]
    order = list(range(len(chosen) * len(rejected)))
    if not order:
        return
    random.Random(f"preference_pairs:{settings.seed}:{rows[0]['problem_id']}").shuffle(order)
    texts: set[tuple[str, str]] = set()
    drawn: list[int] = []
    for place in order:
        if settings.max_per_problem is not None and len(drawn) == settings.max_per_problem:
            break
        one, other = chosen[place // len(rejected)], rejected[place % len(rejected)]
        both = (one["response"], other["response"])
        if both not in texts and _apart(one, other, settings.min_score_margin):
            texts.add(both)
            drawn.append(place)
    for place in sorted(drawn):
        yield _pair(chosen[place // len(rejected)], rejected[place % len(rejected)])


def _apart(one: dict[str, Any], other: dict[str, Any], margin: float | None) -> bool:
    return margin is None or one["score"] - other["score"] >= margin


def _pair(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"problem_id": one["problem_id"], "weight": one["weight"]}
    for side, response in zip(SIDES, (one, other), strict=True):
        row[side] = response["response"]
        row |= {f"{side}_{name}": response[name] for name in ("sample_index", "score", "verdict", "response_id")}
    return row


def _with_texts(lab: Lab, iteration: int, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """The rows as the table, texts as they are trained on."""
    prompts, schema = lab.prompt_format(), polars_schema("preference_pairs")
    problems = {problem.problem_id: problem for problem in problems_of(lab, iteration)}
    for row in rows:
        row["prompt"] = prompts.solve(problems[row["problem_id"]])
        row |= {side: prompts.completion(row[side], True) for side in SIDES}
    return pl.DataFrame(rows, schema=schema, orient="row").select(list(schema))


def pairs_metadata(lab: Lab, frame: pl.DataFrame) -> dict[str, Any]:
    """Numbers for people; of the truth, how often a pair points the right way."""
    numbers: dict[str, Any] = {
        "pairs": frame.height,
        "problems_with_pairs": frame["problem_id"].n_unique(),
        "problems": lab.experiment.problems.train_per_iteration,
    }
    if frame.height:
        for side in SIDES:
            numbers[f"{side}_correct_fraction"] = share(frame[f"{side}_verdict"] == "correct")
        right = (frame["chosen_verdict"] == "correct") & (frame["rejected_verdict"] != "correct")
        wrong = (frame["chosen_verdict"] != "correct") & (frame["rejected_verdict"] == "correct")
        numbers |= {"right_way_fraction": share(right), "wrong_way_fraction": share(wrong)}
    return numbers
