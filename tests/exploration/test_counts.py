"""N(x, a) over training: what is counted, what a bonus reads of it, and that a resumed training reads the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.exploration.bonuses.entropy import Entropy
from ops.exploration.bonuses.none import NoBonus
from ops.exploration.bonuses.ucb import Ucb
from ops.exploration.bonuses.ucb_con import UcbCon
from ops.exploration.counts import AnswerCounts
from tests.exploration.groups import group

LIKE_NONE = ["", "None", "null", "unparseable", "answers", "a"]
ANSWERS = st.one_of(st.none(), st.sampled_from(LIKE_NONE), st.text(max_size=6))
GROUPS = st.lists(
    st.tuples(st.sampled_from(["p", "q", "unparseable"]), st.lists(ANSWERS, min_size=1, max_size=8)), max_size=8
)
RULES = [
    Ucb(unparseable=unparseable, counting=counting)
    for unparseable in ("one", "apart", "not")
    for counting in ("before", "after")
]


def read_again(counts: AnswerCounts) -> AnswerCounts:
    """As a checkpoint keeps them."""
    return AnswerCounts.from_json(json.loads(json.dumps(counts.as_json())))


def test_before_and_after():
    bonus, counts = Ucb(), AnswerCounts()
    assert counts.seen("p", ["a", "b"], bonus).tolist() == [0, 0]
    counts.add("p", ["a", "a", "b", None], bonus)
    # before: as counted; after: with the two a, the one c and the one None of the new group, all at once
    group = ["a", "c", "a", None]
    assert counts.seen("p", group, bonus).tolist() == [2, 0, 2, 1]
    assert counts.seen("p", group, Ucb(counting="after")).tolist() == [4, 1, 4, 2]
    assert counts.seen("q", group, bonus).tolist() == [0, 0, 0, 0]
    assert counts.seen("p", group, bonus).dtype == np.int64
    assert counts.total == 4, "reading counts nothing"


def test_unparseable_responses():
    for rule, before, after, total in (("one", 2, 4, 3), ("apart", 0, 1, 1), ("not", 0, 0, 1)):
        counts = AnswerCounts()
        counts.add("p", [None, None, "a"], Ucb(unparseable=rule))
        assert counts.total == total
        assert counts.seen("p", [None, None], Ucb(unparseable=rule)).tolist() == [before] * 2
        assert counts.seen("p", [None, None], Ucb(unparseable=rule, counting="after")).tolist() == [after] * 2


def test_no_text_is_the_unparseable_class():
    counts = AnswerCounts()
    counts.add("p", [None] * 3, Ucb())
    texts = ["", "None", "null", "unparseable", "\0", "\ufffd"]
    assert counts.seen("p", texts, Ucb()).tolist() == [0] * len(texts)
    assert read_again(counts).seen("p", [*texts, None], Ucb()).tolist() == [*[0] * len(texts), 3]


@pytest.mark.parametrize("bonus", [NoBonus(), Entropy()])
def test_bonuses_that_read_no_counts_are_counted_all_the_same(bonus):
    counts = AnswerCounts()
    counts.add("p", ["a", None], bonus)
    assert counts.total == 2 and counts.seen("p", ["a", None, "b"], bonus).tolist() == [1, 1, 0]


def test_equality_whatever_the_order():
    left, right = AnswerCounts(), AnswerCounts()
    left.add("p", ["a", "b"], Ucb())
    left.add("q", ["c"], Ucb())
    right.add("q", ["c"], Ucb())
    right.add("p", ["b", "a"], Ucb())
    assert left == right and json.dumps(left.as_json()) == json.dumps(right.as_json())
    right.add("p", ["a"], Ucb())
    assert left != right


@settings(deadline=None)
@given(GROUPS, st.sampled_from(RULES))
def test_the_sum_of_counts_is_what_was_counted(groups, bonus):
    counts = AnswerCounts()
    for problem_id, answers in groups:
        counts.add(problem_id, answers, bonus)
    drawn = [(problem_id, answer) for problem_id, answers in groups for answer in answers]
    counted = [item for item in drawn if item[1] is not None or bonus.unparseable == "one"]
    assert counts.total == len(counted)
    for problem_id, answer in counted:
        seen = counts.seen(problem_id, [answer], Ucb(unparseable=bonus.unparseable))
        assert seen.tolist() == [counted.count((problem_id, answer))]


@settings(deadline=None)
@given(GROUPS, GROUPS, st.sampled_from(RULES))
def test_a_resumed_training_gives_the_same_bonuses(first, later, rule):
    bonus = UcbCon(unparseable=rule.unparseable, counting=rule.counting)
    kept = AnswerCounts()
    for problem_id, answers in first:
        kept.add(problem_id, answers, bonus)
    resumed = read_again(kept)
    assert resumed == kept
    for problem_id, answers in later:
        bonuses = []
        for counts in (kept, resumed):
            seen_N = counts.seen(problem_id, answers, bonus)
            bonuses.append(bonus.of_group(group(answers, seen_N)).tolist())
            counts.add(problem_id, answers, bonus)
        assert bonuses[0] == bonuses[1]
    assert resumed == kept
