"""One iteration's responses and scores as flat arrays, the form in which every estimator takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ops.lab import Lab
from ops.plan import asset_name


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
        frame: the rows of ``generations`` in the same order.
    """

    problem_ids: list[str]
    problem_index: np.ndarray
    is_correct: np.ndarray
    is_strict: np.ndarray
    frame: pl.DataFrame


def responses_of(lab: Lab, iteration: int, split: str) -> Responses:
    """Read one split of ``generations``."""
    frame = lab.store.read("generations", lab.plan.fingerprints[asset_name("generations", iteration)])
    frame = frame.filter(pl.col("split") == split).sort("problem_id", "sample_index", maintain_order=True)
    ids = frame["problem_id"].unique(maintain_order=True).to_list()
    place = {identity: i for i, identity in enumerate(ids)}
    return Responses(
        ids,
        np.array([place[identity] for identity in frame["problem_id"]], dtype=np.int64),
        (frame["verdict"] == "correct").to_numpy(),
        (frame["strict_verdict"] == "correct").to_numpy(),
        frame,
    )


def scores_of(lab: Lab, iteration: int, verifier: str, responses: Responses) -> tuple[np.ndarray, np.ndarray]:
    """(scores float [N] with NaN where unparseable, unparseable bool [N]) of one verifier, in the responses' order."""
    frame = lab.store.read(
        "verification_scores",
        lab.plan.fingerprints[asset_name("verification_scores", iteration)],
        ["verifier", "response_id", "score", "verdict"],
    ).filter(pl.col("verifier") == verifier)
    joined = responses.frame.select("response_id").join(frame, on="response_id", how="left", maintain_order="left")
    return joined["score"].fill_null(float("nan")).to_numpy().copy(), (joined["verdict"] == "unparseable").to_numpy()
