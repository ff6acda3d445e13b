"""Generations: n responses per problem from the iteration's model, drawn once per identity, then graded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ops.engines.base import SampleRequest, SamplingSettings
from ops.identity import response_id, seed_of
from ops.lab import Lab
from ops.plan import asset_name
from ops.recorded import read_recorded, scores_text
from ops.stages.measured import share
from ops.stages.problems import problems_of
from ops.storage.schemas import polars_schema
from ops.types import Problem, StageResult

CHUNK_ROWS = 4096
CHUNK_SECONDS = 60.0
"""A chunk is committed when so many samples wait, or so much time has passed: what a killed run repeats at most,
beside the batch in flight."""

SAMPLE_SCHEMA = {
    "response_id": pl.String(),
    "prompt": pl.String(),
    "sample_index": pl.Int32(),
    "response": pl.String(),
    "n_tokens": pl.Int32(),
    "logprob": pl.Float64(),
    "finish_reason": pl.String(),
    "seed": pl.Int64(),
    "engine": pl.String(),
    "engine_version": pl.String(),
}


@dataclass(frozen=True)
class Wanted:
    """One response that an iteration asks for."""

    problem: Problem
    prompt: str
    sample_index: int
    identity: str


def wanted_samples(lab: Lab, iteration: int) -> list[Wanted]:
    """Every response of the iteration, by problem and sample index, with its identity."""
    prompts, pool = lab.prompt_format(), lab.plan.sample_pools[iteration]
    sampling = lab.experiment.sampling
    wanted = []
    for problem in problems_of(lab, iteration):
        prompt = prompts.solve(problem)
        n = sampling.n_train if problem.split == "train" else sampling.n_eval
        wanted += [Wanted(problem, prompt, j, response_id(pool, prompt, j)) for j in range(n)]
    return wanted


def sample_responses(lab: Lab, iteration: int) -> dict[str, Any]:
    """Draw the responses that no run has drawn yet, committing them chunk by chunk (GPU).

    Returns:
        how many were drawn and reused, and the tokens per second of the drawing.
    """
    asset = asset_name("generations", iteration)
    if lab.store.has("generations", lab.plan.fingerprints[asset]):
        return {"drawn": 0, "reused": True}
    if lab.experiment.engine.replays:
        return {"drawn": 0, "reused": False}
    wanted = wanted_samples(lab, iteration)
    pool = lab.store.pool("samples", lab.plan.sample_pools[iteration], SAMPLE_SCHEMA)
    have = pool.keys()
    missing = [item for item in wanted if item.identity not in have]
    start, tokens = time.monotonic(), 0
    if missing:
        tokens = _draw(lab, iteration, missing, pool)
    seconds = time.monotonic() - start
    return {
        "drawn": len(missing),
        "reused": False,
        "reused_samples": len(wanted) - len(missing),
        "new_tokens": tokens,
        "tokens_per_second": tokens / seconds if missing else None,
        "seconds": seconds,
    }


def _draw(lab: Lab, iteration: int, missing: Sequence[Wanted], pool: Any) -> int:
    sampling, prompts = lab.experiment.sampling, lab.prompt_format()
    settings = SamplingSettings(sampling.temperature, sampling.top_p, sampling.max_tokens, prompts.solve_stop)
    by_prompt: dict[str, list[Wanted]] = {}
    for item in missing:
        by_prompt.setdefault(item.prompt, []).append(item)
    groups = list(by_prompt.values())
    requests = [SampleRequest(group[0].prompt, tuple(seed_of(item.identity) for item in group)) for group in groups]
    engine = lab.engine(iteration)
    waiting: list[dict[str, Any]] = []
    done = tokens = 0
    start = committed = time.monotonic()
    for finished in engine.sample(requests, settings):
        for index, place, completion in finished:
            item = groups[index][place]
            tokens += completion.n_tokens
            waiting.append(
                {
                    "response_id": item.identity,
                    "prompt": item.prompt,
                    "sample_index": item.sample_index,
                    "response": completion.text,
                    "n_tokens": completion.n_tokens,
                    "logprob": completion.logprob,
                    "finish_reason": completion.finish_reason,
                    "seed": seed_of(item.identity),
                    "engine": engine.name,
                    "engine_version": engine.version,
                }
            )
        done += len(finished)
        if len(waiting) >= CHUNK_ROWS or time.monotonic() - committed >= CHUNK_SECONDS:
            pool.append(pl.DataFrame(waiting, schema=SAMPLE_SCHEMA))
            waiting, committed = [], time.monotonic()
        rate = tokens / (time.monotonic() - start)
        lab.progress(f"iteration {iteration}: sampling", done, len(missing), {"tokens/s": rate})
    if waiting:
        pool.append(pl.DataFrame(waiting, schema=SAMPLE_SCHEMA))
    return tokens


def grade_responses(lab: Lab, iteration: int) -> StageResult:
    """Grade the iteration's responses and commit the table ``generations`` (CPU)."""

    def compute() -> pl.DataFrame:
        if lab.experiment.engine.replays:
            return _replayed(lab, iteration)
        wanted = wanted_samples(lab, iteration)
        pool = lab.store.pool("samples", lab.plan.sample_pools[iteration], SAMPLE_SCHEMA)
        order = pl.DataFrame(
            {"response_id": [item.identity for item in wanted], "sample_index": [item.sample_index for item in wanted]}
        )
        samples = order.select("response_id").join(
            pool.read(order["response_id"]), on="response_id", how="left", maintain_order="left"
        )
        return _graded(lab, iteration, wanted, samples)

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        evaluation = frame.filter(pl.col("split") == "eval")
        return {
            "responses": frame.height,
            "accuracy": share(evaluation["verdict"] == "correct"),
            "strict_accuracy": share(evaluation["strict_verdict"] == "correct"),
            "unparseable_fraction": share(frame["verdict"] == "unparseable"),
            "cut_at_max_tokens_fraction": share(frame["finish_reason"] == "length"),
            "mean_tokens": frame["n_tokens"].mean(),
            **_agreement(frame),
        }

    return lab.materialise("generations", "generations", iteration, compute, metadata)


