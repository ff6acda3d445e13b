"""Tasks by name: one file each, one line here."""

from ops.tasks.arithmetic import Arithmetic
from ops.tasks.countdown import Countdown
from ops.tasks.gsm8k import Gsm8k
from ops.tasks.jsonl import Jsonl
from ops.tasks.math import Math
from ops.tasks.natural_questions import NaturalQuestions
from ops.tasks.sudoku import Sudoku

TASKS = {
    "arithmetic": Arithmetic,
    "countdown": Countdown,
    "gsm8k": Gsm8k,
    "jsonl": Jsonl,
    "math": Math,
    "natural_questions": NaturalQuestions,
    "sudoku": Sudoku,
}
