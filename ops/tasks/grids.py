"""4x4 Sudoku grids: all of them, the solutions of a puzzle, and reading a grid out of text."""

from __future__ import annotations

import re
from collections.abc import Iterator

SIDE, CELLS, EMPTY = 4, 16, "."
MAX_RESPONSE_CHARS = 20_000
"""A response is read by its last characters only, so that a runaway one costs little."""


def _units() -> dict[str, tuple[int, ...]]:
    units = {}
    for i in range(SIDE):
        units[f"row {i + 1}"] = tuple(SIDE * i + j for j in range(SIDE))
        units[f"column {i + 1}"] = tuple(SIDE * j + i for j in range(SIDE))
        corner = SIDE * 2 * (i // 2) + 2 * (i % 2)
        units[f"box {i + 1}"] = (corner, corner + 1, corner + SIDE, corner + SIDE + 1)
    return units


UNITS = _units()
"""The cells of every row, column and box."""

_PEERS = tuple(
    frozenset(cell for unit in UNITS.values() if position in unit for cell in unit) - {position}
    for position in range(CELLS)
)


def _fill(cells: str) -> Iterator[str]:
    """Backtracking: every grid that starts with the digits ``cells``, in ascending order."""
    if len(cells) == CELLS:
        yield cells
        return
    taken = {cells[peer] for peer in _PEERS[len(cells)] if peer < len(cells)}
    for digit in "1234":
        if digit not in taken:
            yield from _fill(cells + digit)


GRIDS: tuple[str, ...] = tuple(_fill(""))
"""All 288 completed grids, ascending."""

_WITH = tuple(
    {digit: sum(1 << index for index, grid in enumerate(GRIDS) if grid[position] == digit) for digit in "1234"}
    for position in range(CELLS)
)
"""For each cell and digit, the grids that have it, as the bits of an integer."""


def solutions(puzzle: str) -> list[str]:
    """Every completed grid that agrees with the clues of ``puzzle`` (16 characters), ascending."""
    left = (1 << len(GRIDS)) - 1
    for position, clue in enumerate(puzzle):
        if clue != EMPTY:
            left &= _WITH[position][clue]
    found = []
    while left:
        lowest = left & -left
        found.append(GRIDS[lowest.bit_length() - 1])
        left ^= lowest
    return found


def broken_rule(grid: str, puzzle: str) -> str:
    """Why the completed ``grid`` does not solve ``puzzle``, or '' where it does."""
    for position, clue in enumerate(puzzle):
        if clue not in (EMPTY, grid[position]):
            row, column = divmod(position, SIDE)
            return f"the given {clue} in row {row + 1}, column {column + 1} became {grid[position]}"
    for name, cells in UNITS.items():
        digits = "".join(grid[cell] for cell in cells)
        if len(set(digits)) < SIDE:
            return f"{name} is {digits}"
    return ""


def rows(cells: str) -> str:
    """16 characters as four lines of four."""
    return "\n".join(cells[start : start + SIDE] for start in range(0, CELLS, SIDE))


_STRICT = re.compile(r"[1-4]{4}(?:\n[1-4]{4}){3}")
_RUN = re.compile(r"(?<![\w.])[1-4](?:[ \t|,;/&\[\]()]*[1-4])*(?!\w|\.\d)")
_BORDER = re.compile(r"[\s\-+=|:_*`~─━│┃┼╋├┤┬┴┌┐└┘\[\]{}()]*")
_PLAIN = re.compile(r"[\s|,;/&\[\]()1-4]*[1-4][\s|,;/&\[\]()1-4]*")


def read_strict(text: str) -> str | None:
    """The 16 digits of a text that is exactly four lines of four digits, or None."""
    text = text.strip()
    return text.replace("\n", "") if _STRICT.fullmatch(text) else None


def read_flexible(text: str) -> str | None:
    """The 16 digits of the last thing in the text that reads as a completed 4x4 grid, or None.

    That is: 16 digits on one line with any separators, or consecutive lines (rules and blank lines
    between them do not count) that end in four digits each, or that hold 16 digits and nothing else.
    """
    found: str | None = None
    block: list[str] = []
    plain = True
    for line in text[-MAX_RESPONSE_CHARS:].translate(_FRAME_TO_BAR).splitlines():
        if _BORDER.fullmatch(line):
            continue
        runs = [re.sub(r"[^1-4]", "", run) for run in _RUN.findall(line)]
        whole = next((run for run in reversed(runs) if len(run) == CELLS), None)
        is_plain = _PLAIN.fullmatch(line) is not None
        if whole is not None:
            found, block, plain = whole, [], True
        elif is_plain or (runs and len(runs[-1]) == SIDE):
            plain = (plain or not block) and is_plain
            block.append(runs[-1] if runs else "")
            found = _grid_of(block, plain) or found
        else:
            block, plain = [], True
    return found


_FRAME_TO_BAR = str.maketrans("│┃║", "|||")


def _grid_of(block: list[str], plain: bool) -> str | None:
    if len(block) >= SIDE and all(len(row) == SIDE for row in block[-SIDE:]):
        return "".join(block[-SIDE:])
    digits = "".join(block)
    return digits[-CELLS:] if plain and digits and len(digits) % CELLS == 0 else None
