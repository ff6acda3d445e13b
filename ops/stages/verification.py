"""Verification: every verifier scores every response of the iteration, once per identity."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from ops.engines.fitting import Fitting
from ops.errors import StorageError
from ops.identity import short_hash
from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.generations import CHUNK_ROWS, CHUNK_SECONDS
from ops.stages.measured import share
from ops.stages.problems import problems_of
from ops.storage.pool import Pool
from ops.storage.schemas import polars_schema
from ops.types import Problem, StageResult, Verification
from ops.verifiers.base import DerivedVerifier, ModelVerifier, VerificationItem, combined

VERIFICATION_SCHEMA = {
    "response_id": pl.String(),  # identity of the verification: the response's where nothing else decides it
    "score": pl.Float64(),
    "verdict": pl.String(),
    "transcript": pl.String(),
    "n_tokens": pl.Int32(),
    "seconds": pl.Float64(),  # wall time of its batch, shared equally
}


def verify_responses(lab: Lab, iteration: int) -> dict[str, Any]:
    """Score what is not scored yet, verifier by verifier, committing chunk by chunk (GPU).

    Verifiers of the generator come first, then model by model, so that each model is loaded once.
    """
    if lab.store.has("verification_scores", lab.plan.fingerprints[asset_name("verification_scores", iteration)]):
        return {"scored": 0, "reused": True}
    numbers: dict[str, Any] = {"scored": 0, "reused": False}
    generations = _generations(lab, iteration, GENERATION_COLUMNS)
    problems = {problem.problem_id: problem for problem in problems_of(lab, iteration)}
    for verifier in _by_model(lab, iteration):
        pool = _pool(lab, iteration, verifier)
        missing = _missing(items_of(verifier, generations, problems), pool.keys())
        start = time.monotonic()
        if missing:
            refused = _score(lab, iteration, verifier, missing, pool)
            if refused:
                numbers[f"{verifier.called}_prompts_that_do_not_fit"] = refused
            seconds = time.monotonic() - start
            numbers[f"{verifier.called}_seconds"] = seconds
            numbers[f"{verifier.called}_responses_per_second"] = len(missing) / seconds
        numbers["scored"] += len(missing)
    return numbers


GENERATION_COLUMNS = ["split", "problem_id", "sample_index", "response", "answer", "recorded_scores", "response_id"]


def _by_model(lab: Lab, iteration: int) -> list[ModelVerifier]:
    asked = [verifier for verifier in lab.experiment.verifiers if isinstance(verifier, ModelVerifier)]
    order: dict[str, int] = {}
    for verifier in sorted(asked, key=lambda item: item.model is not None):
        order.setdefault(lab.plan.verifier_model(verifier.called, iteration), len(order))
    return sorted(asked, key=lambda item: order[lab.plan.verifier_model(item.called, iteration)])


def _pool(lab: Lab, iteration: int, verifier: ModelVerifier) -> Pool:
    identity = lab.plan.verification_pools[iteration][verifier.called]
    return lab.store.pool("verifications", identity, VERIFICATION_SCHEMA)


def items_of(
    verifier: ModelVerifier, generations: pl.DataFrame, problems: Mapping[str, Problem]
) -> list[VerificationItem]:
    """Every verification that a verifier owes: all responses, then all of them again for each further repeat.

    Where a score depends on the whole group, the group is part of its identity.
    """
    group_of: dict[str, str] = {}
    if verifier.whole_groups:
        for (problem_id,), part in generations.sort("sample_index").group_by("problem_id", maintain_order=True):
            group_of[problem_id] = short_hash("\0".join(part["response_id"]))
    items = []
    rows = list(generations.select("problem_id", "sample_index", "response", "response_id").iter_rows())
    for repeat in range(verifier.n_repeats):
        for problem_id, sample_index, response, identity in rows:
            group = f"{group_of[problem_id]}#{repeat}" if verifier.whole_groups else ""
            parts = [identity, *([group] if group else [f"#{repeat}"] if repeat else [])]
            items.append(VerificationItem(problems[problem_id], response, "/".join(parts), group, sample_index))
    return items


def _missing(items: list[VerificationItem], have: Container[str]) -> list[VerificationItem]:
    """What is not scored yet; of a group all or nothing."""
    missing = [item for item in items if item.identity not in have]
    groups = {item.group for item in missing if item.group}
    return [item for item in items if item.group in groups] if groups else missing


def _score(lab: Lab, iteration: int, verifier: ModelVerifier, items: list[VerificationItem], pool: Pool) -> int:
    """Ask for ``items`` and commit what comes; returns how many prompts did not fit into the model's context."""
    waiting: list[tuple[Any, ...]] = []
    done = 0
    engine, prompts = Fitting(lab.engine(iteration, verifier)), lab.prompt_format(verifier.model)
    start = committed = last = time.monotonic()
    for finished in verifier.verify(engine, prompts, items):
        now = time.monotonic()
        seconds, last = (now - last) / max(1, len(finished)), now
        for index, v in finished:
            waiting.append((items[index].identity, v.score, v.verdict, v.transcript, v.n_tokens, seconds))
        done += len(finished)
        if len(waiting) >= CHUNK_ROWS or time.monotonic() - committed >= CHUNK_SECONDS:
            pool.append(pl.DataFrame(waiting, schema=VERIFICATION_SCHEMA, orient="row"))
            waiting, committed = [], time.monotonic()
        rate = done / (time.monotonic() - start)
        lab.progress(f"iteration {iteration}: verifying by {verifier.called}", done, len(items), {"responses/s": rate})
    if waiting:
        pool.append(pl.DataFrame(waiting, schema=VERIFICATION_SCHEMA, orient="row"))
    return engine.n_refused


