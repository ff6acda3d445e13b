"""One iteration's responses and scores as flat arrays, the form in which every estimator takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ops.errors import StorageError
from ops.estimation.bootstrap import resample_counts
from ops.estimation.gap import ProblemGaps, problem_gaps
from ops.lab import Lab
from ops.plan import asset_name
from ops.selection.base import Filter
from ops.types import Interval

SPLITS = ("eval", "train")

MEASURED = ["split", "problem_id", "sample_index", "answer", "verdict", "strict_verdict", "response_id"]
"""Columns of ``generations`` that statistics read: no texts and prompts, so millions of rows fit into memory."""


def share(flags: pl.Series) -> float:
    """Share of rows that are true; NaN where there is none."""
    return float(flags.sum()) / len(flags) if len(flags) else float("nan")


@dataclass(frozen=True)
class Responses:
    """N responses of one split, sorted by problem and sample index.

    Attributes:
        problem_ids: of the P problems.
        problem_index: int [N], 0..P-1.
        is_correct: bool [N] under flexible extraction.
        is_strict: bool [N], correct under strict extraction.
        frame: the rows of ``generations`` in the same order; of them the columns that were read.
    """

    problem_ids: list[str]
    problem_index: np.ndarray
    is_correct: np.ndarray
    is_strict: np.ndarray
    frame: pl.DataFrame


@dataclass(frozen=True)
class Scores:
    """One verifier's scores of N responses, in their order.

    Attributes:
        score: float [N], NaN where unparseable.
        accepts: bool [N], the verifier's own verdict is correct.
        unparseable: bool [N].
        n_tokens: float [N], new tokens the verifier drew; NaN where not known (recorded scores).
    """

    score: np.ndarray
    accepts: np.ndarray
    unparseable: np.ndarray
    n_tokens: np.ndarray


def responses_of(lab: Lab, iteration: int, split: str) -> Responses:
    """Read one split of ``generations``."""
    frame = lab.store.read("generations", lab.plan.fingerprints[asset_name("generations", iteration)])
    return responses_in(frame, split)


def responses_in(frame: pl.DataFrame, split: str) -> Responses:
    """One split of rows of ``generations``."""
    frame = frame.filter(pl.col("split") == split).sort("problem_id", "sample_index", maintain_order=True)
    return Responses(
        frame["problem_id"].unique(maintain_order=True).to_list(),
        frame["problem_id"].rle_id().cast(pl.Int64).to_numpy(),
        (frame["verdict"] == "correct").to_numpy(),
        (frame["strict_verdict"] == "correct").to_numpy(),
        frame,
    )


def splits_of(lab: Lab, iteration: int) -> dict[str, Responses]:
    """Both splits, the columns ``MEASURED`` read once; a split without responses is left out."""
    frame = lab.store.read("generations", lab.plan.fingerprints[asset_name("generations", iteration)], MEASURED)
    found = {split: responses_in(frame, split) for split in SPLITS}
    return {split: responses for split, responses in found.items() if responses.problem_ids}


def bootstrap_of(lab: Lab, responses: Responses) -> np.ndarray:
    """The experiment's bootstrap multiplicities for these problems, float64 [R, P]."""
    statistics = lab.experiment.statistics
    return resample_counts(len(responses.problem_ids), statistics.resamples, statistics.seed)


def gaps_of(item: Filter, responses: Responses, scores: Mapping[str, np.ndarray]) -> ProblemGaps:
    """The gap of a filter, problem by problem.

    Args:
        scores: float [N] of every verifier that it reads, by label.
    """
    weights = item.weights_of(responses.problem_index, scores, responses.is_correct)
    return problem_gaps(responses.problem_index, responses.is_correct, weights, len(responses.problem_ids))


def check_same_problems(now: list[str], then: list[str]) -> None:
    """Refuse to pair what is not the same problems in the same order.

    Raises:
        StorageError: naming one that stands on one side only.
    """
    if now != then:
        alone = sorted(set(now) ^ set(then)) or now
        raise StorageError(
            "generations",
            f"two iterations were evaluated on different problems, for example {alone[0]}",
            remedy="the tables do not belong to one experiment: delete them and run it again",
        )


class ScoreTable:
    """All verifiers' scores of one iteration, the table read once."""

    def __init__(self, lab: Lab, iteration: int) -> None:
        columns = ["verifier", "response_id", "score", "verdict", "n_tokens"]
        fingerprint = lab.plan.fingerprints[asset_name("verification_scores", iteration)]
        frame = lab.store.read("verification_scores", fingerprint, columns)
        self._fingerprint = fingerprint
        self._parts = {str(name[0]): part for name, part in frame.partition_by("verifier", as_dict=True).items()}

    def of(self, verifier: str, responses: Responses) -> Scores:
        """One verifier's scores in the responses' order.

        Raises:
            StorageError: a response that the verifier has not scored, or has scored more than once. (A verdict that
                could not be parsed is a row of its own, not a missing one.)
        """
        part = self._parts.get(verifier)
        if part is None:
            raise self._incomplete(f"no scores by {verifier} (there are: {', '.join(self._parts) or 'none'})")
        wanted = responses.frame.select("response_id")
        joined = wanted.join(part, on="response_id", how="left", maintain_order="left")
        missing = joined["verdict"].null_count()
        if missing or joined.height != wanted.height:
            raise self._incomplete(
                f"{missing:,} of {wanted.height:,} responses have no score by {verifier}"
                if missing
                else f"{joined.height - wanted.height:,} scores by {verifier} are of responses that have one already"
            )
        return Scores(
            joined["score"].fill_null(float("nan")).to_numpy().copy(),
            (joined["verdict"] == "correct").to_numpy(),
            (joined["verdict"] == "unparseable").to_numpy(),
            joined["n_tokens"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        )

    def _incomplete(self, problem: str) -> StorageError:
        return StorageError(
            f"verification_scores {self._fingerprint}",
            problem,
            remedy="the table does not belong to these generations: delete its file and run the experiment again",
        )


def with_ends(**intervals: Interval) -> dict[str, float]:
    """``gap=Interval(...)`` as the columns gap, gap_low and gap_high."""
    cells: dict[str, float] = {}
    for name, interval in intervals.items():
        cells |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return cells


def without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """An undefined number is NULL in a table."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
