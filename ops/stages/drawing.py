"""Drawing: single responses go into their pool chunk by chunk, and come out of it as graded rows."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl

from ops.engines.base import Engine, SampleRequest, SamplingSettings
from ops.engines.fitting import check_fits, usage_since
from ops.errors import StorageError
from ops.lab import Lab
from ops.prompts.base import PromptFormat
from ops.stages.chosen import Source
from ops.stages.chunks import ChunkWriter
from ops.stages.grading import grade_texts, grader_identity
from ops.stages.wanted import Ask, Missing, asks_for, count_missing, missing_samples, n_samples
from ops.storage.keys import KeySet
from ops.storage.out_of_core import first_rows, pool_rows, stream
from ops.storage.pool import Pool
from ops.storage.schemas import polars_schema
from ops.types import Completion, Grade, Problem

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
    # what a grader said while sampling went on; null where it was left for later, or before there was such a thing
    "answer": pl.String(),
    "verdict": pl.String(),
    "strict_verdict": pl.String(),
    "reason": pl.String(),
    "grader": pl.String(),  # identity of the grader
    "graded_problem": pl.String(),  # id of the problem that it was graded for
}

GRADES = ("answer", "verdict", "strict_verdict", "reason")


Drawn = tuple[Missing, int, Completion]
"""One finished sample: of what, at which place of it."""


def source_pool(lab: Lab, source: Source) -> Pool:
    """Where the single samples of a source are kept."""
    return lab.store.pool("samples", source.pool, SAMPLE_SCHEMA)


def draw_missing(
    lab: Lab, iteration: int, source: Source, problems: Sequence[Problem], what: str = "sampling"
) -> dict[str, Any]:
    """Draw what a source lacks of some problems' responses, committing it chunk by chunk (GPU).

    Args:
        what: said of the progress.

    Returns:
        how many were drawn and reused, the tokens per second of the drawing, and what the engine spent.
    """
    return draw_asks(
        lab, lambda: lab.engine(iteration), source, asks_for(lab, problems), f"iteration {iteration}: {what}"
    )


def draw_asks(
    lab: Lab,
    load: Callable[[], Engine],
    source: Source,
    asks: Sequence[Ask],
    label: str,
    prompts: PromptFormat | None = None,
) -> dict[str, Any]:
    """``draw_missing`` of any prompts, each with a number of its own, from any model (GPU).

    Args:
        load: gives the engine with the model of ``source``; not called where nothing is missing.
        label: said of the progress.
        prompts: how that model is spoken to; None: as the experiment's own.
    """
    have = source_pool(lab, source).key_set()
    n_missing = count_missing(asks, source.pool, have)
    numbers: dict[str, Any] = {"drawn": n_missing, "reused_samples": sum(ask.n for ask in asks) - n_missing}
    if n_missing:
        stop = (prompts or lab.prompt_format()).solve_stop
        numbers |= _draw(lab, load, source, asks, have, n_missing, label, stop)
    return numbers


def _draw(
    lab: Lab,
    load: Callable[[], Engine],
    source: Source,
    asks: Sequence[Ask],
    have: KeySet,
    n_missing: int,
    label: str,
    stop: tuple[str, ...],
) -> dict[str, Any]:
    sampling, pool = lab.experiment.sampling, source_pool(lab, source)
    settings = SamplingSettings(source.temperature, sampling.top_p, sampling.max_tokens, stop)
    engine = load()
    check_fits(engine, (ask.prompt for ask in asks), settings.max_tokens)
    asked: dict[int, tuple[Missing, int]] = {}  # by request: what it draws, and how many are still to come

    def requests() -> Iterator[SampleRequest]:
        for index, item in enumerate(missing_samples(asks, source.pool, have)):
            asked[index] = (item, len(item.identities))
            yield SampleRequest(item.ask.prompt, item.seeds)

    def commit(rows: list[Drawn], hurry: threading.Event) -> None:
        pool.append(_sample_rows(lab, rows, engine.name, engine.version, hurry))

    done = tokens = 0
    before, start = engine.usage(), time.monotonic()
    with ChunkWriter(commit) as writer:
        for finished in engine.sample(requests(), settings):
            rows = []
            for index, place, completion in finished:
                item, left = asked.pop(index)
                if left > 1:
                    asked[index] = (item, left - 1)
                rows.append((item, place, completion))
                tokens += completion.n_tokens
            writer.add(rows)
            done += len(finished)
            rate = tokens / (time.monotonic() - start)
            lab.progress(label, done, n_missing, {"tokens/s": rate})
    seconds = time.monotonic() - start
    return {
        "new_tokens": tokens,
        "tokens_per_second": tokens / seconds,
        "seconds": seconds,
        "waited_for_commits_seconds": writer.waited_seconds,
        **usage_since(engine, before),
    }


def _sample_rows(lab: Lab, rows: Sequence[Drawn], engine: str, version: str, hurry: threading.Event) -> pl.DataFrame:
    """Rows of the pool, graded as far as there is time."""
    problems = [missing.ask.problems[0] for missing, _, _ in rows]
    said = [completion for _, _, completion in rows]
    items = [(problem, one.text, one.finish_reason == "stop") for problem, one in zip(problems, said, strict=True)]
    grades = grade_texts(lab.experiment, items, hurry.is_set)
    grader = grader_identity(lab.experiment)
    columns: dict[str, list[Any]] = {
        "response_id": [missing.identities[place] for missing, place, _ in rows],
        "prompt": [missing.ask.prompt for missing, _, _ in rows],
        "sample_index": [missing.sample_indices[place] for missing, place, _ in rows],
        "response": [one.text for one in said],
        "n_tokens": [one.n_tokens for one in said],
        "logprob": [None if math.isnan(one.logprob) else one.logprob for one in said],
        "finish_reason": [one.finish_reason for one in said],
        "seed": [missing.seeds[place] for missing, place, _ in rows],
        "engine": [engine] * len(rows),
        "engine_version": [version] * len(rows),
        **_grade_columns(grades),
        "grader": [None if grade is None else grader for grade in grades],
        "graded_problem": [problem.problem_id for problem in problems],
    }
    return pl.DataFrame(columns, schema=SAMPLE_SCHEMA)


def _grade_columns(grades: Sequence[Grade | None]) -> dict[str, list[Any]]:
    return {name: [None if grade is None else getattr(grade, name) for grade in grades] for name in GRADES}


ORDERED = """
SELECT w.position, w.split, w.problem_id, s.*
FROM {samples} s JOIN wanted w ON s.prompt = w.prompt AND s.sample_index < w.n
ORDER BY w.position, s.sample_index, s.filename, s.file_row_number
"""


def drawn_responses(lab: Lab, iteration: int, source: Source, problems: Sequence[Problem]) -> Iterator[pl.DataFrame]:
    """Rows of ``generations`` by problem and sample index, in pieces; of a sample drawn twice the first one.

    Raises:
        StorageError: at the end, when some are not in their pool.
    """
    counts = [n_samples(lab, problem) for problem in problems]
    return pool_responses(
        lab, source, problems, counts, lab.plan.models[iteration], f"iteration {iteration}: generations"
    )


def pool_responses(
    lab: Lab,
    source: Source,
    problems: Sequence[Problem],
    counts: Sequence[int],
    model: str,
    where: str,
    prompts: PromptFormat | None = None,
) -> Iterator[pl.DataFrame]:
    """``drawn_responses`` with a number of responses for each problem.

    Args:
        counts: the first so many samples of each problem.
        model: fingerprint of the model that drew them.
        where: for the error.
        prompts: how that model is spoken to; None: as the experiment's own.
    """
    prompts = prompts or lab.prompt_format()
    wanted = pl.DataFrame(
        {
            "position": list(range(len(problems))),
            "split": [problem.split for problem in problems],
            "problem_id": [problem.problem_id for problem in problems],
            "prompt": [prompts.solve(problem) for problem in problems],
            "n": list(counts),
        }
    )
    total, seen = int(wanted["n"].sum()), 0
    sql = ORDERED.format(samples=pool_rows(source_pool(lab, source)))
    for frame in first_rows(stream(lab.store.home, sql, {"wanted": wanted}), ("position", "sample_index")):
        seen += frame.height
        yield (
            _graded(lab, problems, frame)
            .with_columns(
                label=pl.lit(None, dtype=pl.String),
                recorded_scores=pl.lit(None, dtype=pl.String),
                model_fingerprint=pl.lit(model),
            )
            .select(list(polars_schema("generations")))
        )
    if seen != total:
        raise StorageError(
            where,
            f"{total - seen:,} of {total:,} responses are not in their pool",
            remedy="run the experiment again: sampling draws what is missing",
        )


def _graded(lab: Lab, problems: Sequence[Problem], frame: pl.DataFrame) -> pl.DataFrame:
    """Grade what this experiment's grader has not graded for this problem yet."""
    is_known = (pl.col("grader") == grader_identity(lab.experiment)) & (
        pl.col("graded_problem") == pl.col("problem_id")
    )
    open_ = frame.select((~is_known).fill_null(True)).to_series()
    if not open_.any():
        return frame
    rows = frame.filter(open_).select("position", "response", "finish_reason")
    items = [(problems[position], text, reason == "stop") for position, text, reason in rows.iter_rows()]
    places = pl.Series(open_.arg_true())
    found = _grade_columns(grade_texts(lab.experiment, items))
    return frame.with_columns(frame[name].scatter(places, pl.Series(found[name], dtype=pl.String)) for name in GRADES)
