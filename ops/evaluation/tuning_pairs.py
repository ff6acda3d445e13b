"""Which labelled pairs a copy of a judge learns from: never those of the model that it judges (2502.10563 §4.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import polars as pl

from ops.errors import DatasetError

MIN_LABELLED = 10
"""Labelled pairs that differ: fewer teach nothing."""


def mean_labels(labels: pl.DataFrame) -> pl.DataFrame:
    """(pair_id, label): the mean of what annotators said of each pair, from rows of ``human_labels``."""
    return labels.group_by("pair_id").agg(pl.col("label").mean()).sort("pair_id")


def problem_folds(problem_ids: Iterable[str], folds: int, seed: int) -> dict[str, int]:
    """The fold 0.. of each problem, by the rank of its hash: equal sizes, whatever the order of the problems."""

    def rank(problem: str) -> bytes:
        return hashlib.blake2b(f"fold:{seed}:{problem}".encode(), digest_size=16).digest()

    return {problem: i % folds for i, problem in enumerate(sorted(set(problem_ids), key=rank))}


def pairs_to_learn(
    pairs: pl.DataFrame, labels: pl.DataFrame, left_out: str, problems: Iterable[str] = ()
) -> pl.DataFrame:
    """The labelled pairs that a copy learns from: those of the other models.

    Not among them: identical pairs (their margin is 0 whatever the weights), and pairs with the very texts of a pair of
    the model left out (a label of the same comparison under another name).

    Args:
        pairs: rows of the table ``pairs``. ``labels``: of ``human_labels``.
        left_out: label of the model that the copy will judge.
        problems: left out as well.

    Returns:
        The rows of ``pairs`` with a column ``label``, in an order that does not depend on that of the labels.
    """
    texts = ["problem_id", "response", "reference_response"]
    own = pairs.filter(pl.col("model") == left_out).select(texts).unique()
    others = pairs.filter((pl.col("model") != left_out) & ~pl.col("is_identical"))
    others = others.filter(~pl.col("problem_id").is_in(list(problems)))
    others = others.join(own, on=texts, how="anti", nulls_equal=True)
    found = others.join(mean_labels(labels), on="pair_id", how="inner")
    return found.sort("model", "problem_id", "sample_index", "pair_id")


def check_enough(n: int, judge: str, left_out: str, where: str) -> None:
    """Refuse to train on next to nothing.

    Args:
        where: what the labels come from.

    Raises:
        DatasetError: below ``MIN_LABELLED``, with what to do about it.
    """
    if n < MIN_LABELLED:
        raise DatasetError(
            where,
            f"{n} labelled pairs of other models than {left_out} to fine-tune {judge} on, at least {MIN_LABELLED}",
            field="label",
            remedy="label more pairs of the other models (mindgap evaluate export, import), raise "
            f"evaluation.labels.count, or take the judge {judge} out until there are some",
        )
