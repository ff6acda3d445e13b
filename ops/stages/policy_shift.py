"""Policy shift: how far an iteration's model has moved from the base model, as the KL divergence of its responses.

Both models read the same texts by teacher forcing. The log-probability that was recorded when a response was drawn is
not used: another engine or dtype may have drawn it, a server may not have given it, and the tokens of a decoded text
need not be those that were drawn. So numerator and denominator are of the same tokens and rounded alike, and the
difference from what was recorded is reported beside the result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from ops.engines.fitting import Fitting
from ops.errors import StorageError
from ops.estimation.bootstrap import resample_counts
from ops.estimation.kl import estimate_kl
from ops.lab import Lab
from ops.plan import asset_name
from ops.prompts.base import PromptFormat
from ops.stages.chunks import ChunkWriter
from ops.stages.measured import without_nan
from ops.stages.verification import response_blocks
from ops.storage.keys import KeySet
from ops.storage.pool import Pool
from ops.storage.schemas import polars_schema
from ops.types import StageResult

SPLIT = "eval"

LOGPROB_SCHEMA = {
    "response_id": pl.String(),
    "n_tokens": pl.Int32(),
    "logprob": pl.Float64(),  # NULL where there was no token to read, or no room for it in the context
}

TEXT_COLUMNS = ["split", "problem_id", "sample_index", "response_id", "prompt", "response", "finish_reason"]
NUMBER_COLUMNS = ["split", "problem_id", "sample_index", "response_id", "n_tokens", "logprob"]

READ_AT_ONCE = 4096
"""Responses of one call of the engine."""

Row = tuple[str, int, float | None]


def base_pool(lab: Lab) -> Pool:
    """Log-probabilities of responses under the base model."""
    return lab.store.pool("base_logprobs", lab.plan.base_logprob_pool, LOGPROB_SCHEMA)


def own_pool(lab: Lab) -> Pool:
    """Log-probabilities of responses under the model that wrote them, which a response's identity determines."""
    return lab.store.pool("own_logprobs", lab.plan.base_logprob_pool, LOGPROB_SCHEMA)


def is_base(lab: Lab, iteration: int) -> bool:
    """Whether the iteration's model is the base model itself: its log-ratios are 0, whatever is read."""
    return lab.plan.models[iteration] == lab.plan.models[0]


def read_under_base(lab: Lab, iteration: int) -> dict[str, Any]:
    """Read the first evaluation responses of each problem under their own and the base model, chunk by chunk (GPU).

    The model that wrote them is read first: it is loaded still from sampling and verifying. Nothing is loaded where
    everything is known, where ``kl_responses`` is 0, and at iteration 0.
    """
    if lab.store.has("policy_shift", lab.plan.fingerprints[asset_name("policy_shift", iteration)]):
        return {"read": 0, "reused": True}
    numbers: dict[str, Any] = {"read": 0, "reused": False}
    if lab.experiment.kl_responses == 0 or is_base(lab, iteration):
        return numbers
    start = time.monotonic()
    for words, model, pool in (("own", iteration, own_pool(lab)), ("base", 0, base_pool(lab))):
        have = pool.key_set()
        owed = sum(_missing(block, have).height for block in _first_responses(lab, iteration, TEXT_COLUMNS))
        if owed:
            _read(lab, iteration, model, f"reading under the {words} model", have, owed, pool)
        numbers["read"] += owed
    return numbers | {"seconds": time.monotonic() - start}


def _first_responses(lab: Lab, iteration: int, columns: list[str]) -> Iterator[pl.DataFrame]:
    """The first ``kl_responses`` evaluation responses of each problem, block by block."""
    for block in response_blocks(lab, iteration, columns):
        rank = pl.col("sample_index").rank("ordinal").over("problem_id")
        yield block.filter(pl.col("split") == SPLIT).filter(rank <= lab.experiment.kl_responses)


def _missing(block: pl.DataFrame, have: KeySet) -> pl.DataFrame:
    return block.filter(~pl.Series(have.contains(block["response_id"].to_list()), dtype=pl.Boolean))


def continuation(prompts: PromptFormat, response: str, finished: bool) -> str:
    """The text whose tokens count: the response with what ended it, as far as that was drawn.

    ``completion`` gives the ending that fine-tuning teaches; where that has more behind the stop string (the built-in
    notation closes the document), sampling stopped before it.
    """
    text = prompts.completion(response, finished)
    if finished:
        for stop in prompts.solve_stop:
            place = text.rfind(stop)
            if place >= 0:
                return text[: place + len(stop)]
    return text


def _read(lab: Lab, iteration: int, model: int, words: str, have: KeySet, owed: int, pool: Pool) -> None:
    """Read the ``owed`` responses that are missing in the pool under the model of iteration ``model``."""
    engine, prompts = Fitting(lab.engine(model)), lab.prompt_format()

    def commit(rows: list[Row], hurry: threading.Event) -> None:
        columns = dict(zip(LOGPROB_SCHEMA, zip(*rows, strict=True), strict=True))
        pool.append(pl.DataFrame(columns, schema=LOGPROB_SCHEMA))

    done, start = 0, time.monotonic()
    with ChunkWriter(commit) as writer:
        for block in _first_responses(lab, iteration, TEXT_COLUMNS):
            missing = _missing(block, have)
            for part in missing.iter_slices(READ_AT_ONCE):
                texts = [
                    continuation(prompts, response, reason == "stop")
                    for response, reason in part.select("response", "finish_reason").iter_rows()
                ]
                found = _statistics(engine, part["prompt"].to_list(), texts)
                writer.add([(name, *cells) for name, cells in zip(part["response_id"], found, strict=True)])
                done += part.height
                rate = done / (time.monotonic() - start)
                lab.progress(f"iteration {iteration}: {words}", done, owed, {"responses/s": rate})


