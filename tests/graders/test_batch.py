"""Worker processes: what a grader does to its process costs one item, never the batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ops.graders import GRADERS
from ops.graders.base import Grader
from ops.graders.batch import grade_all, grade_in_workers
from ops.graders.numeric import Numeric
from ops.tasks.countdown import Countdown
from ops.tasks.sudoku import Sudoku
from ops.types import Problem
from tests.graders.hostile import Hostile

PROBLEM = Problem("p", "jsonl", "eval", {}, "18")
DEEDS = {
    "hang": "grader timed out after 2 s",
    "hang in C": "grader timed out after 2 s",
    "raise": "grader crashed: ZeroDivisionError: division by zero",
    "recurse": "grader crashed: RecursionError: maximum recursion depth exceeded",
    "exit": "grader crashed: its worker process ended with exit code 3",
    "segfault": "grader crashed: its worker process ended with exit code -11",
    "eat memory": "grader crashed: MemoryError",
}


def test_a_hang_or_a_crash_costs_one_item():
    texts = [text for pair in zip(DEEDS, ("good",) * len(DEEDS), strict=True) for text in pair]
    grades = grade_in_workers(Hostile(), [(PROBLEM, text, True) for text in texts], timeout=2.0)
    for text, grade in zip(texts, grades, strict=True):
        if text == "good":
            assert (grade.verdict, grade.answer) == ("correct", "good")
        else:
            assert (grade.verdict, grade.strict_verdict, grade.answer) == ("unparseable", "unparseable", None)
            assert grade.reason.startswith(DEEDS[text])


def test_the_order_is_kept_and_nothing_is_nothing():
    texts = [str(number) for number in range(300)]
    grades = grade_all(Hostile(), [(PROBLEM, text, True) for text in texts])
    assert [grade.answer for grade in grades] == texts
    assert grade_all(Hostile(), []) == []


def test_cheap_graders_stay_in_this_process_and_never_raise():
    class Raises(Grader):
        name, version = "raises", "1"

        def judge(self, problem, response, finished):
            raise KeyError("numbers")

    assert grade_all(Raises(), [(PROBLEM, "x", True)])[0].reason == "grader crashed: KeyError: 'numbers'"
    assert not any(grader.isolated for name, grader in GRADERS.items() if name != "math")
    before = psutil.Process().children(recursive=True)
    assert [g.verdict for g in grade_all(Numeric(), [(PROBLEM, "18", True), (PROBLEM, "9", True)])] == [
        "correct",
        "incorrect",
    ]
    assert psutil.Process().children(recursive=True) == before


def test_a_task_is_taken_as_well():
    problem, text = Countdown().examples()[0]
    grades = grade_all(Countdown(), [(problem, text, True), (problem, "no", True)])
    assert [grade.verdict for grade in grades] == ["correct", "unparseable"]


def test_delegating_graders_grade_as_the_tasks_do():
    for task in (Countdown(), Sudoku()):
        grader = GRADERS[task.name]()
        assert grader.version == type(task).grader_version
        for problem, text in task.examples() + task.wrong_examples():
            assert grader.grade(problem, text) == task.grade(problem, text)
            assert grader.grade(problem, text, False) == task.grade(problem, text, False)
        assert grader.grade(PROBLEM, text).reason.startswith("grader crashed: KeyError")


def test_names_and_versions():
    assert {name: grader.name for name, grader in GRADERS.items()} == {name: name for name in GRADERS}
    assert all(grader.version for grader in GRADERS.values())


def test_a_label_is_never_guessed():
    grade = GRADERS["label"]().grade(PROBLEM, "18")
    assert (grade.verdict, grade.strict_verdict, grade.answer) == ("unparseable", "unparseable", None)
    assert "recorded label" in grade.reason


HANGING = """
from ops.graders.batch import grade_in_workers
from ops.types import Problem
from tests.graders.hostile import Hostile
if __name__ == "__main__":
    item = (Problem("p", "jsonl", "eval", {}, "18"), "hang in C", True)
    grade_in_workers(Hostile(), [item] * 4, timeout=3.0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="process groups of POSIX")
def test_workers_leave_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "hanging.py"
    script.write_text(HANGING)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, str(script)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(workers) < 3 and time.monotonic() < deadline:  # the fork server, the resource tracker, a worker
        workers = psutil.Process(parent.pid).children(recursive=True)
        time.sleep(0.1)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert len(workers) >= 3 and not alive
