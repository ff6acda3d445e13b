"""Arithmetic from left to right: problems by hand, disjoint splits, grading by hand, graders that never raise."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ops.errors import DatasetError
from ops.tasks import TASKS
from ops.tasks.arithmetic import Arithmetic, split_of
from ops.tasks.expressions import all_expressions, chain_text, count_expressions, draw_expression, moves, steps_of
from ops.tasks.steps import Step
from ops.types import Problem

TASK = Arithmetic()
PROBLEM = Problem("p", "arithmetic", "eval", {"expression": "7 + 5 - 3 * 2"}, answer="18")


def evaluated(expression: str) -> list[int]:
    """Written apart from the task: every result from left to right."""
    words = expression.split()
    results = [int(words[0])]
    for operator, number in zip(words[1::2], words[2::2], strict=True):
        left, right = results[-1], int(number)
        results.append({"+": left + right, "-": left - right, "*": left * right}[operator])
    return results


def test_it_is_a_task():
    assert TASKS["arithmetic"] is Arithmetic


def test_steps_go_from_left_to_right():
    # 7 + 5 = 12, 12 - 3 = 9, 9 * 2 = 18; by precedence it would be 7 + 5 - 6 = 6
    assert steps_of("7 + 5 - 3 * 2") == (Step(7, "+", 5, 12), Step(12, "-", 3, 9), Step(9, "*", 2, 18))
    assert chain_text(steps_of("7 + 5 - 3 * 2")) == "7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 18"
    assert steps_of("7 - 8 + 5") is None  # -1 on the way
    assert steps_of("12 * 9 - 50") is None  # 108 on the way


def test_moves_by_hand():
    # after 0 nothing can be taken away and products are trivial; after 99 only subtraction is left
    assert moves(0, 3) == (("+", (1, 2, 3)),)
    assert moves(99, 3) == (("-", (1, 2, 3)),)
    assert moves(33, 4) == (("+", (1, 2, 3, 4)), ("-", (1, 2, 3, 4)), ("*", (2, 3)))


def test_counting_by_hand_and_against_the_list():
    # max_number 2, one step. From 1: + 1, + 2, - 1, * 2; from 2: + 1, + 2, - 1, - 2, * 2: nine expressions
    assert count_expressions(1, 1, 2) == 9 == len(all_expressions(1, 1, 2))
    for low, high, most in ((1, 2, 4), (2, 3, 3), (3, 3, 2)):
        listed = all_expressions(low, high, most)
        assert len(set(listed)) == len(listed) == count_expressions(low, high, most)


def test_everything_drawn_is_listed_and_everything_listed_is_drawn():
    rng = random.Random(0)
    assert {draw_expression(rng, 2, 3) for _ in range(5000)} == set(all_expressions(2, 2, 3))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), split=st.sampled_from(["train", "eval"]), low=st.integers(1, 9))
def test_generated_problems_are_right(seed, split, low):
    task = Arithmetic(min_steps=low, max_steps=low + 2, max_number=12)
    problems = task.generate(split, 20, seed)
    assert len({problem.problem_id for problem in problems}) == 20
    for problem in problems:
        results = evaluated(problem.data["expression"])
        assert problem.answer == str(results[-1])
        assert all(0 <= result <= 99 for result in results)
        assert low <= len(results) - 1 <= low + 2
        assert split_of(problem.data["expression"]) == problem.split == split
        assert problem.problem_id == f"arithmetic-{problem.data['expression'].replace(' ', '')}"


@pytest.mark.parametrize("task", [TASK, Arithmetic(min_steps=1, max_steps=1)])
def test_splits_are_disjoint_whatever_the_seed(task):
    train = {p.problem_id for p in task.generate("train", 150, 1)}
    assert not train & {p.problem_id for p in task.generate("eval", 50, 2)}


def test_chains_may_be_long():
    (problem,) = Arithmetic(min_steps=100, max_steps=100).generate("eval", 1, 0)
    assert len(evaluated(problem.data["expression"])) == 101


@pytest.mark.parametrize("task", [TASK, Arithmetic(min_steps=1, max_steps=1)])
def test_a_prefix_does_not_depend_on_the_count(task):
    assert task.generate("train", 50, 0)[10:] == task.generate("train", 40, 0, skip=10)
    assert task.generate("train", 50, 0) != task.generate("train", 50, 1)


def test_capacity():
    small = Arithmetic(min_steps=1, max_steps=1, max_number=12)
    sizes = {split: small.capacity(split) for split in ("train", "eval")}
    assert sum(sizes.values()) == count_expressions(1, 1, 12)  # no example has one step
    assert len(small.generate("eval", sizes["eval"], 0)) == sizes["eval"]
    with pytest.raises(DatasetError, match="distinct problems"):
        small.generate("eval", sizes["eval"] + 1, 0)
    assert TASK.capacity("eval") is None


@pytest.mark.parametrize(
    ("response", "verdict", "strict", "answer"),
    [
        ("7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 18", "correct", "correct", "18"),
        (" 7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 18\n", "correct", "correct", "18"),
        ("7+5=12, 12-3=9, so 9*2=18", "correct", "unparseable", "18"),
        ("The final result is **18**.", "correct", "unparseable", "18"),
        ("18.0", "correct", "unparseable", "18"),
        ("It is 1,018", "incorrect", "unparseable", "1018"),
        ("9 * 2 = 18", "correct", "unparseable", "18"),
        # two slips that cancel out: the final answer is right, and that is the truth of this task
        ("7 + 5 = 13 ; 12 - 3 = 9 ; 9 * 2 = 18", "correct", "correct", "18"),
        # by precedence: 3 * 2 = 6, 12 - 6 = 6
        ("3 * 2 = 6 ; 7 + 5 = 12 ; 12 - 6 = 6", "incorrect", "incorrect", "6"),
        ("7 + 5 = 13 ; 13 - 3 = 10 ; 10 * 2 = 20", "incorrect", "incorrect", "20"),
        ("7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 19", "incorrect", "incorrect", "19"),
        ("7 + 5 = 12 ; 12 - 3 = 9", "incorrect", "unparseable", "9"),
        ("x = -18", "incorrect", "unparseable", "-18"),
        ("I do not know", "unparseable", "unparseable", None),
        ("", "unparseable", "unparseable", None),
        ("eighteen", "unparseable", "unparseable", None),
    ],
)
def test_grading(response, verdict, strict, answer):
    grade = TASK.grade(PROBLEM, response)
    assert (grade.verdict, grade.strict_verdict, grade.answer) == (verdict, strict, answer)


def test_a_cut_response_is_not_strictly_right():
    grade = TASK.grade(PROBLEM, "7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 18", finished=False)
    assert (grade.verdict, grade.strict_verdict) == ("correct", "unparseable")
    assert TASK.grade(PROBLEM, "7 + 5 = 12 ; 12 -", finished=False).verdict == "incorrect"


@settings(max_examples=300)
@given(st.text(max_size=80))
def test_the_grader_never_raises(text):
    assert TASK.grade(PROBLEM, text).verdict in ("correct", "incorrect", "unparseable")


@given(st.text(alphabet="0123456789+-*x()= ;.,−/eE", max_size=60), st.booleans())
def test_the_grader_never_raises_on_arithmetic(text, finished):
    TASK.grade(PROBLEM, text, finished)


def test_huge_responses_are_read_by_their_end():
    assert TASK.grade(PROBLEM, "9" * 100_000).verdict == "unparseable"
    assert TASK.grade(PROBLEM, "9 " * 100_000 + "= 18").verdict == "correct"


def test_the_question_says_the_order_in_words():
    assert TASK.question(PROBLEM).startswith(
        "Start with 7, then, one after the other: add 5, subtract 3, multiply by 2. What is the final result?"
    )


def test_examples_are_right_and_wrong_examples_wrong():
    for (problem, right), (same, wrong) in zip(TASK.examples(), TASK.wrong_examples(), strict=True):
        assert problem == same
        assert problem.answer == str(evaluated(problem.data["expression"])[-1])
        assert TASK.grade(problem, right).strict_verdict == "correct"
        assert TASK.grade(problem, wrong).strict_verdict == "incorrect"


def test_examples_are_never_generated():
    shown = {problem.data["expression"] for problem, _ in TASK.examples()}
    assert len(shown) == 4
    task = Arithmetic(min_steps=3, max_steps=3, max_number=12)
    drawn = {p.data["expression"] for split in ("train", "eval") for p in task.generate(split, 2000, 0)}
    assert not shown & drawn


def test_a_row_of_a_file():
    problem = TASK.read_row({"expression": "07 + 5 - 3 * 2"}, "data.jsonl:1", "eval")
    assert (problem.problem_id, problem.answer, problem.split) == ("arithmetic-7+5-3*2", "18", "eval")
    assert TASK.content_key(problem) == "arithmetic-7+5-3*2"


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({}, "expression"),
        ({"expression": 12}, "expression"),
        ({"expression": "7+5-3*2"}, "expression"),
        ({"expression": "7 + 5 - 3 / 2"}, "expression"),
        ({"expression": "7 + 5 - 3 *"}, "expression"),
        ({"expression": "7 + 5"}, "expression"),  # one step, this task has two to four
        ({"expression": "7 + 5 - 3 * 2 + 1 + 1"}, "expression"),  # five steps
        ({"expression": "7 + 5 - 3 + 31"}, "expression"),  # 31 is above max_number
        ({"expression": "7 + 5 - 3 + 0"}, "expression"),
        ({"expression": "7 - 8 + 5 + 1"}, "expression"),  # -1 on the way
        ({"expression": "7 + 5 - 3 * 2", "answer": 18}, "answer"),
    ],
)
def test_bad_rows_name_the_field(row, field):
    with pytest.raises(DatasetError) as caught:
        TASK.read_row(row, "data.jsonl:3", "train")
    assert caught.value.field == field
    assert "data.jsonl:3" in str(caught.value)


def test_the_shorter_length_comes_first():
    with pytest.raises(ValidationError, match="min_steps"):
        Arithmetic(min_steps=6, max_steps=5)


def test_every_pair_of_splits_shares_no_content():
    task = Arithmetic(min_steps=1, max_steps=2, max_number=4)
    listed = {split: task.generate(split, task.capacity(split), 3) for split in ("train", "eval")}
    keys = [{task.content_key(problem) for problem in listed[split]} for split in ("train", "eval")]
    assert not keys[0] & keys[1]
    assert len(keys[0] | keys[1]) == len(set(itertools.chain(all_expressions(1, 2, 4))))
