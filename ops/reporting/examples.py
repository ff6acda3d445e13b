"""Responses to show to a person: of each kind of verdict a few, chosen without looking at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ops.config import Experiment
from ops.lab import Lab
from ops.plan import Plan, asset_name
from ops.selection.base import Filter
from ops.stages.chosen import training_filter
from ops.stages.measured import responses_of
from ops.stages.problems import problems_of
from ops.storage.store import Store

Kind = Literal["accepted, right", "accepted, wrong", "rejected, right", "rejected, wrong"]
KINDS: tuple[Kind, ...] = ("accepted, right", "accepted, wrong", "rejected, right", "rejected, wrong")


@dataclass(frozen=True)
class Example:
    """One response with its truth and what the verifier said of it.

    Attributes:
        kind: whether the filter accepts it, and whether it is really right.
        verdict, reason: of the grader. ``claim``: the verifier's own verdict.
        transcript: what the verifier wrote, '' for verifiers that write nothing.
    """

    iteration: int
    kind: Kind
    problem_id: str
    sample_index: int
    prompt: str
    response: str
    verdict: str
    reason: str
    verifier: str
    claim: str
    score: float | None
    transcript: str


def examples_of(experiment: Experiment, plan: Plan, store: Store, per_kind: int = 2) -> tuple[Example, ...]:
    """Up to ``per_kind`` examples of every kind, from the first and the last iteration that is verified.

    They are those of the evaluation split with the smallest response ids, which are hashes. Accepted means: by the
    filter that trains, or else by the first measured filter that reads a verifier; without one there are none.
    """
    verified = [
        k
        for k in range(experiment.iterations + 1)
        if all(
            store.has(table, plan.fingerprints[asset_name(table, k)])
            for table in ("generations", "verification_scores")
        )
    ]
    lab, found = Lab(experiment, plan, store), []
    for k in sorted({verified[0], verified[-1]}) if verified else ():
        filters = [training_filter(lab, k), *experiment.measured_filters()]
        item = next((chosen for chosen in filters if len(chosen.verifier_names) == 1), None)
        found += [] if item is None else _of(lab, k, item, per_kind)
    return tuple(found)


def _of(lab: Lab, iteration: int, item: Filter, per_kind: int) -> list[Example]:
    responses = responses_of(lab, iteration, "eval")
    scores = lab.store.read(
        "verification_scores",
        lab.plan.fingerprints[asset_name("verification_scores", iteration)],
        ["verifier", "response_id", "score", "verdict", "transcript"],
    )
    scores = scores.filter(scores["verifier"] == item.verifier_names[0]).rename({"verdict": "claim"})
    frame = responses.frame.join(scores, on="response_id", how="left", maintain_order="left")
    score_N = frame["score"].fill_null(float("nan")).to_numpy()
    scores_of = {item.verifier_names[0]: score_N}
    accepted_N = item.weights_of(responses.problem_index, scores_of, responses.is_correct) > 0
    order = np.argsort(np.array(frame["response_id"].to_list()), kind="stable")
    found: list[Example] = []
    for kind in KINDS:
        wanted_N = (accepted_N == kind.startswith("accepted")) & (responses.is_correct == kind.endswith("right"))
        places = order[wanted_N[order]][:per_kind]
        rows = [frame.row(int(place), named=True) for place in places]
        found += [_example(row, iteration, kind, shown_prompt(lab, iteration, row)) for row in rows]
    return found


def shown_prompt(lab: Lab, iteration: int, row: dict[str, Any]) -> str:
    """What the model was given; of a recorded response, whose prompt is not known, the problem."""
    if row["prompt"] is not None:
        return str(row["prompt"])
    problem = next(item for item in problems_of(lab, iteration) if item.problem_id == row["problem_id"])
    return lab.experiment.task.question(problem)


def _example(row: dict[str, Any], iteration: int, kind: Kind, prompt: str) -> Example:
    return Example(
        iteration=iteration,
        kind=kind,
        problem_id=row["problem_id"],
        sample_index=row["sample_index"],
        prompt=prompt,
        response=row["response"],
        verdict=row["verdict"],
        reason=row["reason"] or "",
        verifier=row["verifier"] or "",
        claim=row["claim"] or "",
        score=row["score"],
        transcript=row["transcript"] or "",
    )
