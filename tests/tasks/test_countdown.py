"""Countdown: problems, splits, grading by hand, and graders that never raise."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import DatasetError
from ops.tasks.countdown import Countdown, keys_of, solutions, targets_of
from ops.tasks.steps import Step, canonical_steps, check_steps, read_expression
from ops.types import Problem

TASK = Countdown()
PROBLEM = Problem("p", "countdown", "eval", {"numbers": [10, 8, 6], "target": 12})


def test_size_of_the_task():
    sizes = {split: len(keys_of(3, 12, split)) for split in ("train", "eval")}
    assert 3950 <= sum(sizes.values()) <= 4030
    assert 0.17 < sizes["eval"] / sum(sizes.values()) < 0.23


def test_splits_are_disjoint_whatever_the_seed():
    train = {p.problem_id for p in TASK.generate("train", 2000, 1)}
    evaluation = {p.problem_id for p in TASK.generate("eval", 500, 2)}
    assert len(train) == 2000
    assert not train & evaluation


def test_a_prefix_does_not_depend_on_the_count():
    assert TASK.generate("train", 50, 0)[10:] == TASK.generate("train", 40, 0, skip=10)


def test_too_many_problems_is_one_clear_error():
    with pytest.raises(DatasetError, match=r"distinct problems"):
        TASK.generate("eval", 5000, 0)


@pytest.mark.parametrize(
    ("response", "verdict", "strict"),
    [
        ("10 + 8 = 18 ; 18 - 6 = 12", "correct", "correct"),
        ("8 + 10 = 18 ; 18 - 6 = 12", "correct", "correct"),
        ("10+8=18, then 18-6=12", "correct", "unparseable"),
        ("So the answer is (10 + 8) - 6.", "correct", "unparseable"),
        ("10 − 6 = 4 and 4 + 8 = 12", "correct", "unparseable"),
        ("10 + 8 = 19 ; 19 - 6 = 13", "incorrect", "incorrect"),
        ("10 + 8 = 18 ; 18 - 6 = 11", "incorrect", "incorrect"),
        ("10 + 2 = 12 ; 12 * 1 = 12", "incorrect", "incorrect"),
        ("10 + 8 = 18 ; 10 + 2 = 12", "incorrect", "incorrect"),
        ("10 * 8 = 80 ; 80 - 6 = 74", "incorrect", "incorrect"),
        ("10 + 8 = 18", "unparseable", "unparseable"),
        ("I do not know", "unparseable", "unparseable"),
        ("", "unparseable", "unparseable"),
        ("__import__('os').system('echo')", "unparseable", "unparseable"),
        ("10 ** 8 ** 6", "unparseable", "unparseable"),
        ("1 + 1 = 2 ; 10 + 8 = 18 ; 18 - 6 = 12", "correct", "unparseable"),
    ],
)
def test_grading(response, verdict, strict):
    grade = TASK.grade(PROBLEM, response)
    assert (grade.verdict, grade.strict_verdict) == (verdict, strict)


def test_a_cut_response_is_not_strictly_right():
    grade = TASK.grade(PROBLEM, "10 + 8 = 18 ; 18 - 6 = 12", finished=False)
    assert (grade.verdict, grade.strict_verdict) == ("correct", "unparseable")


def test_the_answer_is_the_multiset_of_steps():
    first = TASK.grade(PROBLEM, "10 + 8 = 18 ; 18 - 6 = 12").answer
    assert first == "10+8=18|18-6=12" or first == "18-6=12|8+10=18"
    assert first == TASK.grade(PROBLEM, "8 + 10 = 18 ; 18 - 6 = 12").answer
    assert first != TASK.grade(PROBLEM, "10 - 6 = 4 ; 4 + 8 = 12").answer


def test_numbers_count_as_often_as_they_are_given():
    problem = Problem("p", "countdown", "eval", {"numbers": [5, 5, 2], "target": 12})
    assert TASK.grade(problem, "5 + 5 = 10 ; 10 + 2 = 12").verdict == "correct"
    problem = Problem("p", "countdown", "eval", {"numbers": [5, 3, 2], "target": 12})
    assert TASK.grade(problem, "5 + 5 = 10 ; 10 + 2 = 12").verdict == "incorrect"


@settings(max_examples=300)
@given(st.text(max_size=80))
def test_the_grader_never_raises(text):
    assert TASK.grade(PROBLEM, text).verdict in ("correct", "incorrect", "unparseable")


@given(st.text(alphabet="0123456789+-*x()= ;.", max_size=60))
def test_the_grader_never_raises_on_arithmetic(text):
    TASK.grade(PROBLEM, text)


@given(st.lists(st.integers(1, 12), min_size=3, max_size=3))
def test_every_solution_is_right_and_no_target_is_missed(numbers):
    reachable = set()
    for a, b, c in itertools.permutations(numbers):
        for first, second in itertools.product("+-*", repeat=2):
            left = {"+": a + b, "-": a - b, "*": a * b}[first]
            for result in (
                {"+": left + c, "-": left - c, "*": left * c}[second],
                {"+": c + left, "-": c - left, "*": c * left}[second],
            ):
                if 0 <= left <= 99 and 1 <= result <= 99:
                    reachable.add(result)
    assert targets_of(tuple(sorted(numbers))) == reachable
    for target in sorted(reachable)[:5]:
        for steps in solutions(list(numbers), target):
            assert check_steps(steps, numbers, target) == ""


def test_expressions_are_parsed_by_precedence():
    assert read_expression("2 + 3 * 4") == [Step(3, "*", 4, 12), Step(2, "+", 12, 14)]
    assert read_expression("(2 + 3) * 4") == [Step(2, "+", 3, 5), Step(5, "*", 4, 20)]
    assert read_expression("((((2 + 3)") is None
    assert read_expression("2 +") is None
    assert canonical_steps([Step(4, "+", 3, 7)]) == "3+4=7"


def test_examples_are_right():
    for count in (2, 3, 4):
        task = Countdown(numbers=count)
        for problem, text in task.examples():
            assert task.grade(problem, text).strict_verdict == "correct"


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"target": 12}, "numbers"),
        ({"numbers": "10 8 6", "target": 12}, "numbers"),
        ({"numbers": [10, 8], "target": 12}, "numbers"),
        ({"numbers": [10, 8, 60], "target": 12}, "numbers"),
        ({"numbers": [10, 8, True], "target": 12}, "numbers"),
        ({"numbers": [10, 8, 6]}, "target"),
        ({"numbers": [10, 8, 6], "target": "12"}, "target"),
        ({"numbers": [10, 8, 6], "target": 100}, "target"),
        ({"numbers": [1, 1, 1], "target": 98}, "target"),
        ({"numbers": [10, 8, 6], "target": 12, "answer": 1}, "answer"),
        ({"numbers": [10, 8, 6], "target": 12, "problem_id": 7}, "problem_id"),
    ],
)
def test_bad_rows_name_the_field(row, field):
    with pytest.raises(DatasetError) as caught:
        TASK.read_row(row, "data.jsonl:3", "train")
    assert caught.value.field == field
    assert "data.jsonl:3" in str(caught.value)
