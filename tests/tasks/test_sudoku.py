"""Sudoku: puzzles with one solution, disjoint splits, and a grader that never raises."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import DatasetError
from ops.tasks.grids import GRIDS
from ops.tasks.sudoku import Sudoku, split_of
from ops.types import Problem

PUZZLE = "1...3.12.14343.1"
SOLUTION = "1234341221434321"
ROWS = "1234\n3412\n2143\n4321"
PROBLEM = Problem(f"sudoku-{PUZZLE}", "sudoku", "train", {"puzzle": PUZZLE}, answer=SOLUTION)


def follows_the_rules(grid: str) -> bool:
    """Written apart from the solver: 12 units, each with four different digits."""
    rows = [grid[4 * i : 4 * i + 4] for i in range(4)]
    columns = ["".join(row[j] for row in rows) for j in range(4)]
    boxes = [rows[i][j : j + 2] + rows[i + 1][j : j + 2] for i in (0, 2) for j in (0, 2)]
    return all(set(unit) == set("1234") for unit in [*rows, *columns, *boxes])


ROWS_OF_FOUR = ["".join(row) for row in itertools.permutations("1234")]
HALVES = [
    a + b
    for a, b in itertools.product(ROWS_OF_FOUR, repeat=2)
    if not (set(a[:2]) & set(b[:2]) or set(a[2:]) & set(b[2:]))
]
ALL_GRIDS = [top + bottom for top, bottom in itertools.product(HALVES, repeat=2) if follows_the_rules(top + bottom)]
"""Brute force over every two pairs of rows whose boxes hold four different digits."""


def solutions_by_brute_force(puzzle: str) -> list[str]:
    return [g for g in ALL_GRIDS if all(clue in (".", digit) for clue, digit in zip(puzzle, g, strict=True))]


def test_there_are_288_grids():
    assert len(ALL_GRIDS) == 288
    assert sorted(GRIDS) == sorted(ALL_GRIDS)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), split=st.sampled_from(["train", "eval"]), blanks=st.integers(4, 11))
def test_generated_puzzles_have_one_solution(seed, split, blanks):
    task = Sudoku(min_blanks=blanks, max_blanks=blanks + 1)
    problems = task.generate(split, 20, seed)
    assert len({problem.problem_id for problem in problems}) == 20
    for problem in problems:
        puzzle = problem.data["puzzle"]
        assert solutions_by_brute_force(puzzle) == [problem.answer]
        assert blanks <= puzzle.count(".") <= blanks + 1
        assert problem.problem_id == f"sudoku-{puzzle}"
        assert split_of(puzzle) == problem.split == split


def test_splits_are_disjoint_whatever_the_seed():
    train = {p.problem_id for seed in range(5) for p in Sudoku().generate("train", 300, seed)}
    evaluation = {p.problem_id for seed in range(5, 10) for p in Sudoku().generate("eval", 300, seed)}
    assert not train & evaluation


def test_a_prefix_does_not_depend_on_the_count():
    many = Sudoku().generate("eval", 50, 3)
    assert Sudoku().generate("eval", 10, 3) == many[:10]
    assert Sudoku().generate("eval", 15, 3, skip=20) == many[20:35]
    assert Sudoku().generate("eval", 10, 4) != many[:10]


def test_capacity_is_exact_where_it_is_a_number():
    task = Sudoku(min_blanks=1, max_blanks=1)
    train, evaluation = task.capacity("train"), task.capacity("eval")
    assert train + evaluation == 288 * 16  # one empty cell always leaves one solution
    assert len({p.problem_id for p in task.generate("eval", evaluation, 0)}) == evaluation
    with pytest.raises(DatasetError, match=f"eval split has {evaluation} distinct problems, {evaluation + 1} asked"):
        task.generate("eval", evaluation + 1, 0)
    assert Sudoku().capacity("train") is None


def test_examples_are_right_and_never_generated():
    examples = Sudoku().examples()
    ids = {problem.problem_id for problem, _ in examples}
    for problem, text in examples:
        assert solutions_by_brute_force(problem.data["puzzle"]) == [problem.answer]
        grade = Sudoku().grade(problem, text)
        assert (grade.verdict, grade.strict_verdict, grade.answer) == ("correct", "correct", problem.answer)
    blanks = {problem.data["puzzle"].count(".") for problem, _ in examples}
    narrow = Sudoku(min_blanks=min(blanks), max_blanks=max(blanks))
    assert not ids & {p.problem_id for s in ("train", "eval") for p in narrow.generate(s, 5000, 0)}
    assert len(ids) == 4


def test_the_question_shows_the_puzzle_and_the_format():
    question = Sudoku().question(PROBLEM)
    assert "1...\n3.12\n.143\n43.1" in question
    assert "four lines of four digits" in question


SPACED = "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1"
FRAMED = """+-----+-----+
| 1 2 | 3 4 |
| 3 4 | 1 2 |
+-----+-----+
| 2 1 | 4 3 |
| 4 3 | 2 1 |
+-----+-----+"""
READABLE = {
    "strict": ROWS,
    "one line": SOLUTION,
    "groups": "1234 3412 2143 4321",
    "spaces": SPACED,
    "with prose": f"Let me think.\nThe grid is:\n{SPACED}\nDone.",
    "pipes and borders": FRAMED,
    "box drawing": FRAMED.replace("-", "─").replace("|", "│").replace("+", "┼"),
    "markdown": "|1|2|3|4|\n|-|-|-|-|\n|3|4|1|2|\n|2|1|4|3|\n|4|3|2|1|",
    "fence": f"```\n{ROWS}\n```",
    "lists": "[[1, 2, 3, 4],\n [3, 4, 1, 2],\n [2, 1, 4, 3],\n [4, 3, 2, 1]]",
    "one-line lists": "Answer: [[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]",
    "labels": "Row 1: 1 2 3 4\nRow 2: 3 4 1 2\nRow 3: 2 1 4 3\nRow 4: 4 3 2 1",
    "a digit a line": "\n".join(SOLUTION),
    "windows line ends": ROWS.replace("\n", "\r\n"),
    "the last of two": f"First try:\n1234\n3421\n2143\n4321\n\nNo, rather:\n\n{ROWS}",
    "two in a row": f"1243\n3412\n2143\n4321\n{ROWS}",
    "a step number before it": f"4\n{ROWS}",
    "the answer echoed with a label": f"Step 3: {SOLUTION}",
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE.keys())
def test_flexible_reading(text):
    grade = Sudoku().grade(PROBLEM, text)
    assert (grade.verdict, grade.answer) == ("correct", SOLUTION)
    assert grade.strict_verdict == ("correct" if text == ROWS else "unparseable")


UNREADABLE = {
    "empty": "",
    "prose": "I do not know.",
    "three rows": "1234\n3412\n2143",
    "the puzzle itself": "1...\n3.12\n.143\n43.1",
    "zeros for blanks": "1000\n3012\n0143\n4301",
    "a 5": "1235\n3412\n2143\n4321",
    "15 digits": SOLUTION[:-1],
    "17 digits": SOLUTION + "1",
    "rows kept apart by prose": "1234\nthen\n3412\nthen\n2143\nthen\n4321",
    "other digits": ROWS.translate({ord("1") + i: 0x0661 + i for i in range(4)}),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unparseable(text):
    grade = Sudoku().grade(PROBLEM, text)
    assert (grade.verdict, grade.strict_verdict, grade.answer) == ("unparseable", "unparseable", None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1234\n3412\n2143\n4312", "the given 1 in row 4, column 4 became 2"),
        ("4321\n3412\n2143\n4321", "the given 1 in row 1, column 1 became 4"),
        ("1224\n3412\n2143\n4321", "row 1 is 1224"),
    ],
)
def test_a_wrong_grid_is_incorrect_with_a_reason(text, reason):
    grade = Sudoku().grade(PROBLEM, text)
    assert (grade.verdict, grade.strict_verdict, grade.reason) == ("incorrect", "incorrect", reason)
    assert grade.answer == text.replace("\n", "")


def test_a_response_that_was_cut_is_never_strictly_correct():
    grade = Sudoku().grade(PROBLEM, ROWS, finished=False)
    assert (grade.verdict, grade.strict_verdict) == ("correct", "unparseable")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="1234 .|\n-[],:x", max_size=120)), st.booleans())
def test_the_grader_never_raises_and_agrees_with_brute_force(text, finished):
    grade = Sudoku().grade(PROBLEM, text, finished)
    assert (grade.answer is None) == (grade.verdict == "unparseable")
    assert (grade.verdict == "correct") == (grade.answer == SOLUTION)
    if grade.strict_verdict != "unparseable":
        assert grade.strict_verdict == grade.verdict


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ALL_GRIDS), st.sampled_from(ALL_GRIDS))
def test_any_completed_grid_is_read_back(grid, other):
    text = "\n".join(" ".join(grid[i : i + 4]) for i in (0, 4, 8, 12))
    assert Sudoku().grade(PROBLEM, f"{other}\n\n{text}").answer == grid


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text", ["1 " * 500_000, "1" * 1_000_000, "1234\n" * 200_000, " " * 1_000_000, "(" * 1_000_000]
)
def test_a_runaway_response_is_graded_at_once(text):
    assert Sudoku().grade(PROBLEM, text).verdict in ("incorrect", "unparseable")
