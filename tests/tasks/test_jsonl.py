"""The user's own problems: every grader by name, rows refused with one clear error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ops.errors import DatasetError
from ops.graders import GRADERS
from ops.tasks.jsonl import Jsonl
from ops.tasks.rows import read_problem_file

ROW = {"problem": "What is 6 * 3?", "answer": "18"}
NUMBERS = {"numbers": [10, 8, 6], "target": 12}
PUZZLE = {"puzzle": "1...3.12.14343.1"}


@pytest.fixture
def read(tmp_path):
    def read(task, *rows):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_problem_file(task, path, "train")

    return read


GRADED: dict[str, tuple[dict[str, Any], str, str]] = {
    "numeric": (ROW, "3 * 6\n#### 18", "#### 17"),
    "math": ({"problem": "Half of 1?", "answer": "\\frac12"}, "\\boxed{0.5}", "\\boxed{2}"),
    "exact": ({"problem": "Who?", "answer": "Jane Austen", "aliases": ["Austen"]}, "the Austen", "Brontë"),
    "expression": ({"problem": "Make 24 of 4, 6, 10, 4", "answer": 24}, "4 * 6 + 0", "4 + 6"),
    "countdown": ({"problem": "Make 12", "data": NUMBERS}, "10 + 8 = 18 ; 18 - 6 = 12", "8 + 6 = 14 ; 14 - 9 = 5"),
    "sudoku": ({"problem": "Solve.", "data": PUZZLE}, "1234\n3412\n2143\n4321", "1234\n3412\n2143\n4312"),
}  # fmt: skip


def test_every_grader_is_tried():
    assert {*GRADED, "label"} == set(GRADERS)


@pytest.mark.parametrize("name", GRADED)
def test_each_grader(read, name):
    row, right, wrong = GRADED[name]
    task = Jsonl(grader=name)
    (problem,) = read(task, row)
    verdicts = [
        (g.verdict, g.strict_verdict)
        for g in task.grade_all([(problem, right, True), (problem, wrong, True), (problem, right, False)])
    ]
    assert verdicts == [("correct", "correct"), ("incorrect", "incorrect"), ("correct", "unparseable")]
    assert task.grade(problem, right) == task.grade_all([(problem, right, True)])[0]
    assert task.question(problem).startswith(row["problem"] + "\n\n")


def test_labels_need_no_answer_and_are_never_guessed(read):
    task = Jsonl(grader="label")
    (problem,) = read(task, {"problem": "Is this poem good?", "data": {"level": 3}})
    assert (problem.answer, problem.data) == (None, {"problem": "Is this poem good?", "level": 3})
    assert task.grade(problem, "yes").verdict == "unparseable"
    assert task.question(problem) == "Is this poem good?"


def test_ids_and_content(read):
    task = Jsonl(grader="numeric")
    one, two, three = read(
        task,
        ROW | {"problem_id": "a"},
        {"problem": "What is 2 * 9?", "answer": 18, "problem_id": 7},
        {"problem": "And 36 / 2?", "answer": 18.0},
    )
    assert [one.problem_id, two.problem_id] == ["a", "7"]
    assert three.problem_id == task.content_key(three) and three.problem_id.startswith("jsonl-")
    assert [one.answer, two.answer, three.answer] == ["18", "18", "18.0"]
    (again,) = read(task, ROW | {"problem_id": "b", "problem": "What is  6 * 3? "})
    assert task.content_key(again) == task.content_key(one)


def test_the_same_id_or_the_same_problem_twice(read):
    task = Jsonl(grader="numeric")
    with pytest.raises(DatasetError, match="'a' stands in line 1 too") as caught:
        read(task, ROW | {"problem_id": "a"}, {"problem": "Another?", "answer": "1", "problem_id": "a"})
    assert (caught.value.field, caught.value.where[-2:]) == ("problem_id", ":2")
    with pytest.raises(DatasetError, match="the same problem stands in line 1 too, under another id"):
        read(task, ROW | {"problem_id": "a"}, ROW | {"problem_id": "b"})


BAD = {
    "no problem": ("numeric", {"answer": "18"}, "problem", "required, but missing"),
    "problem a list": ("numeric", ROW | {"problem": ["a"]}, "problem", "expected a text, got an array"),
    "no answer": ("exact", {"problem": "Who?"}, "answer", "required, but missing"),
    "null answer": ("math", {"problem": "Who?", "answer": None}, "answer", "required, but missing"),
    "a number for a text": ("exact", ROW | {"answer": 18}, "answer", "expected a text, got a number"),
    "true": ("numeric", ROW | {"answer": True}, "answer", "expected a text, got true or false"),
    "a word": ("numeric", ROW | {"answer": "eighteen"}, "answer", "expected a number, got 'eighteen'"),
    "no expression": ("expression", ROW | {"answer": "x + 1"}, "answer", "expected an arithmetic expression"),
    "100 KB problem": ("numeric", ROW | {"problem": "x" * 100_000}, "problem", "at most 50,000 characters"),
    "100 KB answer": ("exact", ROW | {"answer": "x" * 100_000}, "answer", "at most 2,000 characters"),
    "NUL": ("exact", ROW | {"answer": "a\0"}, "answer", "NUL"),
    "aliases a text": ("exact", ROW | {"aliases": "Austen"}, "aliases", "expected a list"),
    "an alias a number": ("exact", ROW | {"aliases": [1]}, "aliases", "expected a text, got a number"),
    "unknown key": ("exact", ROW | {"response": "x"}, "response", "unknown key"),
    "id a list": ("exact", ROW | {"problem_id": []}, "problem_id", "expected a text, got an array"),
    "long id": ("exact", ROW | {"problem_id": "x" * 201}, "problem_id", "at most 200 characters"),
    "empty id": ("exact", ROW | {"problem_id": ""}, "problem_id", "got an empty one"),
    "data a list": ("exact", ROW | {"data": []}, "data", "expected an object"),
    "data hides the problem": ("exact", ROW | {"data": {"problem": 1}}, "data", "problem is a field of the row"),
    "countdown without data": ("countdown", ROW, "data", "expected numbers"),
    "countdown, text": ("countdown", ROW | {"data": {"numbers": ["1", 2], "target": 3}}, "data", "expected numbers"),
    "countdown, no target": ("countdown", ROW | {"data": {"numbers": [1, 2]}}, "data", "expected target"),
    "sudoku without data": ("sudoku", ROW, "data", "expected puzzle"),
    "sudoku, short": ("sudoku", ROW | {"data": {"puzzle": "1..."}}, "data", "expected puzzle, a text of 16"),
}


@pytest.mark.parametrize(("grader", "row", "field", "problem"), BAD.values(), ids=BAD.keys())
def test_a_bad_row_is_refused_with_one_clear_error(read, grader, row, field, problem):
    good = {"problem": "Good?", "answer": "1", "data": {**NUMBERS, **PUZZLE}}
    with pytest.raises(DatasetError) as caught:
        read(Jsonl(grader=grader), good, row)
    assert caught.value.where.endswith("problems.jsonl:2")
    assert caught.value.field == field
    assert problem in caught.value.problem
    assert caught.value.remedy
    assert len(str(caught.value)) < 600


def test_fields_of_the_experiment_file(read):
    (problem,) = read(Jsonl(grader="numeric"), ROW)
    assert "'#### '" in Jsonl(grader="numeric").question(problem)
    spoken = Jsonl(grader="numeric", answer_prefix="A:")
    assert "'A: '" in spoken.question(problem)
    assert spoken.grade(problem, "3 * 6\nA: 18").strict_verdict == "correct"
    assert Jsonl(grader="numeric", instruction="Be brief.").question(problem) == "What is 6 * 3?\n\nBe brief."
    assert Jsonl(grader="numeric", instruction="").question(problem) == "What is 6 * 3?"
    assert "\\boxed{}" in Jsonl(grader="math").question(problem)
    for wrong in ({}, {"grader": "eval"}, {"grader": "exact", "answer_prefix": "A:"}, {"grader": "exact", "x": 1}):
        with pytest.raises(ValidationError):
            Jsonl(**wrong)


def test_worked_examples_are_the_users():
    shown = {"problem": "What is 2 * 2?", "response": "#### 4", "wrong_response": "#### 5"}
    task = Jsonl.model_validate({"grader": "numeric", "worked": [shown]})
    ((problem, right),) = task.examples()
    assert task.wrong_examples() == [(problem, "#### 5")]
    assert (right, task.question(problem)[:14]) == ("#### 4", "What is 2 * 2?")
    assert Jsonl(grader="numeric").examples() == Jsonl(grader="numeric").wrong_examples() == []
    with pytest.raises(ValidationError, match="wrong_response"):
        Jsonl.model_validate({"grader": "numeric", "worked": [{"problem": "a", "response": "b"}]})


def test_it_cannot_make_problems_up():
    with pytest.raises(DatasetError, match="has no problems of its own") as caught:
        Jsonl(grader="exact").generate("train", 1, 0)
    assert "problems.train_file" in caught.value.remedy
    assert Jsonl(grader="exact").capacity("train") is None


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.lists(st.text(max_size=3), max_size=2)
ROWS = st.fixed_dictionaries(
    {"problem": VALUES}, optional=dict.fromkeys(("answer", "aliases", "data", "problem_id"), VALUES)
)


@settings(max_examples=200, deadline=None)
@given(row=ROWS, grader=st.sampled_from(sorted(set(GRADERS) - {"math"})), response=st.text(max_size=20))
def test_whatever_stands_in_a_row_is_graded_or_refused(tmp_path_factory, row, grader, response):
    path = tmp_path_factory.mktemp("rows") / "problems.jsonl"
    path.write_text(json.dumps(row))
    task = Jsonl(grader=grader)
    refused = None
    try:
        problems = read_problem_file(task, path, "train")
    except DatasetError as error:
        refused, problems = error, []
    assert refused.where.startswith(str(path)) if refused else len(problems) == 1
    assert not any(task.grade(problem, response).reason.startswith("grader crashed") for problem in problems)
