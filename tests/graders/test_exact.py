"""Normalised exact match, against the examples of the SQuAD normalisation worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.graders.exact import Exact, normalise
from ops.types import Problem

PROBLEM = Problem("p", "natural_questions", "eval", {"aliases": ["Austen", "J. Austen"]}, "Jane Austen")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Beatles!", "beatles"),
        ("a theatre", "theatre"),  # an article is a whole word
        ("J. K. Rowling", "j k rowling"),
        ("rock-and-roll", "rockandroll"),  # punctuation goes without a trace, as in SQuAD
        ("“Emma”", "emma"),
        ("\uff21\uff22\uff23", "abc"),  # full width
        ("ﬁve", "five"),  # a ligature
        ("Café", "café"),
        ("Cafe\u0301", "café"),
        ("14\u00a0July", "14 july"),
        ("A", "a"),  # nothing but an article: kept
        ("The The", "the the"),
        ("+", "+"),
        ("", ""),
        ("\0 \ud800", ""),
    ],
)
def test_normalising(text, normal):
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("text", "verdict", "strict", "answer"),
    [
        ("Jane Austen", "correct", "correct", "jane austen"),
        ("jane austen.", "correct", "correct", "jane austen"),
        ("\nAusten\n", "correct", "correct", "austen"),
        ("Answer: Jane Austen", "correct", "unparseable", "jane austen"),
        ("She wrote it in 1815.\nThe answer is: Jane Austen.", "correct", "unparseable", "jane austen"),
        ("**Answer:** J. Austen", "correct", "unparseable", "j austen"),
        ("Let me think.\nJane Austen", "correct", "unparseable", "jane austen"),
        ("Jane Austen wrote Emma", "incorrect", "incorrect", "jane austen wrote emma"),
        ("Charlotte Brontë", "incorrect", "incorrect", "charlotte brontë"),
        ("Jane Austen\nor Charlotte Brontë", "incorrect", "unparseable", "or charlotte brontë"),
        ("", "unparseable", "unparseable", None),
        (" \n\t", "unparseable", "unparseable", None),
        ("Answer:", "unparseable", "unparseable", None),
        ("x " * 400, "unparseable", "unparseable", None),
    ],
)
def test_grading(text, verdict, strict, answer):
    grade = Exact().grade(PROBLEM, text)
    assert (grade.verdict, grade.strict_verdict, grade.answer) == (verdict, strict, answer)
    assert bool(grade.reason) == (verdict != "correct")


def test_a_cut_response_is_never_strictly_correct():
    grade = Exact().grade(PROBLEM, "Jane Austen", finished=False)
    assert (grade.verdict, grade.strict_verdict) == ("correct", "unparseable")


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters()), st.booleans())
def test_the_grader_never_raises(text, finished):
    grade = Exact().grade(PROBLEM, text, finished)
    assert (grade.answer is None) == (grade.verdict == "unparseable")
    assert grade.strict_verdict in ("unparseable", grade.verdict)
    assert not grade.reason.startswith("grader crashed")
    (grade.answer or "").encode("utf-8")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=60))
def test_normalising_twice_changes_nothing_more(text):
    once = normalise(text)
    if len(once.split()) > 1:
        assert set(normalise(once).split()) <= set(once.split())
    assert "  " not in once and once == once.strip()


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", ["a " * 500_000, "Answer: " * 100_000, "." * 1_000_000, "\n" * 1_000_000])
def test_a_runaway_response_is_graded_at_once(text):
    assert Exact().grade(PROBLEM, text).verdict in ("incorrect", "unparseable")
