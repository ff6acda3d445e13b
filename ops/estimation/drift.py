"""Score drift: how much better a verifier thinks of responses than they are."""

from __future__ import annotations

import numpy as np

from ops.estimation.bootstrap import divide
from ops.estimation.gap import per_problem


def score_drift(
    problem_index: np.ndarray, probability: np.ndarray, is_correct: np.ndarray, n_problems: int
) -> np.ndarray:
    """Mean score minus mean truth of each problem's responses, float64 [P] from -1 to 1.

    A response whose verdict could not be parsed is left out of both means: nothing was said of it, so nothing is
    compared with its truth. NaN where that leaves no response.

    Args:
        problem_index: int [N], 0..P-1.
        probability: scores [N] mapped to 0..1, NaN where unparseable.
        is_correct: bool [N].
    """
    said = ~np.isnan(probability)
    index = problem_index[said]
    difference = probability[said] - is_correct[said]
    return divide(per_problem(index, difference, n_problems), per_problem(index, np.ones(len(difference)), n_problems))
