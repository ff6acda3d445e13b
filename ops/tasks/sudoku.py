"""4x4 Sudoku with exactly one solution: every row, column and 2x2 box holds 1, 2, 3, 4 once.

A puzzle is 16 characters row by row, ``.`` for an empty cell; its answer is 16 digits. The puzzles
are those of 2412.02674 §4 in kind (4x4, one solution each); the numbers of blanks are ours.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import comb
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ops.errors import DatasetError
from ops.tasks.base import Task
from ops.tasks.grids import CELLS, EMPTY, GRIDS, broken_rule, read_flexible, read_strict, rows, solutions
from ops.types import CORRECT, INCORRECT, UNPARSEABLE, Grade, Problem, Split

EVAL_MODULUS = 5
"""A puzzle belongs to the evaluation split when its stable hash is 0 modulo this."""

COUNTED_CANDIDATES = 250_000
"""Up to so many (grid, blanks) pairs ``capacity`` counts exactly; above, the splits are practically unbounded."""

FEWEST_CLUES = 4
"""No 4x4 puzzle with fewer clues has exactly one solution."""

_EXAMPLES = ("1...3.12.14343.1", "2.4.41..3.14.423", "32...4.3...4..12", ".314413.32.1..2.")
"""Puzzles of the few-shot prompt; never generated."""

_ROW_REMEDY = 'write rows such as {"puzzle": "1.34.4.22.4.4.21"}'


class Sudoku(Task):
    """4x4 Sudoku with ``min_blanks`` to ``max_blanks`` empty cells (of generated puzzles; a file's may differ)."""

    name: Literal["sudoku"] = "sudoku"
    min_blanks: int = Field(6, ge=1, le=CELLS - FEWEST_CLUES)
    max_blanks: int = Field(10, ge=1, le=CELLS - FEWEST_CLUES)
    version: ClassVar[str] = "1"
    grader_version: ClassVar[str] = "1"

    @model_validator(mode="after")
    def _ordered(self) -> Sudoku:
        if self.min_blanks > self.max_blanks:
            raise ValueError(f"min_blanks: at most max_blanks ({self.max_blanks}), got {self.min_blanks}")
        return self

    def generate(self, split: Split, count: int, seed: int, skip: int = 0) -> list[Problem]:
        puzzles = (puzzle for puzzle in _shuffled(self.min_blanks, self.max_blanks, split, seed))
        found = list(itertools.islice(puzzles, skip, skip + count))
        if len(found) < count:
            have = len(_all_of(self.min_blanks, self.max_blanks, split))
            raise DatasetError(
                "task sudoku",
                f"{split} split has {have} distinct problems, {skip + count} asked for",
                field="problems",
                remedy="ask for fewer problems, or widen task.min_blanks and task.max_blanks",
            )
        return [_problem(puzzle, split) for puzzle in found]

    def capacity(self, split: Split) -> int | None:
        masks = sum(comb(CELLS, blanks) for blanks in range(self.min_blanks, self.max_blanks + 1))
        if masks * len(GRIDS) > COUNTED_CANDIDATES:
            return None
        return len(_all_of(self.min_blanks, self.max_blanks, split))

    def content_key(self, problem: Problem) -> str:
        return str(problem.data["puzzle"])

    def read_row(self, row: Mapping[str, Any], where: str, split: Split) -> Problem:
        unknown = sorted(set(row) - {"puzzle"})
        if unknown:
            raise DatasetError(where, "unknown key", field=unknown[0], remedy=_ROW_REMEDY)
        if "puzzle" not in row:
            raise DatasetError(where, "required, but missing", field="puzzle", remedy=_ROW_REMEDY)
        text = row["puzzle"]
        if not isinstance(text, str) or len(text) != CELLS or set(text) - set("1234.0_"):
            expected = f"expected a text of {CELLS} characters 1-4 and . (or 0 or _) for an empty cell"
            raise DatasetError(where, f"{expected}, got {_shorten(text)}", field="puzzle", remedy=_ROW_REMEDY)
        puzzle = text.replace("0", EMPTY).replace("_", EMPTY)
        if EMPTY not in puzzle:
            raise DatasetError(where, f"{text!r} has no empty cell", field="puzzle", remedy="drop the row")
        found = solutions(puzzle)
        if len(found) != 1:
            problem = f"expected a puzzle with exactly one solution, {text!r} has {len(found) or 'none'}"
            raise DatasetError(where, problem, field="puzzle", remedy="correct its clues, or drop the row")
        return _problem(puzzle, split)

    def grade(self, problem: Problem, response: str, finished: bool = True) -> Grade:
        strict = read_strict(response) if finished else None
        grid = strict if strict is not None else read_flexible(response)
        if grid is None:
            return Grade(UNPARSEABLE, UNPARSEABLE, None, "no completed 4x4 grid found")
        reason = broken_rule(grid, str(problem.data["puzzle"]))
        verdict = INCORRECT if reason else CORRECT
        return Grade(verdict, verdict if strict is not None else UNPARSEABLE, grid, reason)

    def question(self, problem: Problem) -> str:
        return (
            "Complete this 4x4 Sudoku. Every row, every column and every 2x2 box must contain the digits 1, 2, 3 and 4 "
            f"exactly once. A dot is an empty cell.\n\n{rows(str(problem.data['puzzle']))}\n\n"
            "Write the completed grid as four lines of four digits, without spaces, and nothing else."
        )

    def examples(self) -> list[tuple[Problem, str]]:
        problems = [_problem(puzzle, "train") for puzzle in _EXAMPLES]
        return [(problem, rows(str(problem.answer))) for problem in problems]

    def wrong_examples(self) -> list[tuple[Problem, str]]:
        """The right grid with two rows swapped, or one row reversed."""
        wrong = []
        for index, (problem, text) in enumerate(self.examples()):
            lines = text.splitlines()
            if index % 2:
                lines[0] = lines[0][::-1]
            else:
                lines[1], lines[2] = lines[2], lines[1]
            wrong.append((problem, "\n".join(lines)))
        return wrong


def problem_id(puzzle: str) -> str:
    """``sudoku-1.34.4.22.4.4.21``."""
    return f"sudoku-{puzzle}"


def split_of(puzzle: str) -> Split:
    """The split of a puzzle, by a hash that never changes."""
    digest = hashlib.sha256(problem_id(puzzle).encode()).digest()
    return "eval" if int.from_bytes(digest[:8], "big") % EVAL_MODULUS == 0 else "train"


def _problem(puzzle: str, split: Split) -> Problem:
    return Problem(problem_id(puzzle), "sudoku", split, {"puzzle": puzzle}, answer=solutions(puzzle)[0])


@lru_cache(maxsize=64)
def _masks(min_blanks: int, max_blanks: int) -> tuple[tuple[int, ...], ...]:
    """Every set of empty cells, in a fixed order."""
    sizes = range(min_blanks, max_blanks + 1)
    return tuple(mask for size in sizes for mask in itertools.combinations(range(CELLS), size))


def _candidate(index: int, masks: tuple[tuple[int, ...], ...]) -> str:
    cells = list(GRIDS[index % len(GRIDS)])
    for position in masks[index // len(GRIDS)]:
        cells[position] = EMPTY
    return "".join(cells)


def _usable(puzzle: str, split: Split) -> bool:
    return puzzle not in _EXAMPLES and len(solutions(puzzle)) == 1 and split_of(puzzle) == split


def _shuffled(min_blanks: int, max_blanks: int, split: Split, seed: int) -> Iterator[str]:
    """Every puzzle of a split once, in the order of ``seed`` (a Fisher-Yates shuffle that stores only its moves)."""
    masks = _masks(min_blanks, max_blanks)
    draw = random.Random(f"sudoku:{split}:{seed}")
    total = len(masks) * len(GRIDS)
    moved: dict[int, int] = {}
    for i in range(total):
        j = draw.randrange(i, total)
        index = moved.get(j, j)
        moved[j] = moved.pop(i, i)
        puzzle = _candidate(index, masks)
        if _usable(puzzle, split):
            yield puzzle


@lru_cache(maxsize=8)
def _all_of(min_blanks: int, max_blanks: int, split: Split) -> tuple[str, ...]:
    masks = _masks(min_blanks, max_blanks)
    candidates = (_candidate(index, masks) for index in range(len(masks) * len(GRIDS)))
    return tuple(puzzle for puzzle in candidates if _usable(puzzle, split))


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
