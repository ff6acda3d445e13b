"""The numeric grader against the labels of 5,276 recorded GSM8K solutions (1,319 questions, 4 models).

The files are those of the dataset's repository (github.com/openai/grade-school-math): name their folder
in MINDGAP_GSM8K, or have it beside the clone as ``shared/data/gsm8k``.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ops.graders.batch import grade_all
from ops.graders.math import Math
from ops.graders.numeric import Numeric
from ops.tasks.gsm8k import Gsm8k
from ops.tasks.rows import read_problem_file
from ops.types import Problem

FOLDER = Path(os.environ.get("MINDGAP_GSM8K") or Path(__file__).parents[3] / "shared" / "data" / "gsm8k")
SOLUTIONS = FOLDER / "example_model_solutions.jsonl"
CORRECT_LABELS = {"6b_finetuning": 286, "6b_verification": 515, "175b_finetuning": 458, "175b_verification": 742}
PERCENT = {"6b_finetuning": 21.7, "6b_verification": 39.0, "175b_finetuning": 34.7, "175b_verification": 56.3}

EXPLAINED: dict[tuple[str, str], str] = {}
"""(first 16 digits of the question's SHA-256, model): why grader and label differ. They differ nowhere."""

CUT = 11
"""Solutions that were cut before their 'A:' line; all are labelled incorrect."""

pytestmark = pytest.mark.skipif(
    not SOLUTIONS.exists(), reason=f"{SOLUTIONS} is absent: name the folder of the GSM8K files in MINDGAP_GSM8K"
)


@pytest.fixture(scope="module")
def recorded():
    """(question hash, model, label, problem, solution) of every recorded solution."""
    rows = [json.loads(line) for line in SOLUTIONS.read_text(encoding="utf-8").splitlines()]
    return [
        (
            hashlib.sha256(row["question"].encode()).hexdigest()[:16],
            model,
            row[model]["is_correct"],
            Problem("p", "gsm8k", "eval", {"question": row["question"]}, row["ground_truth"].rpartition("A: ")[2]),
            row[model]["solution"],
        )
        for row in rows
        for model in CORRECT_LABELS
    ]


def disagreements(recorded, grades) -> set[tuple[str, str]]:
    return {
        (question, model)
        for (question, model, label, _, _), grade in zip(recorded, grades, strict=True)
        if (grade.verdict == "correct") != label
    }


def test_every_disagreement_is_explained(recorded):
    assert len(recorded) == 5276 and len({question for question, *_ in recorded}) == 1319
    grades = grade_all(Numeric("A:"), [(problem, text, True) for *_, problem, text in recorded])
    assert disagreements(recorded, grades) == set(EXPLAINED)


def test_accuracies(recorded):
    grades = grade_all(Numeric("A:"), [(problem, text, True) for *_, problem, text in recorded])
    for model, percent in PERCENT.items():
        verdicts = [g.verdict for (_, name, *_), g in zip(recorded, grades, strict=True) if name == model]
        assert verdicts.count("correct") == CORRECT_LABELS[model]
        assert round(100 * verdicts.count("correct") / len(verdicts), 1) == percent


def test_a_flipped_label_and_a_changed_number_are_noticed(recorded):
    """So the empty list above is a finding, not blindness: each of 200 changed solutions is found."""
    sample = [item for item in recorded if item[2]][:200]
    changed = [(problem, f"{text.rpartition('A: ')[0]}A: {problem.answer}7", True) for *_, problem, text in sample]
    grades = grade_all(Numeric("A:"), changed)
    assert len(disagreements(sample, grades)) == len({item[:2] for item in sample}) == 200


def test_strict_extraction_refuses_what_has_no_number_on_an_answer_line(recorded):
    grades = grade_all(Numeric("A:"), [(problem, text, True) for *_, problem, text in recorded])
    loose = [
        (text, label)
        for (*_, label, _, text), g in zip(recorded, grades, strict=True)
        if g.strict_verdict == "unparseable"
    ]
    assert len(loose) == CUT + 4  # and '-1.8 billion', "10+John's age", '1/5', '7/14'
    assert not any(label for _, label in loose)
    assert sum("\nA: " not in text for text, _ in loose) == CUT


@pytest.mark.slow
def test_math_verify_agrees_with_every_label(recorded):
    grades = grade_all(Math(), [(problem, text, True) for *_, problem, text in recorded])
    assert disagreements(recorded, grades) == set()


@pytest.mark.parametrize(("name", "split", "count"), [("train", "train", 7473), ("test", "eval", 1319)])
def test_the_dataset_files_are_read_whole(name, split, count):
    problems = read_problem_file(Gsm8k(), FOLDER / f"{name}.jsonl", split)
    assert len(problems) == len({problem.problem_id for problem in problems}) == count
    assert not {problem.problem_id for problem, _ in Gsm8k().examples()} & {problem.problem_id for problem in problems}
    assert all(Gsm8k().grade(problem, f"#### {problem.answer}").strict_verdict == "correct" for problem in problems)


def test_the_splits_share_no_question():
    train = {problem.problem_id for problem in read_problem_file(Gsm8k(), FOLDER / "train.jsonl", "train")}
    evaluation = {problem.problem_id for problem in read_problem_file(Gsm8k(), FOLDER / "test.jsonl", "eval")}
    assert not train & evaluation
