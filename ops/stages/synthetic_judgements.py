"""Synthetic judgements: every judge that needs no labels judges every pair, once per question or response."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ops.engines.fitting import Fitting, usage_since
from ops.errors import ModelError
from ops.evaluation.judges.base import Judge
from ops.evaluation.judges.bradley_terry import BradleyTerry
from ops.evaluation.judges.pairwise import Pairwise
from ops.evaluation.judges.recorded import RecordedJudge, unknown_names
from ops.evaluation.judges.reward_model import RewardModel
from ops.evaluation.rewards import release_memory
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages.chunks import ChunkWriter
from ops.stages.judged import (
    JUDGEMENT_SCHEMA,
    asked_pairs,
    judgement_pool,
    judgement_rows,
    pair_questions,
    problems_by_id,
    response_texts,
    single_responses,
    text_ids,
    verification_items,
    verifications_of,
)
from ops.stages.verification import verify_missing
from ops.storage.pool import Pool
from ops.storage.schemas import polars_schema
from ops.types import Problem, StageResult

ASSET = evaluation_asset("synthetic_judgements")

BLOCK_QUESTIONS = 65_536
"""Questions about pairs that an engine is given together."""

Row = tuple[str, float | None, str | None, int, float]


def judge_pairs(lab: Lab) -> dict[str, Any]:
    """Ask every judge for what is not judged yet, model by model, committing chunk by chunk (GPU).

    What can be refused is refused before any model is loaded: files of recorded judgements, and responses that a
    reward model cannot take in.

    Raises:
        DatasetError: for a bad row of recorded judgements, or pairs that they lack and may not.
        ModelError: for a checkpoint that is no reward model, or a text longer than it reads.
        EngineError: when a model cannot be run.
    """
    if lab.store.has("synthetic_judgements", lab.plan.fingerprints[ASSET]):
        return {"judged": 0, "reused": True}
    pairs, problems = read_pairs(lab), problems_by_id(lab)
    numbers: dict[str, Any] = {"judged": 0, "reused": False}
    judges = _by_model(lab)
    lengths = {judge.called: check_judge(lab, judge, pairs, problems) for judge in judges}
    for judge in judges:
        found: dict[str, Any] = {}
        if isinstance(judge, Pairwise):
            found = _ask_pairwise(lab, judge, pairs, problems)
        elif isinstance(judge, BradleyTerry):
            found = _ask_verifier(lab, judge, pairs, problems)
        elif isinstance(judge, RewardModel):
            found = read_rewards(lab, judge, pairs, problems, lengths[judge.called])
            gc.collect()
            release_memory()  # the next judge may be another engine's
        numbers["judged"] += found.pop("scored", 0)
        numbers |= found
    return numbers


def read_pairs(lab: Lab) -> pl.DataFrame:
    """The table ``pairs`` of the experiment."""
    return lab.store.read("pairs", lab.plan.fingerprints[evaluation_asset("pairs")])


def _by_model(lab: Lab) -> list[Judge]:
    """Judges of one model next to each other, first those whose model is loaded already; recorded ones at the end."""
    of = lab.evaluation_plan.judge_models
    order: dict[str | None, int] = {model: i for i, model in enumerate(lab.engines)}
    judges = sorted(lab.evaluation.prompted_judges, key=lambda judge: judge.called not in of)
    for judge in judges:
        order.setdefault(of.get(judge.called), len(order))
    return sorted(judges, key=lambda judge: order[of.get(judge.called)])


def check_judge(lab: Lab, judge: Judge, pairs: pl.DataFrame, problems: Mapping[str, Problem]) -> np.ndarray | None:
    """Refuse what can be known before any model is loaded; tokens of every text that a reward model will read."""
    if isinstance(judge, RecordedJudge):
        keys = list(pairs.select("problem_id", "model", "sample_index").iter_rows())
        judge.check(judge.read(), keys, complete=lab.evaluation.missing_judgements == "error")
    if not isinstance(judge, RewardModel):
        return None
    from ops.engines.tokens import load_tokenizer
    from ops.evaluation.rewards import reward_configuration, reward_lengths, reward_room, reward_text

    config, tokenizer = reward_configuration(Path(judge.path)), load_tokenizer(Path(judge.path))
    asked = response_texts(lab, asked_pairs(pairs), problems)
    texts = [reward_text(tokenizer, question, response) for _, question, response in asked.iter_rows()]
    lengths_N = reward_lengths(tokenizer, texts)
    room = reward_room(config)
    limit = judge.max_tokens if room is None else min(judge.max_tokens, room)
    if len(lengths_N) and lengths_N.max() > limit:
        longest = int(lengths_N.argmax())
        pair = _pair_with(lab, asked_pairs(pairs), problems, asked["judgement_id"][longest])
        raise ModelError(
            f"judge {judge.called}",
            f"question and response have {int(lengths_N.max()):,} tokens in pair {pair['pair_id']} (problem "
            f"{pair['problem_id']}, model {pair['model']}); at most {limit:,} are read "
            f"({int((lengths_N > limit).sum()):,} of {len(lengths_N):,} texts are longer)",
            field="evaluation.judges.max_tokens",
            remedy="raise max_tokens"
            if room is None or limit < room
            else "take a reward model with a longer context, or shorter responses (sampling.max_tokens)",
        )
    return lengths_N


def _pair_with(lab: Lab, pairs: pl.DataFrame, problems: Mapping[str, Problem], identity: str) -> dict[str, Any]:
    """The first pair in which a text stands that a reward model reads."""
    own, reference = text_ids(lab, pairs, problems)
    return pairs.filter((own == identity) | (reference == identity).fill_null(False)).row(0, named=True)


def _ask_pairwise(lab: Lab, judge: Pairwise, pairs: pl.DataFrame, problems: Mapping[str, Problem]) -> dict[str, Any]:
    pool = judgement_pool(lab, judge)
    questions = _missing(pair_questions(judge, asked_pairs(pairs), problems), pool, lambda item: item.identity)
    if not questions:
        return {}
    engine, prompts = Fitting(lab.judge_engine(judge)), lab.judge_format(judge)
    before, start = engine.usage(), time.monotonic()

    def finished() -> Iterator[list[tuple[str, float | None, str | None, int]]]:
        for first in range(0, len(questions), BLOCK_QUESTIONS):
            block = questions[first : first + BLOCK_QUESTIONS]
            for group in judge.ask(engine, prompts, block):
                yield [(block[i].identity, said.value, said.transcript, said.n_tokens) for i, said in group]

    _commit(lab, judge, pool, finished(), len(questions))
    numbers = {f"{judge.called}_{name}": value for name, value in usage_since(engine, before).items()}
    if engine.n_refused:
        numbers[f"{judge.called}_prompts_that_do_not_fit"] = engine.n_refused
    return {"scored": len(questions), **_speed(judge, len(questions), start), **numbers}


def _ask_verifier(
    lab: Lab, judge: BradleyTerry, pairs: pl.DataFrame, problems: Mapping[str, Problem]
) -> dict[str, Any]:
    return verify_missing(
        lab,
        judge.verifier,
        lambda: lab.judge_engine(judge),
        lambda: lab.judge_format(judge),
        verifications_of(lab, judge),
        verification_items(judge, single_responses(asked_pairs(pairs)), problems),
        judge.called,
    )


def read_rewards(
    lab: Lab, judge: RewardModel, pairs: pl.DataFrame, problems: Mapping[str, Problem], lengths_N: np.ndarray | None
) -> dict[str, Any]:
    from ops.evaluation.rewards import load_reward_model, reward_batches, reward_text

    assert lengths_N is not None
    pool = judgement_pool(lab, judge)
    rows = list(zip(response_texts(lab, asked_pairs(pairs), problems).iter_rows(), lengths_N, strict=True))
    rows = _missing(rows, pool, lambda row: row[0][0])
    if not rows:
        return {}
    lab.free_memory()
    start = time.monotonic()
    model, tokenizer = load_reward_model(Path(judge.path), getattr(lab.experiment.engine, "device", "auto"))
    texts = [reward_text(tokenizer, question, response) for (_, question, response), _ in rows]
    lengths = np.array([length for _, length in rows])

    def finished() -> Iterator[list[tuple[str, float | None, str | None, int]]]:
        for indices, found in reward_batches(model, tokenizer, texts, judge.batch_size, lengths):
            if not np.isfinite(found).all():
                problem = "a reward is not finite"
                raise ModelError(str(judge.path), problem, field="path", remedy="load it in float32, or take another")
            yield [(rows[i][0][0], float(value), None, 0) for i, value in zip(indices, found, strict=True)]

    _commit(lab, judge, pool, finished(), len(rows))
    return {"scored": len(rows), **_speed(judge, len(rows), start)}


def _missing(items: Sequence[Any], pool: Pool, identity_of: Callable[[Any], str]) -> list[Any]:
    """Those whose judgement is not in the pool."""
    known = pool.key_set().contains([identity_of(item) for item in items])
    return [item for item, is_known in zip(items, known, strict=True) if not is_known]


def _commit(
    lab: Lab,
    judge: Judge,
    pool: Pool,
    groups: Iterator[list[tuple[str, float | None, str | None, int]]],
    owed: int,
) -> None:
    """Commit what comes, chunk by chunk."""

    def commit(rows: list[Row], hurry: threading.Event) -> None:
        pool.append(pl.DataFrame(rows, schema=JUDGEMENT_SCHEMA, orient="row"))

    done, start = 0, time.monotonic()
    last = start
    with ChunkWriter(commit) as writer:
        for group in groups:
            seconds = (time.monotonic() - last) / max(1, len(group))
            writer.add([(*row, seconds) for row in group])
            done += len(group)
            last = time.monotonic()  # what the commits took is nobody's cost
            lab.progress(f"judging by {judge.called}", done, owed, {"judgements/s": done / (last - start)})


def _speed(judge: Judge, n: int, start: float) -> dict[str, float]:
    seconds = time.monotonic() - start
    return {f"{judge.called}_seconds": seconds, f"{judge.called}_judgements_per_second": n / seconds}


def commit_judgements(lab: Lab) -> StageResult:
    """Commit the table ``synthetic_judgements``: a row for every pair and judge that needs no labels (CPU).

    Raises:
        StorageError: when a judgement is not in its pool.
        DatasetError: as ``judge_pairs``.
    """
    judges = lab.evaluation.prompted_judges
    unused: dict[str, int] = {}

    def frames() -> Iterator[pl.DataFrame]:
        pairs, problems = read_pairs(lab), problems_by_id(lab)
        for judge in judges:
            if isinstance(judge, RecordedJudge):
                unused.update(_unused(judge, pairs))
            yield judgement_rows(lab, judge, pairs, problems)
        if not judges:
            yield pl.DataFrame(schema=polars_schema("synthetic_judgements"))

    def metadata(table: pl.LazyFrame) -> dict[str, Any]:
        rows = table.group_by("judge").agg(
            judgements=pl.len(),
            unreadable_fraction=pl.col("score").is_null().mean(),
            mean_score=pl.col("score").mean(),
            position_bias=((pl.col("score_shown_first") - pl.col("score_shown_second")) / 2.0).mean(),
        )
        found = {row.pop("judge"): row for row in rows.collect(engine="streaming").iter_rows(named=True)}
        numbers: dict[str, Any] = {"judgements": sum(row.pop("judgements") for row in found.values())}
        for judge in judges:
            known = found.get(judge.called, {}).items()
            numbers |= {f"{judge.called}_{name}": value for name, value in known if value is not None}
        return {**numbers, **unused}

    return lab.materialise_stream("synthetic_judgements", ASSET, None, frames, metadata)


def _unused(judge: RecordedJudge, pairs: pl.DataFrame) -> dict[str, int]:
    """Rows of its file that belong to no pair, and of these the ones of problems and models that no pair has."""
    found, keys = judge.read(), set(pairs.select("problem_id", "model", "sample_index").iter_rows())
    numbers = {f"{judge.called}_rows_of_no_pair": len(found.keys() - keys)}
    for what, names in unknown_names(found, keys).items():
        numbers[f"{judge.called}_rows_of_unknown_{what}"] = len(names)
    return numbers
