"""Open-ended prompts: nothing is right or wrong; and categories of problems, of every task that has them."""

from __future__ import annotations

import json

import pytest

from ops.errors import DatasetError
from ops.tasks import category_of
from ops.tasks.countdown import Countdown
from ops.tasks.jsonl import Jsonl
from ops.tasks.math import Math
from ops.tasks.open import Open
from ops.tasks.rows import MAX_CATEGORY_CHARS, content_hash, read_problem_file

ROW = {"problem": "Write a poem about rain."}
DATA_TEXT = 'And 1? {"level": 3}'
SUM = {"problem": "What is 6 * 3?", "answer": "18"}


def read(task, path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_problem_file(task, path, "eval")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "problems.jsonl"


def test_rows_are_prompts_with_ids_of_their_own_or_of_their_words(path):
    rain, named, seven = read(
        Open(),
        path,
        {**ROW, "category": " writing "},
        {"problem": "Plan a day.\nBe brief.", "problem_id": "day"},
        {"problem": "Say hello.", "problem_id": 7, "category": None},
    )
    assert rain.problem_id == Open().content_key(rain) and rain.problem_id.startswith("open-")
    assert (named.problem_id, seven.problem_id) == ("day", "7")
    assert rain.data == {"problem": ROW["problem"], "category": "writing"} and rain.answer is None
    assert [category_of(problem) for problem in (rain, named, seven)] == ["writing", None, None]
    assert Open().question(named) == "Plan a day.\nBe brief."
    assert Open().content_key(read(Open(), path, {"problem": " Write a poem  about rain."})[0]) == rain.problem_id


@pytest.mark.parametrize("response", ["", "Rain falls.", "#### 18", "\\boxed{2}"])
def test_no_response_is_right_or_wrong(path, response):
    (problem,) = read(Open(), path, ROW)
    (grade,) = Open().grade_all([(problem, response, True)])
    assert (grade.verdict, grade.strict_verdict, grade.answer) == ("unparseable", "unparseable", None)
    assert grade.reason == "an open-ended prompt has no right answer"


BAD = {
    "an answer": ({**ROW, "answer": "a"}, "answer"),
    "no prompt": ({"category": "a"}, "problem"),
    "an empty prompt": ({"problem": "  "}, "problem"),
    "a number as category": ({**ROW, "category": 3}, "category"),
    "an empty category": ({**ROW, "category": ""}, "category"),
    "a long category": ({**ROW, "category": "a" * (MAX_CATEGORY_CHARS + 1)}, "category"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named(path, name):
    row, field = BAD[name]
    with pytest.raises(DatasetError) as caught:
        read(Open(), path, {"problem": "Another."}, row)
    assert caught.value.field == field and caught.value.where.endswith(":2")


def test_it_has_no_prompts_of_its_own():
    with pytest.raises(DatasetError, match="no prompts of its own"):
        Open().generate("eval", 2, 0)
    assert Open().examples() == Open().wrong_examples() == [] and Open().capacity("eval") is None


def test_rows_of_jsonl_may_have_a_category_and_without_one_stay_what_they_were(path):
    task = Jsonl(grader="numeric")
    plain, sums, data = read(
        task,
        path,
        SUM,
        {**SUM, "problem": "What is 2 + 2?", "answer": "4", "category": "sums"},
        {**SUM, "problem": "And 1?", "answer": "1", "data": {"level": 3}},
    )
    assert plain.data == {"problem": SUM["problem"]} and category_of(plain) is None
    assert plain.problem_id == task.content_key(plain) == "jsonl-ef2ddf7c4be8a779"  # SHA-256 of the words
    assert (sums.data["category"], category_of(sums)) == ("sums", "sums")
    assert category_of(data) is None and task.content_key(data) == f"jsonl-{content_hash(DATA_TEXT)}"  # data poses, too
    (same,) = read(task, path, {**SUM, "problem_id": "x", "category": "products"})
    assert task.content_key(same) == task.content_key(plain)
    with pytest.raises(DatasetError, match="category is a field of the row itself"):
        read(task, path, {**SUM, "category": "a", "data": {"category": "b"}})


def test_categories_of_tasks_with_a_dataset(path):
    rows = [
        {"problem": "What is $1+1$?", "answer": "2", "type": "Algebra", "level": "Level 1"},
        {"problem": "What is $1+2$?", "answer": "3", "level": "Level 2"},
        {"problem": "What is $1+3$?", "answer": "4"},
    ]
    assert [category_of(problem) for problem in read(Math(), path, *rows)] == ["Algebra", "Level 2", None]
    assert category_of(Countdown().generate("eval", 1, 0)[0]) is None