def collect_scores(lab: Lab, iteration: int) -> StageResult:
    """Put the scores of all verifiers together and commit the table ``verification_scores`` (CPU)."""

    def compute() -> pl.DataFrame:
        generations = _generations(lab, iteration, GENERATION_COLUMNS)
        problems = {problem.problem_id: problem for problem in problems_of(lab, iteration)}
        frames: dict[str, pl.DataFrame] = {}
        parts = []
        for verifier in lab.experiment.verifiers:
            if isinstance(verifier, ModelVerifier):
                frame = _asked(lab, iteration, verifier, generations, problems)
                model = lab.plan.verifier_model(verifier.called, iteration)
            else:
                frame, model = _derived(lab, verifier, generations, frames), None
            frames[verifier.called] = frame
            where = generations.select("split", "problem_id", "sample_index", "response_id")
            parts.append(
                pl.concat([where, frame], how="horizontal").with_columns(
                    verifier=pl.lit(verifier.called),
                    mechanism=pl.lit(verifier.name),
                    verifier_model=pl.lit(model, dtype=pl.String),
                )
            )
        return pl.concat(parts).select(list(polars_schema("verification_scores")))

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {"verifications": frame.height}
        for name, part in frame.group_by("verifier", maintain_order=True):
            numbers[f"{name[0]}_says_correct_fraction"] = share(part["verdict"] == "correct")
            numbers[f"{name[0]}_unparseable_fraction"] = share(part["verdict"] == "unparseable")
        return numbers

    return lab.materialise("verification_scores", "verification_scores", iteration, compute, metadata)


_SCORE_SCHEMA = {"score": pl.Float64(), "verdict": pl.String(), "transcript": pl.String(), "n_tokens": pl.Int32()}


def _asked(
    lab: Lab,
    iteration: int,
    verifier: ModelVerifier,
    generations: pl.DataFrame,
    problems: Mapping[str, Problem],
) -> pl.DataFrame:
    """Scores of a model verifier in the rows' order, k verifications of a response averaged, with today's verdict."""
    order = pl.DataFrame({"response_id": [item.identity for item in items_of(verifier, generations, problems)]})
    found = order.join(
        _pool(lab, iteration, verifier).read(order["response_id"]),
        on="response_id",
        how="left",
        maintain_order="left",
    ).select(list(_SCORE_SCHEMA))
    missing = found["verdict"].null_count()
    if missing:
        raise StorageError(
            f"verifier {verifier.called}",
            f"{missing:,} of {found.height:,} verifications are not in their pool",
            remedy="run the experiment again: verification asks for what is missing",
        )
    rows = [Verification(*row) for row in found.iter_rows()]
    n = generations.height
    means = [combined(verifier, rows[i::n]) for i in range(n)]
    cells = [(item.score, item.verdict, item.transcript, item.n_tokens) for item in means]
    return pl.DataFrame(cells, schema=_SCORE_SCHEMA, orient="row")


def seconds_by_verifier(lab: Lab, iteration: int) -> dict[str, float]:
    """Wall time per response by label, all repeats together, as measured when the models were asked.

    A derived verifier costs what its members cost; one whose cost is not known is left out.
    """
    generations = _generations(lab, iteration, GENERATION_COLUMNS)
    problems = {problem.problem_id: problem for problem in problems_of(lab, iteration)}
    found: dict[str, float] = {}
    for verifier in lab.experiment.verifiers:
        if isinstance(verifier, ModelVerifier):
            keys = [item.identity for item in items_of(verifier, generations, problems)]
            seconds = _pool(lab, iteration, verifier).read(keys)["seconds"]
            if len(seconds) == len(keys):
                found[verifier.called] = float(seconds.sum()) / generations.height
        elif verifier.is_free and all(name in found for name in verifier.members):
            found[verifier.called] = sum(found[name] for name in verifier.members)
    return found


def _derived(
    lab: Lab, verifier: DerivedVerifier, generations: pl.DataFrame, frames: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Scores of a derived verifier; its tokens are its members'."""
    members = {item.called: item for item in lab.experiment.verifiers if item.called in verifier.members}
    score_N = verifier.derive(generations, _arrays(frames, verifier.members), members)
    known = [None if value != value else float(value) for value in score_N]
    tokens = pl.Series([0] * len(known), dtype=pl.Int32) if verifier.is_free else pl.Series([None] * len(known))
    for name in verifier.members:
        tokens = tokens + frames[name]["n_tokens"]
    cells = [(value, verifier.verdict_of(value), "", n) for value, n in zip(known, tokens, strict=True)]
    return pl.DataFrame(cells, schema=_SCORE_SCHEMA, orient="row")


def _arrays(frames: Mapping[str, pl.DataFrame], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores by label, NaN where unparseable."""
    return {name: frames[name]["score"].fill_null(float("nan")).to_numpy() for name in names}


def _generations(lab: Lab, iteration: int, columns: list[str]) -> pl.DataFrame:
    return lab.store.read("generations", lab.plan.fingerprints[asset_name("generations", iteration)], columns)
