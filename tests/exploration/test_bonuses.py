"""Every bonus against groups computed by hand; the rules that all outcome bonuses share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops.exploration.bonuses import BONUSES
from ops.exploration.bonuses.base import OutcomeBonus
from ops.exploration.bonuses.batch import Batch
from ops.exploration.bonuses.entropy import Entropy
from ops.exploration.bonuses.none import NoBonus
from ops.exploration.bonuses.ucb import Ucb
from ops.exploration.bonuses.ucb_con import UcbCon
from ops.exploration.bonuses.ucb_mean import UcbMean
from ops.exploration.counts import AnswerCounts
from tests.exploration.groups import group

OUTCOME = (Ucb, UcbMean, UcbCon, Batch)


MIXED = group(["a", "a", "b", None], seen=[4, 4, 0, 16], correct=[0, 1])
"""Seen before: a 4 times, b never, unparseable responses 16 times."""


def test_ucb():
    # min(1, sqrt(1/4)) = 1/2, never seen: 1, min(1, sqrt(1/16)) = 1/4
    assert Ucb().of_group(MIXED).tolist() == [0.5, 0.5, 1.0, 0.25]
    # N = 1 is worth as much as N = 0: min{1, .} and sqrt(1/1)
    assert Ucb().of_group(group(["a", "b"], seen=[1, 2])).tolist() == pytest.approx([1.0, math.sqrt(0.5)])


def test_ucb_mean():
    # b = 1/2, 1/2, 1, 1/4, sum 9/4; b_i - (9/4 - b_i) / 3:
    # 1/2 - 7/12 = -1/12 (twice), 1 - 5/12 = 7/12, 1/4 - 8/12 = -5/12
    assert UcbMean().of_group(MIXED).tolist() == pytest.approx([-1 / 12, -1 / 12, 7 / 12, -5 / 12])


def test_ucb_con():
    assert UcbCon().of_group(MIXED).tolist() == [0.0, 0.0, 0.5, -0.25]  # b - 1/2
    assert UcbCon(baseline=1.0).of_group(MIXED).tolist() == [-0.5, -0.5, 0.0, -0.75]


def test_batch():
    # a twice: one other each, -1/4; b and the unparseable one alone: 0
    assert Batch().of_group(MIXED).tolist() == [-0.25, -0.25, 0.0, 0.0]
    # three a and two unparseable of 5: -2/5 and, as one answer, -1/5
    found = Batch().of_group(group(["a", None, "a", "a", None]))
    assert found.tolist() == pytest.approx([-0.4, -0.2, -0.4, -0.4, -0.2])


def test_none_and_entropy_have_no_bonus_by_answer():
    for bonus in (NoBonus(), Entropy()):
        assert bonus.of_group(MIXED).tolist() == [0.0] * 4 and bonus.weight == 0.0
    weights = [bonus.entropy_weight for bonus in (NoBonus(), Ucb(), Entropy(), Entropy(coefficient=0.3))]
    assert weights == [0.0, 0.0, 0.01, 0.3]


@pytest.mark.parametrize("kind", OUTCOME)
def test_the_coefficient_is_a_weight_and_not_in_the_bonus(kind):
    assert (kind(coefficient=0.7).weight, kind().weight) == (0.7, 0.2)
    assert kind(coefficient=0.7).of_group(MIXED).tolist() == kind().of_group(MIXED).tolist()


@pytest.mark.parametrize("kind", OUTCOME)
def test_no_bonus_where_all_are_correct(kind):
    solved = group(["a", "a", "b"], seen=[4, 4, 0], correct=[0, 1, 2])
    assert kind().of_group(solved).tolist() == [0.0, 0.0, 0.0]
    assert np.count_nonzero(kind(zero_when_all_correct=False).of_group(solved)) > 0
    almost = group(["a", "a", "b"], seen=[4, 4, 0], correct=[0, 1])
    assert np.count_nonzero(kind().of_group(almost)) > 0
    nobody = group(["a", "a", "b"], seen=[4, 4, 0])
    assert np.count_nonzero(kind().of_group(nobody)) > 0


UNPARSEABLE = ["a", None, None, "b"]
RULES = {
    # (unparseable, counting): N(a) = 4, N(b) = 1 and 9 unparseable ones before the group; one a, one b, two None in it
    ("one", "before"): {
        Ucb: [1 / 2, 1 / 3, 1 / 3, 1],
        UcbMean: [1 / 2 - 5 / 9, 1 / 3 - 11 / 18, 1 / 3 - 11 / 18, 1 - 7 / 18],  # means of three: 5/3, 11/6, 7/6
        UcbCon: [0, -1 / 6, -1 / 6, 1 / 2],
        Batch: [0, -1 / 4, -1 / 4, 0],
    },
    ("one", "after"): {  # N = 5, 11, 11, 2
        Ucb: [5**-0.5, 11**-0.5, 11**-0.5, 2**-0.5],
        UcbCon: [5**-0.5 - 0.5, 11**-0.5 - 0.5, 11**-0.5 - 0.5, 2**-0.5 - 0.5],
        Batch: [0, -1 / 4, -1 / 4, 0],
    },
    ("apart", "before"): {  # N = 4, 0, 0, 1
        Ucb: [1 / 2, 1, 1, 1],
        UcbMean: [-1 / 2, 1 / 6, 1 / 6, 1 / 6],  # 1/2 - 1; 1 - (1/2 + 1 + 1) / 3
        UcbCon: [0, 1 / 2, 1 / 2, 1 / 2],
        Batch: [0, 0, 0, 0],
    },
    ("apart", "after"): {  # N = 5, 1, 1, 2
        Ucb: [5**-0.5, 1, 1, 2**-0.5],
        Batch: [0, 0, 0, 0],
    },
    ("not", "before"): {  # the formula over a and b alone
        Ucb: [1 / 2, 0, 0, 1],
        UcbMean: [-1 / 2, 0, 0, 1 / 2],  # 1/2 - 1 and 1 - 1/2
        UcbCon: [0, 0, 0, 1 / 2],
        Batch: [0, 0, 0, 0],
    },
    ("not", "after"): {  # N = 5, 2
        Ucb: [5**-0.5, 0, 0, 2**-0.5],
        UcbMean: [5**-0.5 - 2**-0.5, 0, 0, 2**-0.5 - 5**-0.5],
        Batch: [0, 0, 0, 0],
    },
}


@pytest.mark.parametrize("rule", RULES, ids="-".join)
def test_unparseable_answers_and_counting(rule):
    unparseable, counting = rule
    for kind, expected in RULES[rule].items():
        bonus = kind(unparseable=unparseable, counting=counting)
        counts = AnswerCounts()
        counts.add("p", ["a"] * 4 + ["b"] + [None] * 9, bonus)
        found = bonus.of_group(group(UNPARSEABLE, counts.seen("p", UNPARSEABLE, bonus)))
        assert found.tolist() == pytest.approx(expected), kind.__name__


def test_where_unparseable_responses_do_not_count_n_is_that_of_the_others():
    # two of three that count give a: -1/3 each, not -1/4
    found = Batch(unparseable="not").of_group(group(["a", "a", "b", None]))
    assert found.tolist() == pytest.approx([-1 / 3, -1 / 3, 0, 0])


@pytest.mark.parametrize("kind", OUTCOME)
def test_groups_that_hold_one_answer_or_none(kind):
    bonus = kind(unparseable="not")
    assert bonus.of_group(group([None, None], seen=[0, 0])).tolist() == [0.0, 0.0]
    alone = {Ucb: 0.5, UcbMean: 0.0, UcbCon: 0.0, Batch: 0.0}[kind]  # of an answer seen 4 times
    assert bonus.of_group(group([None, "a", None], seen=[0, 4, 0])).tolist() == [0.0, alone, 0.0]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans()), min_size=2, max_size=12),
    st.sampled_from(OUTCOME),
    st.sampled_from(["one", "apart", "not"]),
    st.sampled_from(["before", "after"]),
    st.data(),
)
def test_bonuses_are_bounded_and_go_with_their_responses(drawn, kind, unparseable, counting, data):
    bonus = kind(unparseable=unparseable, counting=counting)
    answers = [answer for answer, _ in drawn]
    counts = AnswerCounts()
    counts.add("p", ["a"] * 3 + ["b", None], bonus)
    correct = [i for i, (answer, right) in enumerate(drawn) if right and answer is not None]
    found = bonus.of_group(group(answers, counts.seen("p", answers, bonus), correct))
    assert found.dtype == np.float64 and (np.abs(found) <= 1.0).all()
    if kind is UcbMean and unparseable != "not":
        assert found.sum() == pytest.approx(0.0, abs=1e-9)  # what is above the others' mean is made up for below it
    order = data.draw(st.permutations(range(len(drawn))))
    moved = [answers[i] for i in order]
    right = [k for k, i in enumerate(order) if i in correct]
    again = bonus.of_group(group(moved, counts.seen("p", moved, bonus), right))
    assert again == pytest.approx(found[list(order)])


def test_which_read_counts():
    assert {name for name, kind in BONUSES.items() if kind.uses_counts} == {"ucb", "ucb_mean", "ucb_con"}
    assert {kind for kind in BONUSES.values() if issubclass(kind, OutcomeBonus)} == set(OUTCOME)
    assert all(kind().name == name for name, kind in BONUSES.items())


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (UcbCon, "baseline", 1.5),
        (UcbCon, "baseline", -0.1),
        (Ucb, "baseline", 0.5),
        (Ucb, "coefficient", -1.0),
        (Entropy, "coefficient", -0.1),
        (Ucb, "unparseable", "zero"),
        (Batch, "counting", "during"),
    ],
)
def test_what_is_refused(kind, field, value):
    with pytest.raises(ValidationError, match=field):
        kind(**{field: value})
