"""Where graders and tasks read the final answer of a response."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.graders import GRADERS
from ops.graders.base import MAX_RESPONSE_CHARS
from ops.graders.exact import Exact, normalise
from ops.graders.expression import Expression
from ops.graders.math import Math
from ops.graders.numeric import Numeric, last_number_span, read_last_number
from ops.graders.traced import Traced, trimmed
from ops.tasks import TASKS
from ops.tasks.arithmetic import Arithmetic
from ops.tasks.countdown import Countdown
from ops.tasks.gsm8k import Gsm8k
from ops.tasks.jsonl import Jsonl
from ops.types import Problem

PROBLEM = Problem("p", "jsonl", "eval", {"expression": "7 + 5 - 3"}, "18")


def answer_at(judge, response: str) -> str | None:
    """The characters of the answer."""
    span = judge.answer_span(PROBLEM, response)
    return None if span is None else response[slice(*span)]


NUMBERS = {
    "It has 17 legs and 18 arms.": "18",
    "The answer is 18. I checked it 3 times.": "18",
    "3 * 6 = 18\n#### 18\n": "18",
    "#### 18\n\nProblem: Ann has 3 apples.": "18",
    r"so \boxed{-1{,}800} because 3 \cdot 6": "-1{,}800",
    r"so it is \frac{36}{2} in all": r"\frac{36}{2}",
    "It costs −$18.50 then": "−$18.50",
    "1,800 in words": "1,800",
    "36/2": "36/2",
    "1.8e1": "1.8e1",
    "on 3/4/2020 we paid 18": "18",
    "18 on 3/4/2020": "18",
    "no digits": None,
    "": None,
    r"x\frac{1}{2}": "2",  # x1 is a name
    r"\frac{1}{2}.5": None,  # read as 2.5, of 1/2.5; its characters alone, 2}.5, would be .5
}


@pytest.mark.parametrize("response", NUMBERS, ids=repr)
def test_numeric(response):
    assert answer_at(Numeric(), response) == NUMBERS[response]
    assert answer_at(Gsm8k(), response) == NUMBERS[response]


def test_numeric_with_a_prefix_of_its_own():
    assert answer_at(Numeric("Result 1 is"), "A: 5\nResult 1 is 18 \n") == "18"
    assert answer_at(Jsonl(grader="numeric", answer_prefix="=>"), "A: 5\n=> 1,800") == "1,800"


EXPRESSIONS = {
    "So (4 + 6) * 2 makes it, I think": "(4 + 6) * 2",
    "4 \\times 6 - 1": "4 \\times 6 - 1",
    "It is (2 + 3)\nor 5.": "(2 + 3)",
    "We get 24.": "24",
    "4 × 6": "4 × 6",
    "4 \\ti\\leftmes 6": None,  # reads as 4 \\times 6 once \\left is gone; its characters alone do not
    "nothing": None,
}


@pytest.mark.parametrize("response", EXPRESSIONS, ids=repr)
def test_expression(response):
    assert answer_at(Expression(), response) == EXPRESSIONS[response]


BOXES = {
    r"so \boxed{\frac{1}{2}}.": r"\frac{1}{2}",
    "First \\boxed{9}.\nNo, it is \\boxed{10}": "10",
    r"so \boxed{1} or \boxed{2}": r"1} or \boxed{2",
    r"\fbox{ 7 }": "7",
    r"\boxed{}": None,
    "The answer is 1/2.": None,  # math-verify reads it, and does not say where
}


@pytest.mark.parametrize("response", BOXES, ids=repr)
def test_math(response):
    assert answer_at(Math(), response) == BOXES[response]


LINES = {
    "Jane Austen": "Jane Austen",
    "I think.\n  Answer: Jane Austen \nSource: none": "Jane Austen",
    "A: Emma. Answer is: Jane Austen": "Jane Austen",  # what follows the last mark of the line
    "Who?\r\n  the Austen  \n\n": "the Austen",
    "x" * 501: None,
    " \n ": None,
}


@pytest.mark.parametrize("response", LINES, ids=lambda response: repr(response)[:30])
def test_exact(response):
    assert answer_at(Exact(), response) == LINES[response]


def test_tasks():
    chain = "7 + 5 = 12 ; 12 - 3 = 9"
    assert Arithmetic().answer_span(PROBLEM, chain) == (22, 23)
    assert Arithmetic().answer_span(PROBLEM, "no chain") is None
    assert Countdown().answer_span(PROBLEM, chain) is None
    parts = {name for name, kind in TASKS.items() if name != "jsonl" and kind().answer_is_part}
    assert parts == {"arithmetic", "gsm8k", "math", "natural_questions"}
    of_grader = {name for name in GRADERS if Jsonl(grader=name).answer_is_part}
    assert of_grader == {"numeric", "math", "exact", "expression"}


def test_spans_of_long_responses_count_from_their_beginning():
    response = "3 " * MAX_RESPONSE_CHARS + "#### 18"
    assert answer_at(Numeric(), response) == "18" and answer_at(Arithmetic(), response) == "18"
    assert Numeric().answer_span(PROBLEM, response) == (len(response) - 2, len(response))


def test_a_whole_answer_has_no_span():
    for name in ("countdown", "sudoku", "label"):
        assert GRADERS[name]().answer_span(PROBLEM, "1234\n3412\n2143\n4321") is None


def test_traced_text():
    # a-{,}-b: the comma stands for characters 2..4
    import re

    traced = Traced.of("a-{,}-b").replace(re.compile(re.escape("{,}")), (",",))
    assert traced.text == "a-,-b" and traced.back(2, 3) == (2, 5) and traced.back(3, 5) == (5, 7)
    swapped = traced.replace(re.compile("(a)-(,)"), (2, "=", 1))
    assert swapped.text == ",=a-b" and [swapped.back(i, i + 1) for i in range(3)] == [(2, 5), (0, 5), (0, 1)]
    assert Traced.of("x-y").replace(re.compile("-"), ()).back(0, 2) == (0, 3)
    with pytest.raises(ValueError, match="single characters"):
        Traced.of("ab").translate({ord("a"): ""})
    assert trimmed("  a b ", (0, 6)) == (2, 5) and trimmed("   ", (0, 2)) is None


PARTS = (
    *(
        "\\frac{1}{2}",
        "{,}",
        "\\boxed{",
        "}",
        "18",
        "1,234",
        ".5",
        "-",
        "$",
        "/",
        "x",
        " ",
        "\n",
        "####",
        "A:",
        "is",
        ".",
    ),
    *("1e5", "−3", "\\times", "\\left(", "\\right)", "(", ")", "answer is "),
)
HOSTILE = st.text("0123456789.,-−/$%{}\\ \n#:=()*+eEx×", max_size=40) | st.lists(
    st.sampled_from(PARTS), max_size=12
).map("".join)


@settings(max_examples=400, deadline=None)
@given(HOSTILE)
def test_the_number_at_the_span_is_the_number_that_was_read(response):
    span = last_number_span(response)
    value = read_last_number(response)
    if value is None:
        assert span is None
    if span is not None:
        assert 0 <= span[0] < span[1] <= len(response)
        assert read_last_number(response[slice(*span)]) == value
        grade = Numeric().grade(PROBLEM, response, finished=False)
        assert Numeric().grade(PROBLEM, response[slice(*span)]).answer == grade.answer


@settings(max_examples=400, deadline=None)
@given(HOSTILE | st.text(max_size=30), st.sampled_from(["numeric", "math", "exact", "expression", "label", "sudoku"]))
def test_spans_never_raise_and_lie_within_the_response(response, name):
    grader = GRADERS[name]()
    span = grader.answer_span(PROBLEM, response)
    if span is not None:
        assert 0 <= span[0] < span[1] <= len(response)
        part = response[slice(*span)]
        assert part == part.strip()
        if name in ("numeric", "expression"):
            assert grader.grade(PROBLEM, part).answer == grader.grade(PROBLEM, response).answer is not None
        elif name == "exact":
            assert normalise(part) == grader.grade(PROBLEM, response).answer
    elif name == "exact":
        assert grader.grade(PROBLEM, response).answer is None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["It is {}", "A: {}.", "so {} km", "#### {}"]), st.integers(-(10**6), 10**6))
def test_plain_numbers_always_have_a_span(form, number):
    response = form.format(f"{number:,}")
    assert answer_at(Numeric(), response) == f"{number:,}"
