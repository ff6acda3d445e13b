"""Scores: what every verifier says of every response, in one table; those that ask no model are computed here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ops.errors import StorageError
from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.problems import problems_of
from ops.stages.verification import ITEM_COLUMNS, items_of, response_blocks, verification_pool
from ops.storage.atomic import make_folder, temporary_sibling
from ops.storage.catalog import quoted
from ops.storage.out_of_core import first_rows, pool_rows, stream
from ops.storage.schemas import polars_schema
from ops.types import StageResult, Verification
from ops.verifiers.base import DerivedVerifier, ModelVerifier, combined

WHERE = ["split", "problem_id", "sample_index", "response_id"]
SCORE_SCHEMA = {"score": pl.Float64(), "verdict": pl.String(), "transcript": pl.String(), "n_tokens": pl.Int32()}
DERIVED_FROM = [*WHERE, "response", "answer", "recorded_scores"]

ORDERED = """
SELECT o.*, {columns}
FROM {verifications} v JOIN read_parquet([{owed}], hive_partitioning = false) o ON v.response_id = o.verification
ORDER BY o.position, o.repeat, v.filename, v.file_row_number
"""


class IncompleteError(StorageError):
    """Verifications that a table needs are not in their pool."""


def collect_scores(lab: Lab, iteration: int) -> StageResult:
    """Put the scores of all verifiers together and commit the table ``verification_scores`` (CPU).

    Verifiers that ask a model are joined with their responses on disk; for those that are computed from others, the
    responses and the scores that they read are in memory.
    """

    def metadata(frame: pl.LazyFrame) -> dict[str, Any]:
        by_verifier = (
            frame.group_by("verifier")
            .agg(
                says_correct_fraction=(pl.col("verdict") == "correct").mean(),
                unparseable_fraction=(pl.col("verdict") == "unparseable").mean(),
            )
            .collect(engine="streaming")
        )
        numbers: dict[str, Any] = {"verifications": frame.select(pl.len()).collect().item()}
        found = {row["verifier"]: row for row in by_verifier.iter_rows(named=True)}
        for verifier in lab.experiment.verifiers:
            for name in ("says_correct_fraction", "unparseable_fraction"):
                numbers[f"{verifier.called}_{name}"] = found.get(verifier.called, {}).get(name)
        return numbers

    return lab.materialise_stream(
        "verification_scores", "verification_scores", iteration, lambda: _all_scores(lab, iteration), metadata
    )


def _all_scores(lab: Lab, iteration: int) -> Iterator[pl.DataFrame]:
    """Rows of the table, verifier by verifier."""
    read = {name for item in lab.experiment.verifiers if isinstance(item, DerivedVerifier) for name in item.members}
    fingerprint = lab.plan.fingerprints[asset_name("generations", iteration)]
    responses: pl.DataFrame | None = None
    kept: dict[str, pl.DataFrame] = {}
    for verifier in lab.experiment.verifiers:
        frames: Iterator[pl.DataFrame]
        if isinstance(verifier, ModelVerifier):
            frames, model = asked_scores(lab, iteration, verifier), lab.plan.verifier_model(verifier.called, iteration)
        else:
            if responses is None:
                responses = lab.store.read("generations", fingerprint, DERIVED_FROM)
            frames, model = iter([_derived(lab, verifier, responses, kept)]), None
        parts = []
        for frame in frames:
            if verifier.called in read:
                parts.append(frame.select("score", "n_tokens"))
            yield frame.with_columns(
                verifier=pl.lit(verifier.called),
                mechanism=pl.lit(verifier.name),
                verifier_model=pl.lit(model, dtype=pl.String),
            ).select(list(polars_schema("verification_scores")))
        if verifier.called in read:
            schema = {name: SCORE_SCHEMA[name] for name in ("score", "n_tokens")}
            kept[verifier.called] = pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def asked_scores(lab: Lab, iteration: int, verifier: ModelVerifier) -> Iterator[pl.DataFrame]:
    """``WHERE`` and ``SCORE_SCHEMA`` of every response in order, k verifications averaged, with today's verdict.

    Raises:
        StorageError: when a verification is not in its pool.
    """
    for frame in _verifications(lab, iteration, verifier, list(SCORE_SCHEMA)):
        if verifier.n_repeats == 1:
            scores = [None if value is None else float(value) for value in frame["score"]]
            verdicts = [verifier.verdict_of(score) for score in scores]
            yield frame.with_columns(score=pl.Series(scores, dtype=pl.Float64), verdict=pl.Series(verdicts))
        else:
            yield _averaged(verifier, frame)


def _averaged(verifier: ModelVerifier, frame: pl.DataFrame) -> pl.DataFrame:
    k = verifier.n_repeats
    rows = [Verification(*row) for row in frame.select(list(SCORE_SCHEMA)).iter_rows()]
    means = [combined(verifier, rows[start : start + k]) for start in range(0, len(rows), k)]
    cells = [(item.score, item.verdict, item.transcript, item.n_tokens) for item in means]
    where = frame.gather_every(k).select(WHERE)
    return pl.concat([where, pl.DataFrame(cells, schema=SCORE_SCHEMA, orient="row")], how="horizontal")


def _verifications(lab: Lab, iteration: int, verifier: ModelVerifier, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """``columns`` of every verification that a verifier owes, by response and repeat, whole responses in each frame.

    Raises:
        IncompleteError: at the end, when some are not in their pool.
    """
    spill = temporary_sibling(lab.store.home / "spill" / "owed")
    make_folder(spill)
    try:
        paths, n_owed = _write_owed(lab, iteration, verifier, spill)
        if not n_owed:
            return
        files = ", ".join(quoted(str(path)) for path in paths)
        verifications = pool_rows(verification_pool(lab, iteration, verifier))
        chosen = ", ".join(f"v.{name}" for name in columns)
        sql = ORDERED.format(columns=chosen, verifications=verifications, owed=files)
        seen = 0
        rest: pl.DataFrame | None = None
        for frame in first_rows(stream(lab.store.home, sql, {}), ("position", "repeat")):
            seen += frame.height
            frame = frame if rest is None else pl.concat([rest, frame])
            n_whole = frame.height - frame.height % verifier.n_repeats
            rest = frame.slice(n_whole)
            if n_whole:
                yield frame.head(n_whole)
        if seen != n_owed:
            raise IncompleteError(
                f"verifier {verifier.called}",
                f"{n_owed - seen:,} of {n_owed:,} verifications are not in their pool",
                remedy="run the experiment again: verification asks for what is missing",
            )
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _write_owed(lab: Lab, iteration: int, verifier: ModelVerifier, folder: Path) -> tuple[list[Path], int]:
    """Which verifications belong to which response, as files; and how many there are."""
    problems = {problem.problem_id: problem for problem in problems_of(lab, iteration)}
    paths: list[Path] = []
    position = n_owed = 0
    for block in response_blocks(lab, iteration, ITEM_COLUMNS):
        identities = [item.identity for item in items_of(verifier, block, problems)]
        repeats = len(identities) // block.height
        where = block.select(WHERE).with_columns(
            position=pl.int_range(position, position + block.height, dtype=pl.Int64)
        )
        owed = pl.concat([where.with_columns(repeat=pl.lit(repeat)) for repeat in range(repeats)])
        paths.append(folder / f"{len(paths):06d}.parquet")
        owed.with_columns(verification=pl.Series(identities)).write_parquet(paths[-1])
        position += block.height
        n_owed += owed.height
    return paths, n_owed


def seconds_by_verifier(lab: Lab, iteration: int) -> dict[str, float]:
    """Wall time per response by label, all repeats together, as measured when the models were asked.

    A derived verifier costs what its members cost; one whose cost is not known (its pool is not here) is left out.
    """
    found: dict[str, float] = {}
    for verifier in lab.experiment.verifiers:
        if isinstance(verifier, ModelVerifier):
            total, rows = 0.0, 0
            try:
                for frame in _verifications(lab, iteration, verifier, ["seconds"]):
                    total, rows = total + float(frame["seconds"].sum()), rows + frame.height
            except IncompleteError:
                continue
            if rows:
                found[verifier.called] = total * verifier.n_repeats / rows
        elif verifier.is_free and all(name in found for name in verifier.members):
            found[verifier.called] = sum(found[name] for name in verifier.members)
    return found


def _derived(
    lab: Lab, verifier: DerivedVerifier, responses: pl.DataFrame, frames: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Scores of a derived verifier; its tokens are its members'."""
    members = {item.called: item for item in lab.experiment.verifiers if item.called in verifier.members}
    score_N = verifier.derive(responses, _arrays(frames, verifier.members), members)
    known = [None if value != value else float(value) for value in score_N]
    tokens = pl.Series([0] * len(known), dtype=pl.Int32) if verifier.is_free else pl.Series([None] * len(known))
    for name in verifier.members:
        tokens = tokens + frames[name]["n_tokens"]
    cells = [(value, verifier.verdict_of(value), "", n) for value, n in zip(known, tokens, strict=True)]
    scores = pl.DataFrame(cells, schema=SCORE_SCHEMA, orient="row")
    return pl.concat([responses.select(WHERE), scores], how="horizontal")


def _arrays(frames: Mapping[str, pl.DataFrame], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores by label, NaN where unparseable."""
    return {name: frames[name]["score"].fill_null(float("nan")).to_numpy() for name in names}
