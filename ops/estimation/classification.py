"""Verifiers as classifiers: precision, recall, accuracy of verdicts, and the other published "gaps" under own names.

Four quantities are called "generation-verification gap" in public. `ops.estimation.gap` computes the one of 2412.02674;
the other three are here, each under a name that says what it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.estimation.bootstrap import divide, mean_interval, percentile_interval, ratio_draws
from ops.estimation.gap import group_sizes, per_problem
from ops.estimation.ranks import best_share
from ops.types import Interval


@dataclass(frozen=True)
class Classification:
    """A filter's acceptance as a prediction that the response is correct; all pooled over responses.

    Attributes:
        precision: share of correct responses among the accepted; NaN where nothing is accepted.
        recall: share of accepted responses among the correct; NaN where nothing is correct. A correct response whose
            verdict could not be parsed was not accepted.
        verification_accuracy: share of parseable verdicts that are right (accepted and correct, or neither).
        generation_accuracy: share of correct responses, pooled like the others (problems of equal group size weigh
            the same, so it equals J(f) there).
        verification_accuracy_minus_generation_accuracy: difference of these two, paired in every resample.
        precision_minus_accuracy: precision - generation_accuracy, paired in every resample.
        n_unparseable: verdicts left out of verification_accuracy.
    """

    precision: Interval
    recall: Interval
    verification_accuracy: Interval
    generation_accuracy: Interval
    verification_accuracy_minus_generation_accuracy: Interval
    precision_minus_accuracy: Interval
    n_unparseable: int


def classify(
    problem_index: np.ndarray,
    is_correct: np.ndarray,
    accepted: np.ndarray,
    counts_RP: np.ndarray,
    confidence: float,
    is_parseable: np.ndarray | None = None,
) -> Classification:
    """Score a filter's acceptance against the truth; intervals are ratios of resampled sums.

    Args:
        problem_index: int [N], 0..P-1, every problem at least once.
        is_correct: bool [N].
        accepted: float [N] in [0, 1], the filter's weights where its ``accepts`` is true; fractions are
            probabilities of acceptance (top-n shares its last places) and count as such.
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.
        is_parseable: bool [N], False where the verdict could not be parsed; None means all could.

    Raises:
        ValueError: a problem without a response, or ``accepted`` outside [0, 1].
    """
    if not ((accepted >= 0) & (accepted <= 1)).all():
        raise ValueError("accepted must lie in [0, 1]: weights such as exp(s / beta) accept and reject nothing")
    n_problems = counts_RP.shape[1]
    size_P = group_sizes(problem_index, n_problems)
    truth = is_correct.astype(float)
    parseable = np.ones(len(truth)) if is_parseable is None else is_parseable.astype(float)
    right = parseable * np.where(is_correct, accepted, 1.0 - accepted)
    correct_P, accepted_P, hit_P, right_P, parseable_P = (
        per_problem(problem_index, value, n_problems) for value in (truth, accepted, accepted * truth, right, parseable)
    )
    # Columns: precision, recall, verification accuracy, generation accuracy.
    numerator_PK = np.stack([hit_P, hit_P, right_P, correct_P], axis=1)
    denominator_PK = np.stack([accepted_P, correct_P, parseable_P, size_P], axis=1)
    value_K = divide(numerator_PK.sum(0), denominator_PK.sum(0))
    draws_RK = ratio_draws(numerator_PK, denominator_PK, counts_RP)

    def interval(*signed_columns: tuple[int, int]) -> Interval:
        columns, signs = (np.array(part) for part in zip(*signed_columns, strict=True))
        return percentile_interval(float(value_K[columns] @ signs), draws_RK[:, columns] @ signs, confidence)

    return Classification(
        precision=interval((0, 1)),
        recall=interval((1, 1)),
        verification_accuracy=interval((2, 1)),
        generation_accuracy=interval((3, 1)),
        verification_accuracy_minus_generation_accuracy=interval((2, 1), (3, -1)),
        precision_minus_accuracy=interval((0, 1), (3, -1)),
        n_unparseable=int((parseable == 0).sum()),
    )


@dataclass(frozen=True)
class OracleMinusSelected:
    """How much of what sampling finds the verifier leaves on the table; means over problems.

    Attributes:
        oracle: share of problems with at least one correct response (pass@N, N the whole group).
        selected: accuracy of the response with the highest score; ties share equally.
        oracle_minus_selected: their difference, paired by problem.
        n_problems_without_score: problems with no parseable score; they select uniformly.
    """

    oracle: Interval
    selected: Interval
    oracle_minus_selected: Interval
    n_problems_without_score: int


def oracle_minus_selected(
    problem_index: np.ndarray, score: np.ndarray, is_correct: np.ndarray, counts_RP: np.ndarray, confidence: float
) -> OracleMinusSelected:
    """pass@N minus the accuracy of the response that the verifier scores highest.

    Args:
        problem_index: int [N], 0..P-1, every problem at least once.
        score: float [N], NaN where the verdict could not be parsed.
        is_correct: bool [N].
        counts_RP: bootstrap multiplicities of the P problems.
        confidence: e.g. 0.95.

    Raises:
        ValueError: a problem without a response.
    """
    n_problems = counts_RP.shape[1]
    group_sizes(problem_index, n_problems)
    truth = is_correct.astype(float)
    oracle_P = (per_problem(problem_index, truth, n_problems) > 0).astype(float)
    selected_P = per_problem(problem_index, best_share(problem_index, score) * truth, n_problems)
    scored_P = per_problem(problem_index, (~np.isnan(score)).astype(float), n_problems)
    return OracleMinusSelected(
        oracle=mean_interval(oracle_P, counts_RP, confidence),
        selected=mean_interval(selected_P, counts_RP, confidence),
        oracle_minus_selected=mean_interval(oracle_P - selected_P, counts_RP, confidence),
        n_problems_without_score=int((scored_P == 0).sum()),
    )