def _agreement(frame: pl.DataFrame) -> dict[str, Any]:
    """Where the file gives a correctness: on how many responses our grader says otherwise."""
    given = frame.filter(pl.col("label").is_not_null())
    if given.is_empty():
        return {}
    disagree = (given["label"] == "correct") != (given["verdict"] == "correct")
    return {"labelled_responses": given.height, "label_disagreements": int(disagree.sum())}


def _replayed(lab: Lab, iteration: int) -> pl.DataFrame:
    """The responses of the file as rows of ``generations``."""
    responses = read_recorded(lab.experiment.engine, lab.experiment.task)
    pool = lab.plan.sample_pools[iteration]
    wanted = [
        Wanted(item.problem, "", item.sample_index, response_id(pool, item.problem.problem_id, item.sample_index))
        for item in responses
    ]
    samples = pl.DataFrame(
        {
            "response_id": [item.identity for item in wanted],
            "sample_index": [item.sample_index for item in responses],
            "response": [item.response for item in responses],
            "n_tokens": pl.Series([item.n_tokens for item in responses], dtype=pl.Int32),
            "logprob": pl.Series([item.logprob for item in responses], dtype=pl.Float64),
            "finish_reason": [item.finish_reason for item in responses],
            "label": pl.Series([item.label for item in responses], dtype=pl.String),
            "recorded_scores": pl.Series([scores_text(item.scores) for item in responses], dtype=pl.String),
        }
    ).with_columns(
        prompt=pl.lit(None, dtype=pl.String),
        seed=pl.lit(None, dtype=pl.Int64),
        engine=pl.lit("replay"),
        engine_version=pl.lit(pool),
    )
    frame = _graded(lab, iteration, wanted, samples)
    if getattr(lab.experiment.task, "grader", None) == "label":
        label = pl.col("label")
        return frame.with_columns(verdict=label, strict_verdict=label, reason=pl.lit(""))
    return frame


def _graded(lab: Lab, iteration: int, wanted: Sequence[Wanted], samples: pl.DataFrame) -> pl.DataFrame:
    """Grade every different (problem, text) once."""
    keys = [
        (item.problem.problem_id, text, reason == "stop")
        for item, text, reason in zip(wanted, samples["response"], samples["finish_reason"], strict=True)
    ]
    items = {key: (item.problem, key[1], key[2]) for key, item in zip(keys, wanted, strict=True)}
    known = dict(zip(items, lab.experiment.task.grade_all(list(items.values())), strict=True))
    grades = [known[key] for key in keys]
    for name in ("label", "recorded_scores"):
        if name not in samples.columns:
            samples = samples.with_columns(pl.lit(None, dtype=pl.String).alias(name))
    return samples.with_columns(
        split=pl.Series([item.problem.split for item in wanted]),
        problem_id=pl.Series([item.problem.problem_id for item in wanted]),
        answer=pl.Series([grade.answer for grade in grades], dtype=pl.String),
        verdict=pl.Series([grade.verdict for grade in grades]),
        strict_verdict=pl.Series([grade.strict_verdict for grade in grades]),
        reason=pl.Series([grade.reason for grade in grades]),
        model_fingerprint=pl.lit(lab.plan.models[iteration]),
    ).select(list(polars_schema("generations")))
