"""LaTeX answers through math-verify: one value however it is written, and hostile ones cost one item."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.graders.batch import grade_all, grade_in_workers
from ops.graders.math import Math, last_boxed, read_strict
from ops.types import Problem


def problem(answer: str, **data) -> Problem:
    return Problem("p", "math", "eval", data, answer)


RIGHT = [
    (r"\frac{1}{2}", r"so \boxed{\frac12}", "1/2"),
    (r"\frac{1}{2}", r"\boxed{0.5}", "1/2"),
    (r"\frac{1}{2}", "The answer is 1/2.", "1/2"),
    (r"\frac{1}{2}", r"The final answer is $\dfrac{2}{4}$.", "1/2"),
    ("18", r"It is $\boxed{18.0}$", "18"),
    (r"\$18", r"\boxed{18}", "18"),
    ("5", r"Hence $x = 5$.", "5"),
    ("x=5", r"\boxed{5}", "5"),
    (r"2\sqrt{2}", r"\boxed{\sqrt{8}}", "2*sqrt(2)"),
    (r"\sqrt{2}-1", r"\boxed{\frac{1}{1+\sqrt{2}}}", "-1 + sqrt(2)"),  # (√2-1)(√2+1) = 1
    (r"(x+1)^2", r"\boxed{x^2+2x+1}", "x**2 + 2*x + 1"),
    (r"\text{east}", r"\boxed{\text{East}}", "east"),
    (r"\text{June 20}", r"\boxed{June 20}", "june20"),
    (r"\text{Evelyn}", r"\boxed{Evelyn}", "evelyn"),  # a word, not E·v·e·l·y·n
    (r"(3,\frac{\pi}{2})", r"\boxed{\left(3, \frac{\pi}{2}\right)}", "(3, pi/2)"),
    ("1,2,3", r"\boxed{3, 2, 1}", "{1, 2, 3}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}", "Matrix([[1], [2]])"),
    ("[0,1)", r"\boxed{[0,1)}", "Interval.Ropen(0, 1)"),
    ("1,2", r"so \boxed{1} or \boxed{2}", "{1, 2}"),
    ("10", "First \\boxed{9}.\nThat is wrong, it is \\boxed{10}", "10"),
]
WRONG = [
    ("18", r"\boxed{17}", "17"),
    (r"\frac{1}{3}", r"\boxed{0.33}", "33/100"),
    ("[0,1)", r"\boxed{(0,1)}", "Interval.open(0, 1)"),
    ("x^2", r"\boxed{y^2}", "y**2"),
    ("east", r"\boxed{seat}", "seat"),
]
NOTHING = ["", "I do not know", r"it is 18, \boxed{}", "\0", "(" * 1000]


def test_by_hand():
    cases = [(gold, text) for gold, text, _ in RIGHT + WRONG] + [("18", text) for text in NOTHING]
    grades = grade_all(Math(), [(problem(gold), text, True) for gold, text in cases])
    for (gold, text, answer), grade in zip(RIGHT, grades, strict=False):
        assert (gold, text, grade.verdict, grade.answer) == (gold, text, "correct", answer)
    for (gold, text, answer), grade in zip(WRONG, grades[len(RIGHT) :], strict=False):
        assert (gold, text, grade.verdict, grade.answer) == (gold, text, "incorrect", answer)
        assert gold in grade.reason
    for text, grade in zip(NOTHING, grades[len(RIGHT) + len(WRONG) :], strict=True):
        assert (text, grade.verdict, grade.answer) == (text, "unparseable", None)
        assert grade.reason == "no mathematical answer found"


def test_strict_wants_the_only_box_at_the_end():
    cases = {
        r"so \boxed{18}": "correct",
        r"so $\boxed{18}$.": "correct",
        r"\boxed{17}": "incorrect",
        r"\boxed{18} eggs": "unparseable",
        "\\boxed{18}\nThat is all.": "unparseable",
        r"\boxed{17} or \boxed{18}": "unparseable",
        "The answer is 18": "unparseable",
    }
    grades = grade_all(Math(), [(problem("18"), text, True) for text in cases])
    assert dict(zip(cases, (grade.strict_verdict for grade in grades), strict=True)) == cases
    cut = Math().grade(problem("18"), r"\boxed{18}", finished=False)
    assert (cut.verdict, cut.strict_verdict) == ("correct", "unparseable")


def test_aliases_and_a_reference_that_is_missing():
    item = (problem("east", aliases=[r"\text{E}"]), r"\boxed{\text{E}}", True)
    missing = (Problem("p", "math", "eval", {}), r"\boxed{1}", True)
    right, unknown = grade_all(Math(), [item, missing])
    assert right.verdict == "correct"
    assert unknown.verdict == "unparseable" and "no reference answer" in unknown.reason


@pytest.mark.timeout(120)
def test_hostile_responses_cost_one_item_each():
    hostile = {
        r"\boxed{9^{9^{9}}}": "grader timed out after 2 s",
        r"\boxed{100000000!}": "grader timed out after 2 s",
        "$" + "{" * 3000 + "1" + "}" * 3000 + "$": "grader",
        r"\frac{" * 20_000 + "1" + "}" * 20_000: "",
        r"\boxed{" * 20_000: "",
        "x" * 100_000: "",
        "1+" * 50_000 + "1": "",
        "\0" * 100_000: "",
        "\ud800" * 1000: "",
    }
    items = [item for text in hostile for item in ((problem("5"), text, True), (problem("5"), r"\boxed{5}", True))]
    grades = grade_in_workers(Math(), items, timeout=2.0)
    assert all(grade.verdict == "correct" for grade in grades[1::2])
    for (_, reason), grade in zip(hostile.items(), grades[::2], strict=True):
        assert grade.verdict in ("incorrect", "unparseable")
        assert grade.reason.startswith(reason)


LATEX = st.lists(
    st.sampled_from(
        ["\\frac", "{", "}", "1", "x", "^", "_", "\\boxed{", "$", "\\sqrt", "=", "+", "-", ",", "(", ")", "\\text{a}",
         " ", "\n", "\\%", "\\pi", "\\infty", "\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "&", "i", "!", "\0", "é"]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=5, deadline=None)
@given(
    st.lists(st.tuples(LATEX | st.text(st.characters(), max_size=30), LATEX, st.booleans()), min_size=20, max_size=40)
)
def test_the_grader_never_raises(cases):
    grades = grade_all(Math(), [(problem(gold), text, finished) for text, gold, finished in cases])
    assert len(grades) == len(cases)
    for grade in grades:
        assert (grade.answer is None) == (grade.verdict == "unparseable")
        assert grade.strict_verdict in ("unparseable", grade.verdict)
        f"{grade.answer}{grade.reason}".encode()


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}} and \boxed{x^{2}}", "x^{2}"),
        (r"\boxed {5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{a\boxed{b}c}", "b"),
        (r"\boxed{5", None),
        ("} {", None),
        ("", None),
    ],
)
def test_the_last_box(text, content):
    assert last_boxed(text) == content


@pytest.mark.timeout(10)
def test_many_open_boxes_are_read_in_one_pass():
    assert last_boxed(r"\boxed{" * 100_000 + "}") == ""
    assert read_strict(r"\boxed{" * 100_000) is None