def _statistics(engine: Fitting, prompts: list[str], texts: list[str]) -> list[tuple[int, float | None]]:
    """Tokens and log-probability of each text after its prompt; equal ones are read once."""
    different = list(dict.fromkeys(zip(prompts, texts, strict=True)))
    found = engine.token_statistics([prompt for prompt, _ in different], [text for _, text in different])
    cells = [(item.n_tokens, item.logprob if item.n_tokens else None) for item in found]
    known = dict(zip(different, cells, strict=True))
    return [known[pair] for pair in zip(prompts, texts, strict=True)]


def measure_policy_shift(lab: Lab, iteration: int) -> StageResult:
    """Estimate KL(model || base) and commit the table ``policy_shift``; without rows where nothing is read (CPU)."""
    beside: dict[str, Any] = {}

    def compute() -> pl.DataFrame:
        if lab.experiment.kl_responses == 0:
            beside["not_measured"] = _why_not(lab)
            return pl.DataFrame(schema=polars_schema("policy_shift"))
        responses = pl.concat(list(_first_responses(lab, iteration, NUMBER_COLUMNS)))
        if responses.is_empty():
            return pl.DataFrame(schema=polars_schema("policy_shift"))
        ratio, tokens = _log_ratios(lab, iteration, responses, beside)
        return _rows(lab, responses, ratio, tokens, beside)

    def metadata(frame: pl.DataFrame) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for row in frame.iter_rows(named=True):
            name = row["metric"]
            numbers |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
            numbers["responses"] = row["n_responses"]
        return numbers | beside

    return lab.materialise("policy_shift", "policy_shift", iteration, compute, metadata)


def _why_not(lab: Lab) -> str:
    engine = lab.experiment.engine
    if engine.replays:
        return "the responses were recorded elsewhere: there is no model here that wrote them"
    if not engine.reads_distributions:
        return f"engine {engine.name} does not read given texts (transformers does)"
    return "monitoring.kl_responses is 0"


def _log_ratios(
    lab: Lab, iteration: int, responses: pl.DataFrame, beside: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """log pi_k(y|x) - log pi_0(y|x) of each response, NaN where it could not be read, and its tokens: [N] each.

    Raises:
        StorageError: when a response is not in the pools.
    """
    if is_base(lab, iteration):
        return np.zeros(responses.height), responses["n_tokens"].to_numpy().astype(float)
    own, base = (_known(pool, responses) for pool in (own_pool(lab), base_pool(lab)))
    logprob, other = (found["logprob"].cast(pl.Float64).fill_null(float("nan")).to_numpy() for found in (own, base))
    drawn = responses["logprob"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    compared = drawn - logprob
    if not np.isnan(compared).all():  # rounding, or texts that are read as other tokens than were drawn
        beside["drawn_minus_read_nats"] = float(np.nanmean(compared))
    return logprob - other, own["n_tokens"].to_numpy().astype(float)


def _known(pool: Pool, responses: pl.DataFrame) -> pl.DataFrame:
    """Rows of a pool in the responses' order."""
    wanted = responses.select("response_id")
    rows = pool.read(wanted["response_id"]).with_columns(is_there=pl.lit(True))
    found = wanted.join(rows, on="response_id", how="left", maintain_order="left")
    if found["is_there"].null_count():
        raise StorageError(
            f"pool {pool.folder.parent.name}/{pool.folder.name}",
            f"{found['is_there'].null_count():,} of {found.height:,} responses were not read",
            remedy="run the experiment again: it reads what is missing",
        )
    return found


def _rows(
    lab: Lab, responses: pl.DataFrame, ratio: np.ndarray, tokens: np.ndarray, beside: dict[str, Any]
) -> pl.DataFrame:
    statistics = lab.experiment.statistics
    index = responses["problem_id"].rank("dense").to_numpy().astype(np.int64) - 1
    counts_RP = resample_counts(int(index.max()) + 1, statistics.resamples, statistics.seed)
    found = estimate_kl(index, ratio, tokens, counts_RP, statistics.confidence)
    beside["responses_left_out"] = len(ratio) - found.n_responses
    intervals = {
        "kl_to_base_nats": found.nats,
        "kl_to_base_k3_nats": found.k3_nats,
        "kl_to_base_nats_per_token": found.nats_per_token,
    }
    about = {"split": SPLIT, "n_problems": found.n_problems, "n_responses": found.n_responses}
    rows = [
        without_nan({**about, "metric": name, "value": item.value, "low": item.low, "high": item.high})
        for name, item in intervals.items()
    ]
    return pl.DataFrame(rows, schema=polars_schema("policy_shift"))
