"""Graders by name: one file each, one line here. A task has one; the ``jsonl`` task lets the user name it."""

from ops.graders.base import Grader
from ops.graders.countdown import CountdownGrader
from ops.graders.exact import Exact
from ops.graders.expression import Expression
from ops.graders.label import Label
from ops.graders.math import Math
from ops.graders.numeric import Numeric
from ops.graders.sudoku import SudokuGrader

GRADERS: dict[str, type[Grader]] = {
    "numeric": Numeric,
    "math": Math,
    "exact": Exact,
    "expression": Expression,
    "countdown": CountdownGrader,
    "sudoku": SudokuGrader,
    "label": Label,
}
