"""Verification: every verifier that asks a model scores every response of the iteration, once per identity."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from ops.engines.base import Engine
from ops.engines.fitting import Fitting, usage_since
from ops.identity import short_hash
from ops.lab import Lab
from ops.plan import asset_name
from ops.prompts.base import PromptFormat
from ops.stages.chunks import ChunkWriter
from ops.stages.problems import problems_of
from ops.storage.keys import KeySet
from ops.storage.pool import Pool
from ops.types import Problem
from ops.verifiers.base import ModelVerifier, VerificationItem

VERIFICATION_SCHEMA = {
    "response_id": pl.String(),  # identity of the verification: the response's where nothing else decides it
    "score": pl.Float64(),
    "verdict": pl.String(),
    "transcript": pl.String(),
    "n_tokens": pl.Int32(),
    "seconds": pl.Float64(),  # wall time of its batch, shared equally
}

ITEM_COLUMNS = ["split", "problem_id", "sample_index", "response", "response_id"]

BLOCK_RESPONSES = 65_536
"""Responses, of whole problems, that are verified together: what is in memory. An engine empties between blocks, which
costs about half of its last batch of every block."""

Row = tuple[str, float | None, str, str, int, float]


def verify_responses(lab: Lab, iteration: int) -> dict[str, Any]:
    """Score what is not scored yet, verifier by verifier, committing chunk by chunk (GPU).

    Verifiers of the generator come first, then model by model, so that each model is loaded once.
    """
    if lab.store.has("verification_scores", lab.plan.fingerprints[asset_name("verification_scores", iteration)]):
        return {"scored": 0, "reused": True}
    numbers: dict[str, Any] = {"scored": 0, "reused": False}
    problems = {problem.problem_id: problem for problem in problems_of(lab, iteration)}
    for verifier in _by_model(lab, iteration):
        pool = verification_pool(lab, iteration, verifier)
        have, owed = pool.key_set(), _n_owed(lab, iteration, verifier)
        if len(have):
            blocks = _blocks(lab, iteration, verifier, problems)
            owed = sum(len(_missing(items, have)) for items in blocks)
        if owed:
            blocks = _blocks(lab, iteration, verifier, problems)
            engine, prompts = lab.engine(iteration, verifier), lab.prompt_format(verifier.model)
            what = f"iteration {iteration}: verifying by {verifier.called}"
            numbers |= _score(lab, verifier, engine, prompts, blocks, have, owed, pool, verifier.called, what)
        numbers["scored"] += owed
    return numbers


def _by_model(lab: Lab, iteration: int) -> list[ModelVerifier]:
    asked = [verifier for verifier in lab.experiment.verifiers if isinstance(verifier, ModelVerifier)]
    order: dict[str, int] = {}
    for verifier in sorted(asked, key=lambda item: item.model is not None):
        order.setdefault(lab.plan.verifier_model(verifier.called, iteration), len(order))
    return sorted(asked, key=lambda item: order[lab.plan.verifier_model(item.called, iteration)])


def verification_pool(lab: Lab, iteration: int, verifier: ModelVerifier) -> Pool:
    """The pool of single verifications of one verifier of an iteration."""
    identity = lab.plan.verification_pools[iteration][verifier.called]
    return lab.store.pool("verifications", identity, VERIFICATION_SCHEMA)


def response_blocks(lab: Lab, iteration: int, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Rows of the iteration's ``generations`` in their order, in blocks of whole problems."""
    fingerprint = lab.plan.fingerprints[asset_name("generations", iteration)]
    return lab.store.read_in_groups("generations", fingerprint, columns, "problem_id", BLOCK_RESPONSES)


def _n_owed(lab: Lab, iteration: int, verifier: ModelVerifier) -> int:
    about = lab.store.about("generations", lab.plan.fingerprints[asset_name("generations", iteration)])
    return int(about["n_rows"]) * verifier.n_repeats


