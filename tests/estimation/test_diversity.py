"""pass@k, distinct answers and entropy by hand and against brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.estimation.diversity import (
    answer_counts,
    correct_answers,
    entropy_nats,
    expected_distinct,
    hit_probability,
    measured_ks,
    powers_of_two,
)


def pass_at_k(n_correct: int, n: int, k: int) -> float:
    return float(hit_probability(n, k)[n_correct])


def distinct_in_k(answers: list[str | None], k: int) -> float:
    return expected_distinct(answer_counts(answers), hit_probability(len(answers), k))


def distinct_correct_in_k(answers: list[str | None], is_correct: list[bool], k: int) -> float:
    return distinct_in_k(correct_answers(answers, is_correct), k)


def test_pass_at_k_by_hand():
    # n = 4, c = 1: pass@2 = 1 - C(3,2)/C(4,2) = 1 - 3/6.
    assert pass_at_k(1, 4, 2) == pytest.approx(0.5)
    assert pass_at_k(0, 4, 4) == 0.0
    assert pass_at_k(1, 4, 4) == 1.0
    assert pass_at_k(2, 5, 1) == pytest.approx(0.4)


def test_k_above_n_is_undefined():
    assert math.isnan(pass_at_k(3, 3, 4))
    assert math.isnan(distinct_in_k(["a"], 2))


def test_kernel_equals_the_binomial_formula():
    for n, k in ((10, 3), (64, 64), (64, 1), (7, 5)):
        expected = [1 - math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)]
        assert hit_probability(n, k) == pytest.approx(expected)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7), st.integers(1, 7))
def test_distinct_answers_equal_brute_force(answers, k):
    if k > len(answers):
        assert math.isnan(distinct_in_k(answers, k))
        return
    subsets = list(itertools.combinations(answers, k))
    expected = np.mean([len({answer for answer in subset if answer is not None}) for subset in subsets])
    assert distinct_in_k(answers, k) == pytest.approx(expected)


def test_distinct_correct_by_hand():
    """x x y z of which x and z are right. Two of four, without replacement: x is hit with 1 - C(2,2) / C(4,2) = 5/6, z
    with 1 - C(3,2) / C(4,2) = 1/2: 4/3. Of all four: 2."""
    answers, is_correct = ["x", "x", "y", "z"], [True, True, False, True]
    assert distinct_correct_in_k(answers, is_correct, 2) == pytest.approx(4 / 3)
    assert distinct_correct_in_k(answers, is_correct, 4) == pytest.approx(2.0)
    assert math.isnan(distinct_correct_in_k(answers, is_correct, 5))


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()), min_size=1, max_size=8), st.integers(1, 8))
def test_distinct_correct_lies_between_pass_at_k_and_distinct(pairs, k):
    answers, is_correct = [answer for answer, _ in pairs], [correct for _, correct in pairs]
    n = len(pairs)
    if k <= n:
        right = distinct_correct_in_k(answers, is_correct, k)
        assert pass_at_k(sum(is_correct), n, k) - 1e-12 <= right <= distinct_in_k(answers, k) + 1e-12
        assert pass_at_k(sum(is_correct), n, 1) == pytest.approx(np.mean(is_correct))
        assert distinct_correct_in_k(answers, is_correct, 1) == pytest.approx(np.mean(is_correct))


def test_entropy_by_hand():
    assert entropy_nats(["a", "a", "b", "b"]) == pytest.approx(math.log(2))
    assert entropy_nats(["a", "a", None]) == 0.0
    assert math.isnan(entropy_nats([None]))


def test_powers_of_two():
    assert powers_of_two(64) == [1, 2, 4, 8, 16, 32, 64]
    assert powers_of_two(6) == [1, 2, 4, 6]
    assert powers_of_two(1) == [1]


def test_k_goes_as_far_as_half_of_the_problems():
    assert measured_ks(np.array([1, 64, 64, 64])) == [1, 2, 4, 8, 16, 32, 64]  # one short group does not cut it
    assert measured_ks(np.array([4, 64])) == [1, 2, 4, 8, 16, 32, 64]  # half of them
    assert measured_ks(np.array([4, 64, 4])) == [1, 2, 4]  # a third
    assert measured_ks(np.array([6, 5, 7, 64])) == [1, 2, 4, 7]
    assert measured_ks(np.array([1])) == [1]


@given(st.lists(st.integers(1, 70), min_size=1, max_size=9))
def test_the_largest_k_is_the_largest_that_half_reach(sizes):
    top = measured_ks(np.array(sizes))[-1]
    assert 2 * sum(size >= top for size in sizes) >= len(sizes)
    assert all(2 * sum(size >= larger for size in sizes) < len(sizes) for larger in sizes if larger > top)
