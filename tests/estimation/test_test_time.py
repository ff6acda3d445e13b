"""Best-of-n and votes by hand and against every subset."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.estimation.bootstrap import resample_counts
from ops.estimation.diversity import hit_probability
from ops.estimation.test_time import best_of_n, best_of_n_curve, pass_at_n, pass_at_n_curve
from ops.estimation.voting import vote, vote_curve


def _all_subsets(values, n):
    return itertools.combinations(range(len(values)), n)


def _select(score, truth, subset):
    """Correctness of the highest score of a subset, ties equally, NaN below everything."""
    key = [-math.inf if math.isnan(score[i]) else score[i] for i in subset]
    best = [i for i, value in zip(subset, key, strict=True) if value == max(key)]
    return np.mean([truth[i] for i in best])


def _elect(answers, truth, weights, subset):
    votes = {}
    for i in subset:
        if answers[i] is not None:
            votes[answers[i]] = votes.get(answers[i], 0.0) + weights[i]
    if not votes or max(votes.values()) == 0:
        return np.mean([truth[i] for i in subset])
    winners = [answer for answer, count in votes.items() if count >= max(votes.values()) * (1 - 1e-12)]
    right = {a: np.mean([truth[i] for i in range(len(truth)) if answers[i] == a]) for a in winners}
    return np.mean([right[a] for a in winners])


def test_best_of_n_by_hand():
    # Scores 1 2 3, only 2 correct.  n = 1: 1/3.  n = 2: of {1,2} {1,3} {2,3} the best is right once: 1/3.  n = 3: 0.
    value = best_of_n(np.zeros(3, int), np.array([1.0, 2, 3]), np.array([False, True, False]), 1, [1, 2, 3])
    assert value[0] == pytest.approx([1 / 3, 1 / 3, 0])


def test_best_of_n_with_ties_by_hand():
    # Scores 1 2 2, one of the tied is correct.  n = 2: {1,2} -> each of the 2s once: 1, 0; {2,2} -> 1/2: mean 1/2.
    value = best_of_n(np.zeros(3, int), np.array([1.0, 2, 2]), np.array([False, True, False]), 1, [2, 3, 4])
    assert value[0, :2] == pytest.approx([1 / 2, 1 / 2])
    assert math.isnan(value[0, 2])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, math.nan]), st.booleans()), min_size=1, max_size=7),
    st.integers(1, 7),
)
def test_best_of_n_equals_every_subset(group, n):
    score, truth = np.array([s for s, _ in group]), np.array([t for _, t in group])
    value = best_of_n(np.zeros(len(group), int), score, truth, 1, [n])[0, 0]
    if n > len(group):
        assert math.isnan(value)
    else:
        assert value == pytest.approx(np.mean([_select(score, truth, s) for s in _all_subsets(group, n)]))


def test_pass_at_n_is_the_kernel():
    truth = np.array([1, 0, 0, 1, 1, 0, 0], bool)
    value = pass_at_n(np.array([0, 0, 0, 1, 1, 1, 1]), truth, 2, [1, 2, 4])
    assert value[1] == pytest.approx([hit_probability(4, n)[2] for n in (1, 2, 4)])
    assert math.isnan(value[0, 2])


def test_curves_start_at_accuracy_and_end_at_the_whole_group():
    rng = np.random.default_rng(0)
    problem = np.repeat(np.arange(20), 16)
    truth = rng.random(320) < rng.random(20)[problem]
    score = truth + rng.normal(size=320)
    counts = resample_counts(20, 300, 0)
    best = best_of_n_curve(problem, score, truth, counts, 0.95)
    oracle = pass_at_n_curve(problem, truth, counts, 0.95)
    assert [point.n for point in best] == [1, 2, 4, 8, 16]
    assert best[0].accuracy.value == pytest.approx(truth.mean()) == oracle[0].accuracy.value
    selected = [truth[problem == p][score[problem == p].argmax()] for p in range(20)]
    assert best[-1].accuracy.value == pytest.approx(np.mean(selected))
    assert all(b.accuracy.value <= o.accuracy.value + 1e-12 for b, o in zip(best, oracle, strict=True))


def test_ragged_groups_default_to_what_half_of_the_problems_have():
    # At n = 3 problem 0 (two responses) is left out, and the best of problem 1's three is wrong.
    problem, truth = np.array([0, 0, 1, 1, 1]), np.array([1, 0, 1, 1, 0], bool)
    points = best_of_n_curve(problem, np.arange(5.0), truth, resample_counts(2, 99, 0), 0.95)
    assert [(point.n, point.n_problems) for point in points] == [(1, 2), (2, 2), (3, 1)]
    assert points[-1].accuracy.value == 0.0
    beyond = best_of_n_curve(problem, np.arange(5.0), truth, resample_counts(2, 99, 0), 0.95, ns=[3])[0]
    assert beyond.n_problems == 1 and beyond.accuracy.value == 0.0


def test_majority_by_hand():
    # a a b, a right.  n = 3: a.  n = 2: {a,a} right, {a,b} twice a tie 1/2: 2/3.  n = 1: 2/3.
    values = vote(np.zeros(3, int), ["a", "a", "b"], np.array([True, True, False]), 1, [1, 2, 3])
    assert values.value_PK[0] == pytest.approx([2 / 3, 2 / 3, 1])
    assert values.is_exact_K == (True, True, True)


def test_weighted_vote_by_hand():
    # b weighs .9 against a's .3 + .3, so b wins where it is; a NaN weight casts no vote.
    weights = np.array([0.3, 0.3, 0.9, np.nan])
    values = vote(np.zeros(4, int), ["a", "a", "b", "a"], np.array([True, True, False, True]), 1, [4, 3], weights)
    # n = 3: {0,1,2} {0,2,3} {1,2,3} b; {0,1,3} a: 1/4.
    assert values.value_PK[0] == pytest.approx([0, 1 / 4])


def test_weights_that_sum_equal_up_to_rounding_tie():
    values = vote(np.zeros(3, int), ["a", "a", "b"], np.array([True, True, False]), 1, [3], np.array([0.1, 0.2, 0.3]))
    assert values.value_PK[0, 0] == pytest.approx(0.5)  # 0.1 + 0.2 > 0.3 in floating point


def test_no_vote_takes_a_response_at_random():
    values = vote(np.zeros(2, int), [None, None], np.array([False, True]), 1, [1, 2])
    assert values.value_PK[0] == pytest.approx([0.5, 0.5])
    zero = vote(np.zeros(2, int), ["a", "b"], np.array([False, True]), 1, [2], np.zeros(2))
    assert zero.value_PK[0, 0] == pytest.approx(0.5)


def test_without_any_answer_a_vote_is_undefined():
    problem, truth, counts = np.array([0, 0, 1, 1]), np.array([1, 0, 1, 1], bool), resample_counts(2, 99, 0)
    for weights in (None, np.ones(4)):
        points = vote_curve(problem, [None] * 4, truth, counts, 0.95, weights=weights)
        assert [(point.n, point.n_problems) for point in points] == [(1, 0), (2, 0)]
        assert all(math.isnan(end) for point in points for end in vars(point.accuracy).values())
    # One answer somewhere: the problem without any takes one of its responses, 1/2; the other hands in x, 1.
    points = vote_curve(problem, [None, None, "x", None], truth, counts, 0.95)
    assert points[-1].accuracy.value == pytest.approx((1 / 2 + 1) / 2)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=7
    ),
    st.integers(1, 7),
)
def test_vote_equals_every_subset(group, n):
    answers, weights = [a for a, _ in group], np.array([w for _, w in group])
    truth = np.array([answer == "a" for answer in answers])
    value = vote(np.zeros(len(group), int), answers, truth, 1, [n], weights).value_PK[0, 0]
    if n > len(group):
        assert math.isnan(value)
    else:
        expected = np.mean([_elect(answers, truth, weights, s) for s in _all_subsets(group, n)])
        assert value == pytest.approx(expected)


def test_random_subsets_are_unbiased_and_their_error_is_told():
    rng = np.random.default_rng(0)
    n_problems, m = 60, 10
    problem = np.repeat(np.arange(n_problems), m)
    answers = [str(a) for a in rng.integers(0, 4, n_problems * m)]
    truth = np.array([answer == "0" for answer in answers])
    exact = vote(problem, answers, truth, n_problems, [5], subsets=252)  # C(10, 5) = 252: all of them
    assert exact.is_exact_K == (True,)
    assert (exact.variance_PK == 0).all()
    errors, told = [], []
    for seed in range(60):
        sampled = vote(problem, answers, truth, n_problems, [5], subsets=40, seed=seed)
        errors.append(sampled.value_PK.mean() - exact.value_PK.mean())
        told.append(math.sqrt(sampled.variance_PK.sum()) / n_problems)
    assert abs(np.mean(errors)) < 4 * np.std(errors) / math.sqrt(60)
    assert np.std(errors) == pytest.approx(np.mean(told), rel=0.3)


def test_subsets_do_not_depend_on_weights_and_repeat_with_the_seed():
    rng = np.random.default_rng(0)
    problem = np.repeat(np.arange(30), 32)
    answers = [str(a) for a in rng.integers(0, 5, 960)]
    truth = np.array([answer == "1" for answer in answers])
    counts = resample_counts(30, 200, 0)
    first = vote_curve(problem, answers, truth, counts, 0.95, subsets=64)
    again = vote_curve(problem, answers, truth, counts, 0.95, subsets=64, weights=np.full(960, 2.0))
    assert first == again
    assert [point.subsets for point in first] == [None, 64, 64, 64, 64, None]
    assert first[0].accuracy.value == pytest.approx(truth.mean())
    assert first[2].monte_carlo_error > 0 == first[-1].monte_carlo_error


def test_ragged_groups_vote_by_themselves():
    problem = np.array([0, 1, 1, 1])
    values = vote(problem, ["x", "a", "a", "b"], np.array([True, True, True, False]), 2, [1, 3])
    assert values.value_PK[:, 0] == pytest.approx([1, 2 / 3])
    assert math.isnan(values.value_PK[0, 1]) and values.value_PK[1, 1] == 1.0


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        vote(np.zeros(2, int), ["a", "b"], np.array([True, False]), 1, [1], np.array([np.inf, 1]))
    one = (np.zeros(2, int), ["a", "b"], np.array([True, False]), 1)
    with pytest.raises(ValueError, match="n must be at least 1"):
        vote(*one, [0])
    with pytest.raises(ValueError, match="at least 0"):
        vote(*one, [1], np.array([-0.1, 1]))
    with pytest.raises(ValueError, match="sorted by problem"):
        vote(np.array([1, 0]), ["a", "b"], np.array([True, False]), 2, [1])
    with pytest.raises(ValueError, match="subsets"):
        vote(*one, [1], subsets=1)
