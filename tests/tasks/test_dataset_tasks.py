"""GSM8K, MATH and Natural Questions: rows as the datasets have them, worked examples, and where problems come from."""

from __future__ import annotations

import json
import random
import sys

import pytest

from ops.errors import DatasetError
from ops.tasks import TASKS
from ops.tasks.datasets_library import load_rows
from ops.tasks.gsm8k import Gsm8k
from ops.tasks.math import Math
from ops.tasks.natural_questions import NaturalQuestions
from ops.tasks.rows import read_problem_file

GSM8K_ROW = {"question": "Ann has 3 bags of 6 eggs. How many eggs?", "answer": "She has 3*6=<<3*6=18>>18\n#### 18"}
MATH_ROW = {
    "problem": "What is $1+1$?",
    "level": "Level 1",
    "type": "Algebra",
    "solution": "Not $\\boxed{3}$ but $\\boxed{\\frac{4}{2}}$.",
}
NQ_ROW = {"question": "who wrote emma", "answer": ["Jane Austen", "Austen"]}
REVISION = "0" * 40


@pytest.fixture
def read(tmp_path):
    def read(task, *rows, split="eval"):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_problem_file(task, path, split)

    return read


def test_rows_as_the_datasets_have_them(read):
    (gsm8k,) = read(Gsm8k(), GSM8K_ROW)
    assert (gsm8k.answer, gsm8k.data, gsm8k.task) == ("18", {"question": GSM8K_ROW["question"]}, "gsm8k")
    (math,) = read(Math(), MATH_ROW)
    assert math.answer == "\\frac{4}{2}"
    assert math.data == {"problem": "What is $1+1$?", "level": "Level 1", "subject": "Algebra"}
    (other,) = read(Math(), {"problem": "What is $1+1$?", "answer": "2", "subject": "Algebra", "unique_id": "a/1.json"})
    assert (other.answer, other.problem_id) == ("2", math.problem_id)
    (nq,) = read(NaturalQuestions(), NQ_ROW)
    assert (nq.answer, nq.data) == ("Jane Austen", {"question": "who wrote emma", "aliases": ["Austen"]})


def test_an_id_is_made_from_the_words_only(read):
    (one,) = read(Gsm8k(), GSM8K_ROW)
    (same,) = read(
        Gsm8k(), {"question": " Ann has 3 bags\nof 6 eggs.  How many eggs?", "answer": "#### 18.0"}, split="train"
    )
    (other,) = read(Gsm8k(), GSM8K_ROW | {"question": "Ann has 3 bags of 7 eggs. How many eggs?"})
    assert one.problem_id == "gsm8k-dddf45318c5ef170"  # never changes: ids stand in stored tables
    assert same.problem_id == one.problem_id == Gsm8k().content_key(same) != other.problem_id


BAD = {
    "gsm8k without an answer": (Gsm8k(), {"question": "How many?"}, "answer", "required, but missing"),
    "gsm8k, null": (Gsm8k(), GSM8K_ROW | {"question": None}, "question", "required, but missing"),
    "gsm8k without ####": (Gsm8k(), GSM8K_ROW | {"answer": "It is 18"}, "answer", "expected '#### ' and a number"),
    "gsm8k, no number": (Gsm8k(), GSM8K_ROW | {"answer": "#### many"}, "answer", "expected '#### ' and a number"),
    "gsm8k, a number": (Gsm8k(), GSM8K_ROW | {"answer": 18}, "answer", "expected a text, got a number"),
    "gsm8k, an empty text": (Gsm8k(), GSM8K_ROW | {"question": "  "}, "question", "got an empty one"),
    "gsm8k, 100 KB": (Gsm8k(), GSM8K_ROW | {"question": "x" * 100_000}, "question", "at most 50,000 characters"),
    "gsm8k, NUL": (Gsm8k(), GSM8K_ROW | {"question": "a\0b"}, "question", "NUL"),
    "gsm8k, unknown key": (Gsm8k(), GSM8K_ROW | {"hint": ""}, "hint", "unknown key"),
    "math without a box": (Math(), MATH_ROW | {"solution": "It is 2."}, "solution", "expected an answer in \\boxed{}"),
    "math, empty box": (Math(), MATH_ROW | {"solution": "\\boxed{ }"}, "solution", "expected an answer in \\boxed{}"),
    "math without solution": (Math(), {"problem": "What?"}, "solution", "required, but missing"),
    "math, level a number": (Math(), MATH_ROW | {"level": 5}, "level", "expected a text, got a number"),
    "nq, a text": (NaturalQuestions(), NQ_ROW | {"answer": "Jane Austen"}, "answer", "expected a list"),
    "nq, no answer": (NaturalQuestions(), NQ_ROW | {"answer": []}, "answer", "expected a list of one or more"),
    "nq, missing": (NaturalQuestions(), {"question": "who"}, "answer", "required, but missing"),
    "nq, an object": (NaturalQuestions(), NQ_ROW | {"answer": [{}]}, "answer", "expected a text, got an object"),
    "nq, long": (NaturalQuestions(), NQ_ROW | {"answer": ["x" * 501]}, "answer", "at most 500 characters"),
}  # fmt: skip


