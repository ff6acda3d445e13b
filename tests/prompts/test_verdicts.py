"""Reading verdicts, scores and preferences: what counts, what does not, and that nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.prompts.verdicts import read_better, read_score, read_verdict
from ops.types import CORRECT, INCORRECT, UNPARSEABLE


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("10 + 8 is 18.\nVerdict: correct", CORRECT),
        ("**Verdict:** Incorrect.", INCORRECT),
        ("**Verdict: Correct**", CORRECT),
        ("VERDICT: **incorrect**!", INCORRECT),
        ("Verdict:\n\n`correct`", CORRECT),
        ("My verdict is correct.", CORRECT),
        ("Verdict: correct? No.\n**Verdict: Incorrect**", INCORRECT),
        ("Verdict: incorrect ... wait.\nVerdict: correct", CORRECT),
        ("It looks correct to me.", UNPARSEABLE),
        ("Verdict: not correct", UNPARSEABLE),
        ("Verdict: partially correct", UNPARSEABLE),
        ("Verdict: correctly solved", UNPARSEABLE),
        ("Verdict: correct/incorrect", UNPARSEABLE),
        ("Verdict: correct or incorrect", UNPARSEABLE),
        ("Verdict:", UNPARSEABLE),
        ("", UNPARSEABLE),
    ],
)
def test_verdicts(text, verdict):
    assert read_verdict(text) == verdict


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 8", 8.0),
        ("**Score:** 8/10.", 8.0),
        ("Score: **8**/10", 8.0),
        ("**Score: 8 / 10**", 8.0),
        ("score: 8 out of 10", 8.0),
        ("Score: 7.5", 7.5),
        ("Score: 10.", 10.0),
        ("Score: 0", 0.0),
        ("Score: (9), because it holds", 9.0),
        ("Score: 3\nNo, more.\nScore: 9", 9.0),
        ("Score: 9\nScore: 11", None),
        ("Score: 8/5", None),
        ("Score: -1", None),
        ("Score: 8-9", None),
        ("Score: 80 - 90", None),
        ("Score: 8 - 9", None),
        ("Score: 8 or 9", None),
        ("Score: 80%", None),
        ("Score: 10,000", None),
        ("Score: 1e1", None),
        ("Score: 8/", 8.0),
        ("Score: high", None),
        ("Score: N", None),
        ("The team's score is 8.", None),
        ("8/10", None),
        ("Score: " + "9" * 5000, None),
    ],
)
def test_scores(text, score):
    assert read_score(text, (0, 10)) == score


def test_other_scales():
    assert read_score("Score: 0", (1, 10)) is None
    assert read_score("Score: 85/100", (0, 100)) == 85.0
    assert read_score("Score: -2", (-3, 3)) == -2.0
    assert read_score("Score: −2", (-3, 3)) == -2.0


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("Better: A", "first"),
        ("**Better:** B", "second"),
        ("**Better: B**", "second"),
        ("better: b.", "second"),
        ("Better: (A)", "first"),
        ("Better: Answer B", "second"),
        ("Better: **Response A**", "first"),
        ("Better: A, because it holds", "first"),
        ("Better: A\nBetter: B", "second"),
        ("Better: A\n\nB is wrong in its second step.", "first"),
        ("Better: a more careful answer", None),
        ("Better: A or B", None),
        ("Better: A/B", None),
        ("Better: A, B", None),
        ("Better: neither", None),
        ("Better: AB", None),
        ("A is better", None),
        ("", None),
    ],
)
def test_preferences(text, better):
    assert read_better(text) == better


@given(st.sampled_from("AB"), st.sampled_from(["", ".", "**", " because", ", of course", " or B", "\n"]))
def test_the_two_letters_are_read_alike(letter, after):
    said = f"{letter}{after}"
    swapped = said.translate(str.maketrans("AB", "BA"))
    flipped = {"first": "second", "second": "first", None: None}
    assert read_better(f"Better: {swapped}") == flipped[read_better(f"Better: {said}")]


_PIECES = st.sampled_from(
    [
        "Verdict",
        "Score",
        "Better",
        ":",
        " ",
        "\n",
        "**",
        "correct",
        "incorrect",
        "8",
        "/",
        "10",
        "-",
        ".",
        "A",
        "B",
        "or",
    ]
)
_TEXT = st.one_of(st.text(), st.lists(_PIECES, max_size=30).map("".join))


@given(_TEXT, st.tuples(st.integers(-5, 5), st.integers(6, 100)))
def test_nothing_raises_and_scores_stay_on_the_scale(text, scale):
    assert read_verdict(text) in (CORRECT, INCORRECT, UNPARSEABLE)
    assert read_better(text) in ("first", "second", None)
    score = read_score(text, scale)
    assert score is None or scale[0] <= score <= scale[1]


@given(_TEXT, st.integers(0, 10))
def test_the_last_line_wins(text, number):
    assert read_score(f"{text}\nScore: {number}", (0, 10)) == number
    assert read_verdict(f"{text}\nVerdict: correct\n") == CORRECT
    assert read_better(f"{text}\nBetter: B") == "second"


def test_a_long_transcript_is_read_quickly():
    import time

    start = time.monotonic()
    for text in (
        "Score: 8 " * 20_000,
        "*" * 100_000,
        "Better:" + " " * 100_000,
        "verdict " * 20_000,
        "Score: " + "8" * 100_000,
    ):
        read_verdict(text), read_better(text), read_score(text, (0, 10))
    assert time.monotonic() - start < 2.0
