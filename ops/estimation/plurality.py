"""Majority vote over all responses of a problem: the accuracy of its plurality answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ops.estimation.gap import group_sizes
from ops.estimation.voting import vote


def plurality_accuracy(
    problem_index: np.ndarray, answers: Sequence[str | None], is_correct: np.ndarray, n_problems: int
) -> np.ndarray:
    """Correctness of each problem's most frequent answer, float64 [P], as in ``vote`` with all responses of it.

    Answers that tie count as their expected share, so a value between 0 and 1 is a tie of right and wrong answers, or
    a problem without any answer (the accuracy of its responses). NaN everywhere where no response at all has an answer:
    there is nothing to vote over.

    Args:
        problem_index: int [N], ascending, 0..P-1, every problem at least once.
        answers: N canonical final answers, None where there is none.
        is_correct: bool [N].
    """
    size_P = group_sizes(problem_index, n_problems)
    value_P = np.full(n_problems, np.nan)
    if all(answer is None for answer in answers):
        return value_P
    for size in np.unique(size_P).tolist():
        problems = np.flatnonzero(size_P == size)
        rows = np.flatnonzero(size_P[problem_index] == size)
        index = np.searchsorted(problems, problem_index[rows])
        chosen = [answers[row] for row in rows.tolist()]
        value_P[problems] = vote(index, chosen, is_correct[rows], len(problems), [size]).value_PK[:, 0]
    return value_P
