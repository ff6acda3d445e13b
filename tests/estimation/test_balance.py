"""B-STaR's balance score (2412.17256), by hand."""

import numpy as np
import pytest

from ops.estimation.balance import balance_scores, kept_counts


def test_balance_score_by_hand() -> None:
    # n* = 4. One problem per line: kept n, correct n' -> min(n'/4, 1) * n'/n
    #  8 kept, 8 correct: min(2, 1) * 8/8                = 1
    #  8 kept, 4 correct: min(1, 1) * 4/8                = 1/2    enough right ones, half of all wrong
    #  2 kept, 2 correct: 2/4       * 2/2                = 1/2    all right, too few
    #  5 kept, 3 correct: 3/4       * 3/5                = 9/20
    #  3 kept, 0 correct: 0         * 0                  = 0
    #  0 kept           : 0         * (0/0, some share)  = 0
    kept_P, correct_P = np.array([8, 8, 2, 5, 3, 0]), np.array([8, 4, 2, 3, 0, 0])
    assert balance_scores(kept_P, correct_P, 4).tolist() == pytest.approx([1, 0.5, 0.5, 0.45, 0, 0])
    # n* = 8 as released: min(8/8, 1) * 1 = 1; 4/8 * 4/8 = 1/4; 2/8 * 1 = 1/4; 3/8 * 3/5 = 9/40
    assert balance_scores(kept_P, correct_P, 8).tolist() == pytest.approx([1, 0.25, 0.25, 0.225, 0, 0])


def test_more_right_responses_never_lower_the_score_and_more_wrong_ones_never_raise_it() -> None:
    right, wrong = np.meshgrid(np.arange(12), np.arange(12), indexing="ij")
    score = balance_scores((right + wrong).ravel(), right.ravel(), 5).reshape(12, 12)
    assert (np.diff(score, axis=0) >= 0).all() and (np.diff(score, axis=1) <= 0).all()
    assert (np.diff(score, axis=0) > 0).any() and (np.diff(score, axis=1) < 0).any()
    assert score.min() == 0 and score.max() == 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="target of at least 1"):
        balance_scores(np.array([1]), np.array([1]), 0)
    with pytest.raises(ValueError, match="among the kept"):
        balance_scores(np.array([1]), np.array([2]), 4)


def test_equal_responses_of_a_problem_count_once() -> None:
    # problem 0 keeps a (right) twice, b (right), c (wrong), and drops d: n = 3, n' = 2
    # problem 1 keeps a, which is wrong there: n = 1, n' = 0;  problem 2 keeps nothing;  problem 3 has no response
    counts = kept_counts(
        np.array([0, 0, 0, 0, 0, 1, 2]),
        np.array(["a", "a", "b", "c", "d", "a", "b"]),
        np.array([1, 1, 1, 1, 0, 1, 0], dtype=bool),
        np.array([1, 1, 1, 0, 1, 0, 1], dtype=bool),
        4,
    )
    assert counts.kept_P.tolist() == [3, 1, 0, 0] and counts.correct_P.tolist() == [2, 0, 0, 0]
    # min(2/4, 1) * 2/3 = 1/3
    assert balance_scores(*counts, 4).tolist() == pytest.approx([1 / 3, 0, 0, 0])


def test_nothing_kept_at_all() -> None:
    nothing = kept_counts(np.array([0, 1]), np.array(["a", "b"]), np.zeros(2, dtype=bool), np.ones(2, dtype=bool), 2)
    assert nothing.kept_P.tolist() == [0, 0] and balance_scores(*nothing, 4).tolist() == [0, 0]


def test_of_equal_kept_responses_one_verdict_of_correct_suffices() -> None:
    # problem 0: a is accepted once of its two kept times: n = 1, n' = 1.  problem 1: a is right only where not kept
    counts = kept_counts(
        np.array([0, 0, 1, 1]),
        np.array(["a", "a", "a", "a"]),
        np.array([True, True, True, False]),
        np.array([False, True, False, True]),
        2,
    )
    assert counts.kept_P.tolist() == [1, 1] and counts.correct_P.tolist() == [1, 0]
