"""Ranks of scores within each problem, ties kept as ties: one sort that several estimators and filters share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranks:
    """Where each response stands within its problem; int [N] each, in the order of the input.

    Attributes:
        below_N: responses of the same problem with a lower score.
        above_N: responses of the same problem with a higher score.
        tied_N: responses of the same problem with the same score, itself included.
        size_N: responses of the same problem.
    """

    below_N: np.ndarray
    above_N: np.ndarray
    tied_N: np.ndarray
    size_N: np.ndarray


def ranks_within(problem_index: np.ndarray, score: np.ndarray) -> Ranks:
    """Rank ``score`` (float [N]) within each problem; NaN (unparseable) ranks as negative infinity.

    So where a parseable score exists it wins, and where none does all responses of the problem tie.
    """
    if not len(score):
        return Ranks(*(np.zeros(0, dtype=np.int64) for _ in range(4)))
    key = np.where(np.isnan(score), -np.inf, score)
    order = np.lexsort((key, problem_index))
    sorted_key, sorted_problem = key[order], problem_index[order]
    first_of_problem = np.r_[True, sorted_problem[1:] != sorted_problem[:-1]]
    first_of_run = first_of_problem | np.r_[True, sorted_key[1:] != sorted_key[:-1]]
    problem_start, problem_size = _blocks(first_of_problem)
    run_start, run_size = _blocks(first_of_run)
    below, tied, size = np.empty_like(order), np.empty_like(order), np.empty_like(order)
    below[order], tied[order], size[order] = run_start - problem_start, run_size, problem_size
    return Ranks(below, size - below - tied, tied, size)


def _blocks(is_first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of the block that each element lies in, from the flags of first elements."""
    starts = np.flatnonzero(is_first)
    lengths = np.diff(np.r_[starts, len(is_first)])
    return np.repeat(starts, lengths), np.repeat(lengths, lengths)


def best_share(problem_index: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Probability [N] that each response is the one selected by the highest score of its problem.

    Ties share equally; a problem without a parseable score selects uniformly.
    """
    ranks = ranks_within(problem_index, score)
    return np.where(ranks.above_N == 0, 1.0 / np.maximum(ranks.tied_N, 1), 0.0)
