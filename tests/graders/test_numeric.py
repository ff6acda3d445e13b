"""The numeric grader: one value however it is written, and a grader that never raises."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.graders.numeric import Numeric, canonical_number, read_last_number, read_number
from ops.types import Problem


def problem(answer: str, **data) -> Problem:
    return Problem("p", "gsm8k", "eval", data, answer)


EIGHTEEN = {
    "plain": "18",
    "full stop": "It is 18.",
    "decimals": "18.00",
    "decimals and full stop": "So she makes 18.0.",
    "dollars": "She makes $18 every day.",
    "dollars after": "She makes 18$ every day",
    "latex dollars": r"She makes \$18 every day",
    "percent": "It grows by 18%.",
    "latex percent": r"It grows by 18\%",
    "unit": "It weighs 18kg.",
    "area": "It has 18m2.",
    "hashes": "3 * 6 = 18\n#### 18",
    "hashes with dollars": "#### $18",
    "A": "9 * 2 = $<<9*2=18>>18\nA: 18",
    "the answer is": "The answer is 18.",
    "the answer is, then more": "The answer is 18. I checked it 3 times.",
    "answer, bold": "**Answer:** $18",
    "boxed": r"so \boxed{18}",
    "boxed, then more": r"so \boxed{18} because 3 \cdot 6",
    "boxed with a unit": r"\boxed{18\text{ dollars}}",
    "then another problem": "#### 18\n\nProblem: Ann has 3 apples.",
    "the last of two": "First I thought 17, but it is 18",
    "equation": "16 - 3 - 4 = 9 and 9 * 2 = 18",
    "difference": "20-2 is the same as 18",
    "fraction": "36/2",
    "latex fraction": r"\frac{36}{2}",
    "exponent": "1.8e1",
    "ellipsis": "so...18",
    "thin space": "18\u2009km",
}


@pytest.mark.parametrize("text", EIGHTEEN.values(), ids=EIGHTEEN.keys())
@pytest.mark.parametrize("gold", ["18", "18.0", "$18", "18."])
def test_eighteen(text, gold):
    grade = Numeric().grade(problem(gold), text)
    assert (grade.verdict, grade.answer, grade.reason) == ("correct", "18", "")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("-5", "-5"),
        ("−5", "-5"),
        ("$-5", "-5"),
        ("-$5", "-5"),
        ("it is 10-5", "5"),  # a difference, not a negative number
        ("(4)-5", "5"),
        ("10–15 people", "15"),
        ("1,234,567", "1234567"),
        ("1{,}234", "1234"),
        ("$1,080.50", "1080.5"),
        ("the set 1,2", "2"),
        ("3,18", "18"),
        (".5", "0.5"),
        ("0.50", "0.5"),
        ("1/3", "1/3"),
        ("-2/4", "-0.5"),
        ("7 eggs on 3/4/2020", "7"),
        ("version 1.2.3 of 7", "7"),
        ("1e-3", "0.001"),
        ("5:30", "30"),
        ("007", "7"),
        ("-0", "0"),
        ("x2 is 4", "4"),
        ("A: 3 + 15 = 18", "18"),
        ("1/0 or 4", "4"),
    ],
)
def test_reading(text, answer):
    found = read_last_number(text)
    assert found is not None and canonical_number(found) == answer


@pytest.mark.parametrize("text", ["", "none", "x2y", "eighteen", "1/0", "3/4/2020", "٣", "9" * 400, "\0", "\ud800"])
def test_unparseable(text):
    grade = Numeric().grade(problem("18"), text)
    assert (grade.verdict, grade.strict_verdict, grade.answer) == ("unparseable", "unparseable", None)
    assert grade.reason == "no number found"


@pytest.mark.parametrize(
    ("text", "finished", "strict"),
    [
        ("#### 18", True, "correct"),
        ("9 * 2 = 18\n#### 18\n", True, "correct"),
        ("#### 1,080", True, "incorrect"),
        ("#### 18.00", True, "correct"),
        ("#### -18", True, "incorrect"),
        ("#### 18", False, "unparseable"),
        ("#### 18.", True, "unparseable"),
        ("#### $18", True, "unparseable"),
        ("####18", True, "unparseable"),
        ("#### 18 eggs", True, "unparseable"),
        ("#### 18\nThat is all.", True, "unparseable"),
        ("#### 17\n#### 18", True, "unparseable"),
        ("A: 18", True, "unparseable"),
        ("18", True, "unparseable"),
    ],
)
def test_strict(text, finished, strict):
    assert Numeric().grade(problem("18"), text, finished).strict_verdict == strict


def test_another_prefix():
    assert Numeric("A:").grade(problem("18"), "9 * 2\nA: 18").strict_verdict == "correct"
    assert Numeric("A:").grade(problem("18"), "#### 18").strict_verdict == "unparseable"


def test_a_wrong_number_names_both():
    grade = Numeric().grade(problem("18"), "#### 17")
    assert (grade.verdict, grade.answer, grade.reason) == ("incorrect", "17", "17 is not 18")


def test_aliases_and_a_reference_that_is_no_number():
    assert Numeric().grade(problem("18", aliases=["19"]), "19").verdict == "correct"
    assert Numeric().grade(problem("east"), "19").reason == "the reference answer 'east' is not a number"
    missing = Numeric().grade(Problem("p", "gsm8k", "eval", {}), "19")
    assert missing.verdict == "unparseable" and "no reference answer" in missing.reason


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text",
    ["1" * 1_000_000, "1," * 500_000, "#### " * 200_000, r"\boxed{" * 100_000, "-" * 1_000_000, "1.1" * 300_000,
     "A: 1 2\n" * 100_000, r"\frac{1}{" * 100_000, "$ " * 500_000, "1e999 " * 100_000],
)  # fmt: skip
def test_a_runaway_response_is_graded_at_once(text):
    assert Numeric().grade(problem("18"), text).verdict in ("incorrect", "unparseable")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="0123456789.,-$%/eA:# \n\\boxed{}", max_size=80)), st.booleans())
def test_the_grader_never_raises(text, finished):
    grade = Numeric().grade(problem("18"), text, finished)
    assert (grade.answer is None) == (grade.verdict == "unparseable")
    assert (grade.verdict == "correct") == (grade.answer == "18")
    assert grade.strict_verdict in ("unparseable", grade.verdict)
    assert not grade.reason.startswith("grader crashed")


@settings(max_examples=300, deadline=None)
@given(st.fractions(max_denominator=10**6), st.booleans())
def test_a_canonical_number_is_read_back(value, in_a_sentence):
    shown = canonical_number(value)
    assert read_number(shown) == value
    assert read_last_number(f"So the answer is {shown}." if in_a_sentence else shown) == value


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_thousands_separators(value):
    assert read_last_number(f"It costs {value:,} in all") == value
    assert read_number(f"{value:,}") == Fraction(value)
