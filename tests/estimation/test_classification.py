"""Precision, recall, verdict accuracy and the three other "gaps", by hand."""

import math

import numpy as np
import pytest

from ops.estimation.bootstrap import resample_counts
from ops.estimation.classification import classify, oracle_minus_selected
from ops.estimation.gap import estimate_gap

# Problem 0: correct 1 1 0 0, accepted 1 0 1 0.  Problem 1: correct 1 0 0 0, accepted 1 0 0 0.
PROBLEM = np.repeat([0, 1], 4)
TRUTH = np.array([1, 1, 0, 0, 1, 0, 0, 0], bool)
ACCEPTED = np.array([1.0, 0, 1, 0, 1, 0, 0, 0])
COUNTS = resample_counts(2, 400, 0)


def test_by_hand():
    result = classify(PROBLEM, TRUTH, ACCEPTED, COUNTS, 0.95)
    assert result.precision.value == pytest.approx(2 / 3)  # accepted 0, 2, 4; of them 0 and 4 correct
    assert result.recall.value == pytest.approx(2 / 3)  # correct 0, 1, 4; of them 0 and 4 accepted
    assert result.verification_accuracy.value == pytest.approx(6 / 8)  # wrong on 1 and 2
    assert result.generation_accuracy.value == pytest.approx(3 / 8)
    assert result.verification_accuracy_minus_generation_accuracy.value == pytest.approx(3 / 8)
    assert result.precision_minus_accuracy.value == pytest.approx(2 / 3 - 3 / 8)
    # The gap of 2412.02674 is another number: ((1/2 - 1/2) + (1 - 1/4)) / 2.
    assert estimate_gap(PROBLEM, TRUTH, ACCEPTED, COUNTS, 0.95).gap.value == pytest.approx(3 / 8)


def test_intervals_are_ratios_of_resampled_sums():
    # Resamples of two problems: (2,0) precision 1/2, (1,1) 2/3, (0,2) 1/1.  Difference to accuracy 0, 7/24, 3/4.
    result = classify(PROBLEM, TRUTH, ACCEPTED, np.array([[2.0, 0], [1, 1], [0, 2]]), 0.9999)
    assert (result.precision.low, result.precision.high) == pytest.approx((0.5, 1.0), abs=1e-3)
    assert (result.precision_minus_accuracy.low, result.precision_minus_accuracy.high) == pytest.approx(
        (0.0, 0.75), abs=1e-3
    )


def test_an_unparseable_verdict_is_no_verdict():
    # Response 1 (correct, not accepted) had none: 7 verdicts, 6 right; recall still counts it as not accepted.
    parseable = np.arange(8) != 1
    result = classify(PROBLEM, TRUTH, ACCEPTED, COUNTS, 0.95, parseable)
    assert result.verification_accuracy.value == pytest.approx(6 / 7)
    assert result.recall.value == pytest.approx(2 / 3)
    assert result.n_unparseable == 1


def test_undefined_is_nan():
    none = classify(PROBLEM, TRUTH, np.zeros(8), COUNTS, 0.95)
    assert math.isnan(none.precision.value)
    assert math.isnan(none.precision_minus_accuracy.value)
    assert none.recall.value == 0.0
    assert math.isnan(classify(PROBLEM, np.zeros(8, bool), ACCEPTED, COUNTS, 0.95).recall.value)


def test_fractions_are_probabilities_of_acceptance():
    result = classify(np.zeros(2, int), np.array([True, False]), np.array([0.5, 0.25]), resample_counts(1, 9, 0), 0.95)
    assert result.precision.value == pytest.approx(0.5 / 0.75)
    assert result.recall.value == pytest.approx(0.5)
    assert result.verification_accuracy.value == pytest.approx((0.5 + 0.75) / 2)


def test_weights_that_accept_nothing_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        classify(PROBLEM, TRUTH, ACCEPTED * 2, COUNTS, 0.95)


def test_oracle_minus_selected_by_hand():
    # Problem 0: best score .9 shared by a correct and a wrong one: 1/2.  Problem 1: best is wrong: 0; oracle 1.
    # Problem 2: nothing parseable: uniform, 1/2; oracle 1.  Problem 3: nothing correct: 0; oracle 0.
    problem = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    score = np.array([0.9, 0.9, 0.1, 0.8, 0.2, np.nan, np.nan, 0.5])
    truth = np.array([1, 0, 1, 0, 1, 1, 0, 0], bool)
    result = oracle_minus_selected(problem, score, truth, resample_counts(4, 400, 0), 0.95)
    assert result.oracle.value == pytest.approx(3 / 4)
    assert result.selected.value == pytest.approx((1 / 2 + 0 + 1 / 2 + 0) / 4)
    assert result.oracle_minus_selected.value == pytest.approx(1 / 2)
    assert result.n_problems_without_score == 1
    assert result.oracle_minus_selected.low >= 0.0


def test_an_unparseable_score_is_never_selected_before_a_parseable_one():
    result = oracle_minus_selected(
        np.zeros(2, int), np.array([np.nan, -9.0]), np.array([True, False]), resample_counts(1, 9, 0), 0.95
    )
    assert result.selected.value == 0.0
