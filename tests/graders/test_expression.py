"""Arithmetic expressions: exact values, a whitelist, bounds, and a grader that never raises."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.graders.expression import Expression, value_of
from ops.types import Problem

PROBLEM = Problem("p", "jsonl", "eval", {}, "24")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("24", 24),
        ("4 * (10 - 4)", 24),
        ("2 + 3 * 4", 14),
        ("2 - 3 - 4", -5),
        ("8 / (3 - 8/3)", 24),  # 8 / (1/3)
        ("1/3", Fraction(1, 3)),
        ("0.1 + 0.2", Fraction(3, 10)),  # exact, not binary
        ("2 ^ 10", 1024),
        ("2 ** -1", Fraction(1, 2)),
        ("-(3 - 5)", 2),
        ("1,000 + 1", 1001),
        ("3 × 4 ÷ 2 − 1", 5),
        (r"3 \times 4 \div 2", 6),
        ("007 + 1", 8),
        ("1.05 + 0", Fraction(21, 20)),
    ],
)
def test_values_by_hand(text, value):
    assert value_of(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "1 +", "(1", "1)", "2 3", "__import__('os')", "abs(1)", "[1]", "1 if 1 else 2", "1 < 2", "1 == 1",
     "5 % 3", "7 // 2", "True", "1j", "'1'", "1 / 0", "0 ** -1", "9**9**9", "2 ** 0.5", "2 ** 65", "9" * 400,
     "(10**60)**6", "10**60 * 10**60 * 10**60 * 10**60 * 10**60 * 10**60",
     "1 << 3", "lambda: 1", "1e999", "\0", "1 + 1" * 200],
)  # fmt: skip
def test_refused(text):
    assert value_of(text) is None


@pytest.mark.parametrize(
    ("text", "verdict", "strict", "answer"),
    [
        ("4 * (10 - 4)", "correct", "correct", "24"),
        ("I take 10 - 4 first.\n4 * (10 - 4)", "correct", "correct", "24"),
        ("4 * (10 - 4) = 24", "correct", "unparseable", "24"),
        ("The answer is 4 * (10 - 4).", "correct", "unparseable", "24"),
        ("It is (4 * (10 - 4)).", "correct", "unparseable", "24"),
        ("(as asked: 4 * (10 - 4))", "correct", "unparseable", "24"),
        ("5 * (10 - 4) = 24", "incorrect", "unparseable", "30"),  # the expression counts, not the claim
        ("4 * (10 - 4) + 1", "incorrect", "incorrect", "25"),
        ("24", "correct", "correct", "24"),
        ("It is 24.", "correct", "unparseable", "24"),
        ("1/3", "incorrect", "incorrect", "1/3"),
        ("no idea", "unparseable", "unparseable", None),
        ("", "unparseable", "unparseable", None),
        ("9**9**9", "unparseable", "unparseable", None),
    ],
)
def test_grading(text, verdict, strict, answer):
    grade = Expression().grade(PROBLEM, text)
    assert (grade.verdict, grade.strict_verdict, grade.answer) == (verdict, strict, answer)


def test_a_cut_response_is_never_strictly_correct():
    assert Expression().grade(PROBLEM, "4 * 6", finished=False).strict_verdict == "unparseable"


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(st.characters()), st.text(alphabet="0123456789+-*/^(). ,=\n", max_size=60)), st.booleans())
def test_the_grader_never_raises(text, finished):
    grade = Expression().grade(PROBLEM, text, finished)
    assert (grade.answer is None) == (grade.verdict == "unparseable")
    assert (grade.verdict == "correct") == (grade.answer == "24")
    assert not grade.reason.startswith("grader crashed")


NUMBERS = st.integers(0, 99).map(lambda n: (str(n), Fraction(n)))


def _joined(pair):
    (left, a), sign, (right, b) = pair
    return f"({left} {sign} {right})", a + b if sign == "+" else a - b if sign == "-" else a * b


EXPRESSIONS = st.recursive(
    NUMBERS, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(_joined), max_leaves=6
)


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS)
def test_values_agree_with_plain_arithmetic(case):
    text, value = case
    assert value_of(text) == value


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["(" * 1_000_000, "1+" * 500_000, "9**" * 300_000, "1 " * 500_000, "-1" * 500_000, "1.1.1" * 200_000]
)
def test_a_runaway_response_is_graded_soon(text):
    assert Expression().grade(PROBLEM, text).verdict in ("incorrect", "unparseable")
