"""The built-in notation as a prompt format, by hand, for both recipes."""

import pytest

from ops.builtin.model import CONTEXT_TOKENS
from ops.builtin.notation import VOCABULARY
from ops.errors import EngineError
from ops.prompts.compact import CompactFormat
from ops.tasks.arithmetic import Arithmetic
from ops.tasks.countdown import Countdown
from ops.types import Problem

FORMAT = CompactFormat()
COUNTDOWN = Problem("p", "countdown", "eval", {"numbers": [10, 8, 6], "target": 12})
ARITHMETIC = Problem("p", "arithmetic", "eval", {"expression": "7 + 5 - 3"}, answer="9")
SUDOKU = Problem("p", "sudoku", "eval", {"puzzle": "1...3.12.14343.1"})
POSED = ((COUNTDOWN, "<s> 10 8 6 -> 12"), (ARITHMETIC, "<s> 7 + 5 - 3"))


@pytest.mark.parametrize(("problem", "posed"), POSED)
def test_prompts_by_hand(problem, posed):
    assert FORMAT.solve(problem) == f"{posed} :"
    assert FORMAT.logit(problem, "1 + 2 = 3") == f"{posed} : 1 + 2 = 3 . ?"
    assert FORMAT.binary_cot(problem, "1 + 2 = 3") == f"{posed} : 1 + 2 = 3 . #"
    assert FORMAT.score_cot(problem, "1 + 2 = 3", (0, 10)) == f"{posed} : 1 + 2 = 3 . %"
    assert FORMAT.tournament(problem, "1 + 2 = 3", "4") == f"{posed} : A 1 + 2 = 3 . B 4 . !"


def test_completions():
    assert FORMAT.completion("1 + 2 = 3", True) == " 1 + 2 = 3 . </s>"
    assert FORMAT.completion("1 + 2", False) == " 1 + 2"


def test_the_identity_is_that_of_the_first_release():
    assert FORMAT.identity() == "compact/1"


def test_p_true_shows_a_right_and_a_wrong_attempt_first():
    assert FORMAT.p_true(ARITHMETIC, "7 + 5 = 12 ; 12 - 3 = 9") == (
        "<s> 7 + 5 - 3 * 2 : 7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 18 . ? yes "
        "<s> 7 + 5 - 3 * 2 : 7 + 5 = 12 ; 12 - 3 = 9 ; 9 * 2 = 19 . ? no "
        "<s> 7 + 5 - 3 : 7 + 5 = 12 ; 12 - 3 = 9 . ?"
    )


@pytest.mark.parametrize("task", [Countdown(), Arithmetic()])
def test_p_true_fits_the_context(task):
    for problem in task.generate("eval", 20, 0):
        words = FORMAT.p_true(problem, "9 + 9 = 18 ; 9 + 9 = 18 ; 9 + 9 = 18 ; 9 + 9 = 18 ; 9 + 9 = 18").split()
        assert set(words) <= set(VOCABULARY)
        assert len(words) < CONTEXT_TOKENS
        assert words.count("yes") == words.count("no") == 1


@pytest.mark.parametrize("scale", [(1, 10), (0, 5), (0, 100)])
def test_another_scale_is_one_clear_error(scale):
    with pytest.raises(EngineError, match=r"verifiers\.scale") as caught:
        FORMAT.score_cot(COUNTDOWN, "1 + 2 = 3", scale)
    assert "0..10" in str(caught.value)
    assert caught.value.remedy


def test_a_task_without_notation_is_one_clear_error():
    with pytest.raises(EngineError, match=r"sudoku: task\.name.*no notation") as caught:
        FORMAT.solve(SUDOKU)
    assert "countdown, arithmetic" in caught.value.remedy


@pytest.mark.parametrize(
    ("transcript", "verdict"),
    [
        ("7 + 5 = 12 12 ok => yes", "correct"),
        ("7 + 5 = 13 12 bad => no", "incorrect"),
        ("=> yes 1 => no", "incorrect"),  # the last one counts
        ("7 + 5 = 12 12 ok =>", "unparseable"),
        ("=> ok", "unparseable"),
        ("yes", "unparseable"),
        ("", "unparseable"),
    ],
)
def test_binary_verdicts(transcript, verdict):
    assert FORMAT.parse_binary_cot(transcript, True) == verdict


@pytest.mark.parametrize(
    ("transcript", "score"),
    [
        ("7 + 5 = 12 12 ok => 10", 10.0),
        ("=> 0", 0.0),
        ("=> 3 => 7", 7.0),
        ("=> 11", None),
        ("=> -1", None),
        ("=> yes", None),
        ("=> 10 0", 10.0),
        ("=> ²", None),
        ("=>", None),
        ("7", None),
    ],
)
def test_scores(transcript, score):
    assert FORMAT.parse_score_cot(transcript, True, (0, 10)) == score


@pytest.mark.parametrize(
    ("transcript", "said"),
    [("A 7 ok B 7 bad => A", "first"), ("=> B", "second"), ("A", None), ("=> yes", None), ("", None)],
)
def test_tournament_answers(transcript, said):
    assert FORMAT.parse_tournament(transcript, True) == said
