"""Generations: n responses per problem from the iteration's model, drawn once per identity, and graded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.chosen import Source, source_of
from ops.stages.drawing import SAMPLE_SCHEMA, draw_missing, drawn_responses
from ops.stages.pilot import choose_sampling
from ops.stages.problems import problems_of
from ops.stages.replayed import replayed_responses
from ops.stages.wanted import n_samples
from ops.types import Problem, StageResult

__all__ = ["SAMPLE_SCHEMA", "grade_responses", "sample_responses"]


def sample_responses(lab: Lab, iteration: int) -> dict[str, Any]:
    """Draw the responses that no run has drawn yet, committing them chunk by chunk (GPU).

    Where the experiment adapts its sampling, a pilot comes first, and its choice is committed.

    Returns:
        how many were drawn and reused, the tokens per second of the drawing, and what the engine spent.
    """
    asset = asset_name("generations", iteration)
    chosen = choose_sampling(lab, iteration)
    if lab.store.has("generations", lab.plan.fingerprints[asset]):
        return {"drawn": 0, "reused": True, **chosen}
    if lab.experiment.engine.replays:
        return {"drawn": 0, "reused": False}
    parts = [draw_missing(lab, iteration, source, problems) for source, problems in _by_source(lab, iteration)]
    return {"reused": False, **_together(parts), **chosen}


def _by_source(lab: Lab, iteration: int) -> list[tuple[Source, list[Problem]]]:
    """The iteration's problems in their order, apart where they are sampled differently."""
    problems = problems_of(lab, iteration)
    sources = {split: source_of(lab, iteration, split) for split in {problem.split for problem in problems}}
    found: dict[Source, list[Problem]] = {}
    for problem in problems:
        found.setdefault(sources[problem.split], []).append(problem)
    return list(found.items())


def _together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers of several drawings, added up."""
    if len(parts) == 1:
        return dict(parts[0])
    numbers = {name: sum(part.get(name, 0) for part in parts) for name in {key for part in parts for key in part}}
    if numbers.get("seconds"):
        numbers["tokens_per_second"] = numbers["new_tokens"] / numbers["seconds"]
    return numbers


def grade_responses(lab: Lab, iteration: int) -> StageResult:
    """Commit the iteration's responses with their grades as the table ``generations`` (CPU)."""

    def frames() -> Iterator[pl.DataFrame]:
        if lab.experiment.engine.replays:
            yield replayed_responses(lab, iteration)
        else:
            yield from _in_order(lab, iteration)

    return lab.materialise_stream("generations", "generations", iteration, frames, _about)


def _in_order(lab: Lab, iteration: int) -> Iterator[pl.DataFrame]:
    sources = _by_source(lab, iteration)
    total = sum(n_samples(lab, problem) for _, problems in sources for problem in problems)
    seen = 0
    for source, problems in sources:
        for frame in drawn_responses(lab, iteration, source, problems):
            seen += frame.height
            lab.progress(f"iteration {iteration}: grading", seen, total, {})
            yield frame


def _about(frame: pl.LazyFrame) -> dict[str, Any]:
    """Numbers for people, in one pass over the rows."""
    is_eval, labelled = pl.col("split") == "eval", pl.col("label").is_not_null()
    disagree = labelled & ((pl.col("label") == "correct") != (pl.col("verdict") == "correct"))
    row = (
        frame.select(
            responses=pl.len(),
            accuracy=(pl.col("verdict") == "correct").filter(is_eval).mean(),
            strict_accuracy=(pl.col("strict_verdict") == "correct").filter(is_eval).mean(),
            unparseable_fraction=(pl.col("verdict") == "unparseable").mean(),
            cut_at_max_tokens_fraction=(pl.col("finish_reason") == "length").sum() / pl.len(),
            mean_tokens=pl.col("n_tokens").mean(),
            labelled_responses=labelled.sum(),
            label_disagreements=disagree.sum(),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    if not row["labelled_responses"]:
        del row["labelled_responses"], row["label_disagreements"]
    return {name: float("nan") if value is None and name != "mean_tokens" else value for name, value in row.items()}
