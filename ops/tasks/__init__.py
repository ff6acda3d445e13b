"""Tasks by name: one file each, one line here."""

from ops.tasks.countdown import Countdown
from ops.tasks.sudoku import Sudoku

TASKS = {
    "countdown": Countdown,
    "sudoku": Sudoku,
}