def _blocks(
    lab: Lab, iteration: int, verifier: ModelVerifier, problems: Mapping[str, Problem]
) -> Iterator[list[VerificationItem]]:
    for block in response_blocks(lab, iteration, ITEM_COLUMNS):
        yield items_of(verifier, block, problems)


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


def _missing(items: list[VerificationItem], have: KeySet) -> list[VerificationItem]:
    """What is not scored yet; of a group all or nothing."""
    known = have.contains([item.identity for item in items])
    missing = [item for item, is_known in zip(items, known, strict=True) if not is_known]
    groups = {item.group for item in missing if item.group}
    return [item for item in items if item.group in groups] if groups else missing


def verify_items(
    lab: Lab, iteration: int, verifier: ModelVerifier, blocks: Sequence[list[VerificationItem]], what: str
) -> int:
    """Score what of some items is not scored yet (GPU); the number of verifications that were asked for.

    Args:
        blocks: lists of items, whole groups in each.
        what: said of the progress.
    """
    pool = verification_pool(lab, iteration, verifier)
    have = pool.key_set()
    owed = sum(len(_missing(items, have)) for items in blocks)
    if owed:
        engine, prompts = lab.engine(iteration, verifier), lab.prompt_format(verifier.model)
        what = f"iteration {iteration}: {what} by {verifier.called}"
        _score(lab, verifier, engine, prompts, blocks, have, owed, pool, verifier.called, what)
    return owed


def verify_missing(
    lab: Lab,
    verifier: ModelVerifier,
    load: Callable[[], Engine],
    prompts: Callable[[], PromptFormat],
    pool: Pool,
    items: list[VerificationItem],
    label: str,
) -> dict[str, Any]:
    """Score what of some items, from wherever, is not in a pool of verifications yet (GPU).

    Args:
        load, prompts: give the engine with the model that verifies, and how it is spoken to; not called where nothing
            is missing.
        label: what progress and numbers call the verifier.

    Returns:
        how many were ``scored``, and what that took.
    """
    have = pool.key_set()
    missing = _missing(items, have)
    numbers: dict[str, Any] = {"scored": len(missing)}
    if missing:
        what = f"judging by {label}"
        numbers |= _score(lab, verifier, load(), prompts(), [missing], have, len(missing), pool, label, what)
    return numbers


def _score(
    lab: Lab,
    verifier: ModelVerifier,
    asked: Engine,
    prompts: PromptFormat,
    blocks: Iterable[list[VerificationItem]],
    have: KeySet,
    owed: int,
    pool: Pool,
    label: str,
    what: str,
) -> dict[str, Any]:
    """Ask for the ``owed`` verifications that are missing and commit what comes."""
    engine = Fitting(asked)

    def commit(rows: list[Row], hurry: threading.Event) -> None:
        columns = dict(zip(VERIFICATION_SCHEMA, zip(*rows, strict=True), strict=True))
        pool.append(pl.DataFrame(columns, schema=VERIFICATION_SCHEMA))

    done = 0
    before = engine.usage()
    start = last = time.monotonic()
    with ChunkWriter(commit) as writer:
        for block in blocks:
            items = _missing(block, have)
            for finished in verifier.verify(engine, prompts, items) if items else ():
                seconds = (time.monotonic() - last) / max(1, len(finished))
                writer.add(
                    [(items[i].identity, v.score, v.verdict, v.transcript, v.n_tokens, seconds) for i, v in finished]
                )
                done += len(finished)
                last = time.monotonic()  # what the commits took is nobody's cost
                rate = done / (last - start)
                lab.progress(what, done, owed, {"responses/s": rate})
    seconds = time.monotonic() - start
    numbers = {f"{label}_seconds": seconds, f"{label}_responses_per_second": owed / seconds}
    numbers |= {f"{label}_{name}": value for name, value in usage_since(engine, before).items()}
    if engine.n_refused:
        numbers[f"{label}_prompts_that_do_not_fit"] = engine.n_refused
    return numbers
