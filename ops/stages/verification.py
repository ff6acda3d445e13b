"""Verification: every verifier scores every response of the iteration, once per identity."""

from __future__ import annotations

import time
from typing import Any

import polars as pl

from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.generations import CHUNK_ROWS, CHUNK_SECONDS
from ops.stages.measured import share
from ops.stages.problems import problems_of
from ops.storage.schemas import polars_schema
from ops.types import StageResult
from ops.verifiers.base import VerificationItem, Verifier

VERIFICATION_SCHEMA = {
    "response_id": pl.String(),
    "score": pl.Float64(),
    "verdict": pl.String(),
    "transcript": pl.String(),
    "n_tokens": pl.Int32(),
}


def verify_responses(lab: Lab, iteration: int) -> dict[str, Any]:
    """Score what is not scored yet, verifier by verifier, committing chunk by chunk (GPU)."""
    if lab.store.has("verification_scores", lab.plan.fingerprints[asset_name("verification_scores", iteration)]):
        return {"scored": 0, "reused": True}
    numbers: dict[str, Any] = {"scored": 0, "reused": False}
    generations = _generations(lab, iteration, ["problem_id", "response", "response_id"])
    problems = {problem.problem_id: problem for problem in problems_of(lab, iteration)}
    for verifier in lab.experiment.verifiers:
        pool = lab.store.pool(
            "verifications", lab.plan.verification_pools[iteration][verifier.name], VERIFICATION_SCHEMA
        )
        have = pool.keys()
        missing = [
            VerificationItem(problems[problem_id], response, identity)
            for problem_id, response, identity in generations.iter_rows()
            if identity not in have
        ]
        start = time.monotonic()
        if missing:
            _score(lab, iteration, verifier, missing, pool)
            seconds = time.monotonic() - start
            numbers[f"{verifier.name}_seconds"] = seconds
            numbers[f"{verifier.name}_responses_per_second"] = len(missing) / seconds
        numbers["scored"] += len(missing)
    return numbers


def _score(lab: Lab, iteration: int, verifier: Verifier, items: list[VerificationItem], pool: Any) -> None:
    waiting: list[tuple[Any, ...]] = []
    done = 0
    start = committed = time.monotonic()
    for finished in verifier.verify(lab.engine(iteration), lab.prompt_format(), items):
        for index, verification in finished:
            waiting.append(
                (
                    items[index].identity,
                    verification.score,
                    verification.verdict,
                    verification.transcript,
                    verification.n_tokens,
                )
            )
        done += len(finished)
        if len(waiting) >= CHUNK_ROWS or time.monotonic() - committed >= CHUNK_SECONDS:
            pool.append(pl.DataFrame(waiting, schema=VERIFICATION_SCHEMA, orient="row"))
            waiting, committed = [], time.monotonic()
        rate = done / (time.monotonic() - start)
        lab.progress(f"iteration {iteration}: verifying by {verifier.name}", done, len(items), {"responses/s": rate})
    if waiting:
        pool.append(pl.DataFrame(waiting, schema=VERIFICATION_SCHEMA, orient="row"))


def collect_scores(lab: Lab, iteration: int) -> StageResult:
    """Put the scores of all verifiers together and commit the table ``verification_scores`` (CPU)."""

    def compute() -> pl.DataFrame:
        generations = _generations(lab, iteration, ["split", "problem_id", "sample_index", "response_id"])
        parts = []
        for verifier in lab.experiment.verifiers:
            pool = lab.store.pool(
                "verifications", lab.plan.verification_pools[iteration][verifier.name], VERIFICATION_SCHEMA
            )
            scores = pool.read(generations["response_id"])
            parts.append(
                generations.join(scores, on="response_id", how="left", maintain_order="left").with_columns(
                    verifier=pl.lit(verifier.name), verifier_model=pl.lit(lab.plan.models[iteration])
                )
            )
        return pl.concat(parts).select(list(polars_schema("verification_scores")))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {"verifications": frame.height}
        for name, part in frame.group_by("verifier", maintain_order=True):
            numbers[f"{name[0]}_accepted_fraction"] = share(part["verdict"] == "correct")
            numbers[f"{name[0]}_unparseable_fraction"] = share(part["verdict"] == "unparseable")
        return numbers

    return lab.materialise("verification_scores", "verification_scores", iteration, compute, metadata)


def _generations(lab: Lab, iteration: int, columns: list[str]) -> pl.DataFrame:
    return lab.store.read("generations", lab.plan.fingerprints[asset_name("generations", iteration)], columns)
