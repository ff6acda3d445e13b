"""Curves of training as sampling: by hand, against sets counted one by one, and how often their intervals are right.

By hand: three problems, groups of two; correct answers are c and k, ``-`` is unparseable.

::

    step        0            1            2            3
                policy base  policy base  policy base  policy base
    A           x y    x x   x c    y z                c c    c w
    B           p -    p q                p p    r p
    C                                                  - -    m k

Read after 2 and after 4 steps: the windows are steps 0, 1 and steps 2, 3.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.estimation.bootstrap import resample_counts
from ops.estimation.sampling_curves import (
    Groups,
    Key,
    Outcomes,
    budget_steps,
    curve_intervals,
    distinct_in_groups,
    sampling_curves,
    window_curves,
)

NAN = float("nan")
CORRECT = "ck"
GROUPS = Groups(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 3, 0, 2, 3]), 3)
BUDGETS = np.array([2, 4])


def outcomes(*drawn: str) -> Outcomes:
    """A group for each word, a response for each letter."""
    letters = np.array([list(word) for word in drawn])
    codes = np.where(letters == "-", -1, np.vectorize(ord)(letters) - ord("a"))
    return Outcomes(codes, np.isin(letters, list(CORRECT)))


POLICY = outcomes("xy", "xc", "cc", "p-", "pp", "--")
BASE = outcomes("xx", "yz", "cw", "pq", "rp", "mk")


def values(curves, n_problems: int = 3) -> dict[tuple, list[float]]:
    found = curve_intervals(curves, resample_counts(n_problems, 200, 0), 0.95)
    return {tuple(key): [interval.value for interval in items] for key, items in found.items()}


def test_solved_questions_by_hand():
    """After 2 steps the policy has solved A (c), the base model nothing; after 4 the base model A (c) and C (k)."""
    found = values(sampling_curves(GROUPS, POLICY, BASE, BUDGETS))
    assert found["policy", "all", "solved_questions"] == pytest.approx([1 / 3, 1 / 3])
    assert found["base", "all", "solved_questions"] == pytest.approx([0, 2 / 3])
    assert found["policy_minus_base", "all", "solved_questions"] == pytest.approx([1 / 3, -1 / 3])


def test_distinct_answers_by_hand():
    """After 2 steps A and B were visited. Policy: xyc and p: (3 + 1)/2; base: xyz and pq: (3 + 2)/2. A is solved (by
    the policy) and B is not. After 4: xyc, p and nothing: 4/3; xyzcw, pqr, mk: 10/3. A and C are solved (C by the base
    model): (3 + 0)/2 and (5 + 2)/2; B is not: 1 and 3. Correct: c, so 1/2 and then 1/3; base none, then c and k: 2/3.
    """
    found = values(sampling_curves(GROUPS, POLICY, BASE, BUDGETS))
    expected = {
        ("all", "distinct_answers"): ([2, 4 / 3], [2.5, 10 / 3]),
        ("solved", "distinct_answers"): ([3, 1.5], [3, 3.5]),
        ("unsolved", "distinct_answers"): ([1, 1], [2, 3]),
        ("all", "distinct_correct_answers"): ([1 / 2, 1 / 3], [0, 2 / 3]),
    }
    for key, (policy, base) in expected.items():
        assert found["policy", *key] == pytest.approx(policy), key
        assert found["base", *key] == pytest.approx(base), key
        assert found["policy_minus_base", *key] == pytest.approx(np.subtract(policy, base)), key


def test_distinct_answers_per_group_by_hand():
    """Policy 2 2 1 in the groups A0 A1 B0 of the first window, base 1 2 2; then A3 B2 C3: 1 1 0 and 2 2 2.

    Either is right in A1 only, then in A3 and C3. By its own outcome the policy solves A1, then A3; the base model
    nothing, then A3 and C3.
    """
    found = values(sampling_curves(GROUPS, POLICY, BASE, BUDGETS))
    expected = {
        "all": ([5 / 3, 2 / 3], [5 / 3, 2]),
        "solved": ([2, 1 / 2], [2, 2]),
        "unsolved": ([3 / 2, 1], [3 / 2, 2]),
    }
    for questions, (policy, base) in expected.items():
        key = (questions, "distinct_answers_per_group")
        assert found["policy", *key] == pytest.approx(policy), key
        assert found["base", *key] == pytest.approx(base), key
        assert found["policy_minus_base", *key] == pytest.approx(np.subtract(policy, base)), key
    own = "distinct_answers_per_group_own"
    assert found["policy", "solved", own] == pytest.approx([2, 1])
    assert found["policy", "unsolved", own] == pytest.approx([3 / 2, 1 / 2])
    assert found["base", "solved", own] == pytest.approx([NAN, 2], nan_ok=True)
    assert found["base", "unsolved", own] == pytest.approx([5 / 3, 2])
    assert ("policy_minus_base", "solved", own) not in found


def test_the_difference_is_paired_by_problem():
    """After 4 steps the policy has two answers fewer of every problem (3 - 5, 1 - 3, 0 - 2): -2 in every resample."""
    curves = sampling_curves(GROUPS, POLICY, BASE, BUDGETS)
    found = curve_intervals(curves, resample_counts(3, 500, 1), 0.95)
    last = found[Key("policy_minus_base", "all", "distinct_answers")][-1]
    assert (last.value, last.low, last.high) == pytest.approx((-2, -2, -2))
    alone = found[Key("base", "all", "distinct_answers")][-1]
    assert alone.low < 3 and alone.high > 4


def test_intervals_resample_problems():
    """Resamples AAA, BBB and CCC of what the base model has found after 4 steps: 5, 3 and 2; the central half of these
    lies between 2.5 and 4. After 2 steps C has not been visited and that resample is undefined: 3 and 2: 2.25, 2.75."""
    curves = sampling_curves(GROUPS, POLICY, BASE, BUDGETS)
    found = curve_intervals(curves, 3.0 * np.eye(3), 0.5)[Key("base", "all", "distinct_answers")]
    assert [(item.low, item.high) for item in found] == [pytest.approx((2.25, 2.75)), pytest.approx((2.5, 4))]


def test_how_many_problems_a_value_is_of():
    curves = sampling_curves(GROUPS, POLICY, BASE, BUDGETS)
    expected = {
        ("all", "solved_questions"): [3, 3],
        ("all", "distinct_answers"): [2, 3],
        ("solved", "distinct_answers"): [1, 2],
        ("unsolved", "distinct_answers"): [1, 1],
        ("unsolved", "distinct_answers_per_group"): [2, 1],
    }
    for key, numbers in expected.items():
        assert curves[Key("policy_minus_base", *key)].n_problems.tolist() == numbers, key


def test_means_of_windows():
    """First window, groups A0 A1 B0: (1 + 3 + 5 + 8)/4, as NaN is left out; then A3 B2 C3: nothing at all."""
    value_GN = np.array([[1, 3], [5, NAN], [NAN, NAN], [8, NAN], [NAN, NAN], [NAN, NAN]])
    curves = window_curves(GROUPS, {"entropy_nats_correct": value_GN}, BUDGETS)
    found = values(curves)["policy", "all", "entropy_nats_correct"]
    assert found == pytest.approx([17 / 4, NAN], nan_ok=True)
    assert curves[Key("policy", "all", "entropy_nats_correct")].n_problems.tolist() == [2, 0]


def test_nothing_that_could_be_parsed():
    """No answer is 0 different answers, and not an undefined number of them; nothing is solved, so that ``solved`` is
    undefined."""
    nothing = outcomes(*["--"] * 6)
    found = values(sampling_curves(GROUPS, nothing, nothing, BUDGETS))
    assert found["policy", "all", "distinct_answers"] == found["policy", "unsolved", "distinct_answers"] == [0, 0]
    assert found["policy_minus_base", "all", "distinct_answers_per_group"] == [0, 0]
    assert found["policy", "all", "solved_questions"] == [0, 0]
    assert np.isnan(found["policy", "solved", "distinct_answers"]).all()
    assert np.isnan(found["policy_minus_base", "solved", "distinct_answers_per_group"]).all()


def test_one_problem():
    """A alone: every resample would be A: no interval. Before its visit nothing is known of it, and it is unsolved."""
    groups = Groups(np.array([0, 0]), np.array([1, 3]), 1)
    curves = sampling_curves(groups, outcomes("xy", "xc"), outcomes("xx", "yz"), np.array([1, 2, 4]))
    found = curve_intervals(curves, resample_counts(1, 200, 0), 0.95)
    curve = found[Key("policy", "all", "distinct_answers")]
    assert [item.value for item in curve[1:]] == [2, 3] and np.isnan(curve[0].value)
    assert all(np.isnan([item.low, item.high]).all() for item in curve)
    assert [item.value for item in found[Key("policy", "all", "solved_questions")]] == [0, 0, 1]
    group = [item.value for item in found[Key("policy", "all", "distinct_answers_per_group")]]
    assert group == pytest.approx([NAN, 2, 2], nan_ok=True)


def test_distinct_in_groups():
    assert distinct_in_groups(np.array([[3, 1, 3, -1], [-1, -1, -1, -1], [0, 0, 0, 0]])).tolist() == [2, 0, 1]


@pytest.mark.parametrize("steps", [1, 7, 40, 41, 100, 1999])
def test_budgets(steps):
    found = budget_steps(steps)
    assert found[-1] == steps and found[0] >= 1 and len(found) == min(steps, 40)
    assert np.diff(found, prepend=0).min() >= 1 and np.ptp(np.diff(found, prepend=0)) <= 1


@st.composite
def trainings(draw):
    """Groups in any order, and what both samplers drew."""
    n_problems, n_groups, n = draw(st.integers(1, 4)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups = Groups(rng.integers(0, n_problems, n_groups), rng.integers(0, 8, n_groups), n_problems)

    def drawn() -> Outcomes:
        codes = rng.integers(-1, 5, (n_groups, n))
        return Outcomes(codes, codes >= rng.integers(2, 6))

    return groups, drawn(), drawn()


def counted(groups: Groups, budget: int, policy: Outcomes, base: Outcomes) -> dict[tuple, float]:
    """Set by set, of what has been drawn before ``budget`` steps are done."""
    answers = [[set() for _ in range(groups.n_problems)] for _ in range(2)]
    solved = [[False] * groups.n_problems for _ in range(2)]
    for g, (problem, step) in enumerate(zip(groups.problem_G, groups.step_G, strict=True)):
        for i, found in enumerate((policy, base)):
            if step < budget:
                answers[i][problem] |= {int(code) for code in found.answer_GN[g] if code >= 0}
                solved[i][problem] |= bool(found.correct_GN[g].any())
    visited = {int(problem) for problem in groups.problem_G[groups.step_G < budget]}
    unsolved = [p for p in visited if not solved[0][p] and not solved[1][p]]
    rest = [p for p in visited if p not in unsolved]
    found = {}
    for i, name in enumerate(("policy", "base")):
        found[name, "all", "solved_questions"] = np.mean(solved[i])
        for questions, members in (("all", sorted(visited)), ("solved", rest), ("unsolved", unsolved)):
            sizes = [len(answers[i][p]) for p in members]
            found[name, questions, "distinct_answers"] = np.mean(sizes) if sizes else NAN
    return found


@settings(max_examples=80, deadline=None)
@given(trainings())
def test_curves_equal_sets(training):
    groups, policy, base = training
    budgets = budget_steps(8, 3)  # 3, 6, 8
    found = values(sampling_curves(groups, policy, base, budgets), groups.n_problems)
    for place, budget in enumerate(budgets):
        for key, value in counted(groups, budget, policy, base).items():
            assert found[key][place] == pytest.approx(value, nan_ok=True), (key, budget)


@settings(max_examples=40, deadline=None)
@given(trainings())
def test_a_sampler_does_not_differ_from_itself_and_what_was_found_stays_found(training):
    groups, policy, _ = training
    curves = sampling_curves(groups, policy, policy, budget_steps(8, 4))
    intervals = curve_intervals(curves, resample_counts(groups.n_problems, 200, 0), 0.9)
    for key, items in intervals.items():
        if key.sampler == "policy_minus_base":
            assert {item.value for item in items if not np.isnan(item.value)} <= {0.0}, key
            assert all(np.isnan(item.low) or (item.low, item.high) == (0, 0) for item in items), key
    solved = [item.value for item in intervals[Key("policy", "all", "solved_questions")]]
    assert solved == sorted(solved)
    for metric in ("distinct_answers", "distinct_correct_answers"):
        assert (np.diff(curves[Key("policy", "all", metric)].numerator_PB, axis=1) >= 0).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Each problem has 1 to 8 answers that the policy finds equally likely, and 8 that the base model does. Of k
    equally likely ones, m draws find k (1 - (1 - 1/k)^m): with two visits of 4, m = 8. 400 trainings of 60 problems:
    the standard error of the share is 1.1 %; a percentile interval of a mean of 60 falls short by a little."""
    rng, n_problems, hits = np.random.default_rng(7), 60, 0
    expected = np.array([k * (1 - (1 - 1 / k) ** 8) for k in range(1, 9)])
    truth = expected.mean() - expected[-1]
    problem_G, step_G = np.repeat(np.arange(n_problems), 2), np.tile([0, 1], n_problems)
    groups = Groups(problem_G, step_G, n_problems)
    counts_RP = resample_counts(n_problems, 400, 3)
    for _ in range(400):
        size_G = rng.integers(1, 9, n_problems)[problem_G]
        policy = (rng.random((len(problem_G), 4)) * size_G[:, None]).astype(int)
        base = rng.integers(0, 8, (len(problem_G), 4))
        wrong = np.zeros(policy.shape, dtype=bool)
        curves = sampling_curves(groups, Outcomes(policy, wrong), Outcomes(base, wrong), np.array([2]))
        key = Key("policy_minus_base", "unsolved", "distinct_answers")
        [item] = curve_intervals({key: curves[key]}, counts_RP, 0.95)[key]
        hits += item.low <= truth <= item.high
    assert 0.91 <= hits / 400 <= 0.985