@pytest.mark.parametrize(("task", "row", "field", "problem"), BAD.values(), ids=BAD.keys())
def test_a_bad_row_is_refused_with_one_clear_error(read, task, row, field, problem):
    with pytest.raises(DatasetError) as caught:
        read(task, row)
    assert caught.value.where.endswith("problems.jsonl:1")
    assert caught.value.field == field
    assert problem in caught.value.problem
    assert caught.value.remedy
    assert len(str(caught.value)) < 600


def test_the_same_question_twice_is_refused(read):
    with pytest.raises(DatasetError, match="stands in line 1 too"):
        read(Gsm8k(), GSM8K_ROW, GSM8K_ROW | {"answer": "#### 19"})


@pytest.mark.parametrize("task", [Gsm8k(), Math(), NaturalQuestions()], ids=lambda task: task.name)
def test_examples_are_right_and_wrong_ones_wrong(task):
    examples, wrong = task.examples(), task.wrong_examples()
    assert len(examples) == len({problem.problem_id for problem, _ in examples}) == 4
    grades = task.grade_all([(problem, text, True) for problem, text in examples + wrong])
    assert [(g.verdict, g.strict_verdict) for g in grades] == [("correct",) * 2] * 4 + [("incorrect",) * 2] * 4
    assert [problem for problem, _ in wrong] == [problem for problem, _ in examples]
    for problem, _ in examples:
        assert problem.problem_id == task.content_key(problem)
        assert task.question(problem).startswith(problem.data[task.text_key])
        assert task.grade(problem, "").verdict == "unparseable"


@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("jsonl", "open")])
def test_wrong_examples_of_every_task_are_parsed_and_incorrect(name):
    sizes = [{"numbers": size} for size in (2, 3, 4)] if name == "countdown" else [{}]
    for parameters in sizes:
        task = TASKS[name](**parameters)
        wrong = task.wrong_examples()
        assert [problem for problem, _ in wrong] == [problem for problem, _ in task.examples()] != []
        for grade in task.grade_all([(problem, text, True) for problem, text in wrong]):
            assert (grade.verdict, grade.strict_verdict) == ("incorrect", "incorrect")


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A folder of JSONL files that the library datasets reads in the place of a repository of the hub."""
    datasets = pytest.importorskip("datasets", reason="the extra mindgap[datasets] is not installed")
    rows = [{"question": f"What is {i} * 6?", "answer": f"#### {i * 6}"} for i in range(30)]
    example = {"question": Gsm8k().examples()[0][0].data["question"], "answer": "#### 32"}
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[3], example]))
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[25:]))
    load_dataset = datasets.load_dataset

    def from_the_folder(name, config, split, revision):
        assert (name, config, revision) == ("our/gsm8k", None, REVISION)
        return load_dataset(str(folder), split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", from_the_folder)
    load_rows.cache_clear()
    yield Gsm8k(dataset="our/gsm8k", dataset_config=None, revision=REVISION)
    load_rows.cache_clear()


def test_a_local_folder_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="is a file or folder here") as caught:
        Gsm8k(dataset=str(tmp_path)).generate("eval", 1, 0)
    assert caught.value.field == "task.dataset"


def test_problems_of_a_dataset(dataset):
    evaluation = dataset.generate("eval", 5, seed=0)
    training = dataset.generate("train", 25, seed=0)
    assert {problem.answer for problem in evaluation} == {"150", "156", "162", "168", "174"}
    assert {problem.answer for problem in training} == {str(6 * i) for i in range(25)}  # no duplicate, no example
    assert {problem.split for problem in training} == {"train"}
    order = [problem.answer for problem in training]
    assert [problem.answer for problem in dataset.generate("train", 10, seed=0)] == order[:10]
    assert [problem.answer for problem in dataset.generate("train", 10, seed=0, skip=5)] == order[5:15]
    assert [problem.answer for problem in dataset.generate("train", 25, seed=1)] != order
    with pytest.raises(DatasetError, match="train split has 25 distinct problems, 26 asked for"):
        dataset.generate("train", 20, seed=0, skip=6)
    assert dataset.capacity("train") is None


def test_a_dataset_that_cannot_be_reached(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra mindgap[datasets] is not installed")

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    load_rows.cache_clear()
    with pytest.raises(DatasetError) as caught:
        Gsm8k().generate("eval", 1, 0)
    assert caught.value.field == "task.dataset"
    assert "cannot be loaded (ConnectionError: Couldn't reach 'openai/gsm8k' on the Hub)" in caught.value.problem
    assert "problems.train_file and problems.eval_file" in caught.value.remedy


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    load_rows.cache_clear()
    with pytest.raises(DatasetError, match="the library datasets is not installed") as caught:
        Gsm8k().generate("eval", 1, 0)
    assert "problems.train_file" in caught.value.remedy


@pytest.mark.parametrize("task", [Math(), NaturalQuestions()], ids=lambda task: task.name)
def test_a_revision_has_to_be_pinned(task):
    with pytest.raises(DatasetError, match="the revision is not pinned") as caught:
        task.generate("eval", 1, 0)
    assert caught.value.field == "task.revision"
    with pytest.raises(ValueError, match="revision"):
        type(task)(revision="main")


def test_the_shuffle_leaves_the_global_generator_alone(dataset):
    random.seed(1)
    first = random.random()
    random.seed(1)
    dataset.generate("eval", 2, seed=0)
    assert random.random() == first
