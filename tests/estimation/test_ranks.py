"""Ranks within problems by hand."""

import numpy as np
import pytest

from ops.estimation.ranks import best_share, ranks_within

PROBLEM = np.array([0, 0, 0, 0, 1, 1])
SCORE = np.array([2.0, 1.0, 2.0, np.nan, 7.0, 8.0])


def test_ranks_by_hand():
    ranks = ranks_within(PROBLEM, SCORE)
    assert ranks.below_N.tolist() == [2, 1, 2, 0, 0, 1]
    assert ranks.above_N.tolist() == [0, 2, 0, 3, 1, 0]
    assert ranks.tied_N.tolist() == [2, 1, 2, 1, 1, 1]
    assert ranks.size_N.tolist() == [4, 4, 4, 4, 2, 2]


def test_equal_scores_of_different_problems_are_no_tie():
    assert ranks_within(np.array([0, 1]), np.array([5.0, 5.0])).tied_N.tolist() == [1, 1]


def test_order_of_the_input_is_kept():
    shuffled = np.random.default_rng(0).permutation(6)
    plain, mixed = ranks_within(PROBLEM, SCORE), ranks_within(PROBLEM[shuffled], SCORE[shuffled])
    assert mixed.below_N.tolist() == plain.below_N[shuffled].tolist()


def test_best_share_by_hand():
    assert best_share(PROBLEM, SCORE) == pytest.approx([0.5, 0, 0.5, 0, 0, 1])
    assert best_share(np.zeros(2, int), np.full(2, np.nan)) == pytest.approx([0.5, 0.5])
    assert ranks_within(np.zeros(0, int), np.zeros(0)).below_N.tolist() == []
