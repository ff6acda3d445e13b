"""A user's own rows, answered by the built-in arithmetic models: each is checked before anything runs."""

from __future__ import annotations

import json

import pytest

from ops.builtin.sizes import RECIPES, recipe_of, recipe_of_problem
from ops.config import Experiment
from ops.errors import DatasetError
from ops.prompts.compact import CompactFormat
from ops.stages.problems import check_problem_files
from ops.tasks.jsonl import Jsonl
from ops.types import Problem

ARITHMETIC = RECIPES["arithmetic"].exercises
GOOD = [
    {"problem": "12 + 7 - 5 * 2", "answer": "28"},
    {"problem": "30 - 11 + 4 * 3", "answer": 69},
    {"problem": "8 * 9 - 26 + 17", "answer": "63.0"},
]


def experiment(folder, evaluation, training=({"problem": "14 + 9 - 6 * 4", "answer": "68"},), **changes) -> Experiment:
    for name, rows in (("eval", evaluation), ("train", training)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "name": "mine",
        "hypothesis": "It can tell its right sums from its wrong ones.",
        "model": {"kind": "builtin", "recipe": "arithmetic", "size": "a", "steps": 1},
        "task": {"name": "jsonl", "grader": "numeric"},
        "problems": {"eval": len(evaluation), "train_per_iteration": len(training)}
        | {f"{name}_file": str(folder / f"{name}.jsonl") for name in ("eval", "train")},
        "verifiers": [{"name": "logit"}],
        "iterations": 0,
    }
    return Experiment.model_validate({**fields, **changes})


def test_good_rows_are_posed_in_the_notation(tmp_path):
    evaluation, training = check_problem_files(experiment(tmp_path, GOOD))
    assert [CompactFormat().solve(problem) for problem in evaluation] == [
        "<s> 12 + 7 - 5 * 2 :",
        "<s> 30 - 11 + 4 * 3 :",
        "<s> 8 * 9 - 26 + 17 :",
    ]
    assert len(training) == 1
    assert CompactFormat().logit(evaluation[0], "12 + 7 = 19").startswith("<s> 12 + 7 - 5 * 2 : 12 + 7 = 19 . ?")
    right = "12 + 7 = 19 ; 19 - 5 = 14 ; 14 * 2 = 28"
    assert Jsonl(grader="numeric").grade(evaluation[0], right).verdict == "correct"


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ({"problem": "What is 6 * 3?", "answer": "18"}, "problem", "cannot read it"),
        ({"problem": "12 / 4 + 1", "answer": "4"}, "problem", "' + ', ' - ' or ' * '"),
        ({"problem": "12 + 7", "answer": "19"}, "problem", "2 to 4 operations"),
        ({"problem": "31 + 7 - 5", "answer": "33"}, "problem", "numbers from 1 to 30"),
        ({"problem": "30 * 4 - 29", "answer": "91"}, "problem", "leaves 0..99"),
        ({"problem": "2 + 3 * 4", "answer": "14"}, "answer", "expected 20"),  # with precedence it would be 14
    ],
)
def test_a_bad_row_is_named_with_file_line_field_and_remedy(tmp_path, row, field, words):
    for split, line in (("eval", 3), ("train", 2)):
        rows = {"evaluation": [*GOOD[:2], row]} if split == "eval" else {"evaluation": GOOD, "training": (GOOD[1], row)}
        with pytest.raises(DatasetError) as caught:
            check_problem_files(experiment(tmp_path, **rows))
        assert caught.value.where.endswith(f"{split}.jsonl:{line}") and caught.value.field == field
        assert words in caught.value.problem and caught.value.remedy


def test_a_problem_of_pretraining_is_refused_for_evaluation_only(tmp_path):
    posed = ARITHMETIC.keys()[0]
    row = {"problem": posed, "answer": ARITHMETIC.right(None, posed)[-1].result}
    with pytest.raises(DatasetError, match="pretrained on this very problem") as caught:
        check_problem_files(experiment(tmp_path, [*GOOD, row]))
    assert caught.value.where.endswith("eval.jsonl:4")
    _, training = check_problem_files(experiment(tmp_path, GOOD, [row]))
    assert training[0].data["problem"] == posed


def test_what_was_never_posed_may_be_evaluated():
    """Of a user's problems the pool itself is asked; of generated ones the whole training split stays left out."""
    posed = set(ARITHMETIC.keys())
    task = ARITHMETIC.task
    [generated] = [p for p in task.generate("train", 1, seed=99) if p.data["expression"] not in posed]
    mine = Problem("x", "jsonl", "eval", {"problem": generated.data["expression"]}, generated.answer)
    assert ARITHMETIC.may_pose(generated) and not ARITHMETIC.may_pose(mine)


def test_which_recipe_reads_which_task():
    mine = Problem("x", "jsonl", "eval", {"problem": "7 + 5 - 3"}, "9")
    assert recipe_of("jsonl") is None and recipe_of_problem(mine) is RECIPES["arithmetic"]
    assert recipe_of_problem(Problem("x", "sudoku", "eval", {}, None)) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": {"name": "jsonl", "grader": "math"}}, "task.grader: numeric"),
        ({"model": {"kind": "builtin", "recipe": "countdown"}}, "task.name: countdown"),
    ],
)
def test_other_graders_and_recipes_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        experiment(tmp_path, GOOD, **changes)
