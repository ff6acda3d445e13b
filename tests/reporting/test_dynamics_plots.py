"""Plots of training as sampling: curves hold what the table says, undefined values are gaps, a page can inline them."""

from __future__ import annotations

import math

import polars as pl
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from ops.reporting.dynamics_plots import (
    DISTINCT,
    SAMPLING_PANELS,
    SOLVED,
    STEPS,
    UNSOLVED,
    Curve,
    curves_of,
    draw_curves,
    entropy_curves,
    entropy_plot,
    group_curves,
    sampling_plot,
    sampling_svgs,
    training_dynamics,
)
from ops.reporting.plots import GREY, SERIES
from ops.storage.schemas import polars_schema

STEP = (2, 4)
VALUES = {
    ("policy", "all", "solved_questions"): (0.25, 0.5),
    ("base", "all", "solved_questions"): (0.25, 0.75),
    ("policy", "all", "distinct_answers"): (2.0, 3.0),
    ("base", "all", "distinct_answers"): (3.0, 5.0),
    ("policy", "unsolved", "distinct_answers"): (1.0, None),
    ("base", "unsolved", "distinct_answers"): (2.0, None),
    ("policy", "all", "entropy_nats_correct"): (None, 0.5),
    ("policy", "all", "entropy_nats_incorrect"): (1.0, 0.75),
    ("policy", "all", "distinct_answers_per_group"): (2.0, 1.5),
    ("policy", "solved", "distinct_answers_per_group_own"): (1.75, 1.25),
    ("policy", "unsolved", "distinct_answers_per_group_own"): (2.5, 2.0),
    ("policy", "unsolved", "distinct_answers_per_group"): (9.0, 9.0),
}


def frame(values=VALUES) -> pl.DataFrame:
    """Eight training questions; 16 responses after two steps and 32 after four. Rows in no order of steps."""
    rows = [
        {"sampler": key[0], "questions": key[1], "metric": key[2], "step": step, "n_responses": 8 * step}
        | {"value": value, "low": value and value - 0.125, "high": value and value + 0.125, "n_problems": 8}
        for key, numbers in values.items()
        for step, value in zip(STEP[::-1], numbers[::-1], strict=True)
    ]
    return pl.DataFrame(rows, schema=polars_schema("training_dynamics"))


class Rows:
    """A source of the asset's own rows."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def rows(self, columns) -> pl.DataFrame:
        return self.frame.select(columns)


def test_curves_against_responses_per_question():
    """16 and 32 responses to 8 training questions: 2 and 4 of each."""
    policy, base = curves_of(frame(), SOLVED, "UCB")
    assert (policy.label, policy.is_base, base.label, base.is_base) == ("UCB", False, "base model", True)
    assert list(policy.x) == list(base.x) == [2, 4]
    assert (policy.value, policy.low, policy.high) == ([0.25, 0.5], [0.125, 0.375], [0.375, 0.625])
    assert base.value == [0.25, 0.75]
    assert [list(curve.x) for curve in curves_of(frame(), SOLVED, x=STEPS)] == [[2, 4], [2, 4]]
    unsolved = curves_of(frame(), UNSOLVED)[0]
    assert unsolved.value[0] == 1.0 and math.isnan(unsolved.value[1])
    assert curves_of(frame({}), SOLVED) == []


def test_entropy_and_groups_of_the_policy():
    """Groups by the policy's own outcome: those that the classifier calls unsolved (9) are another row of the table."""
    correct, other = entropy_curves(frame())
    assert (correct.label, other.label, list(correct.x)) == ("correct", "not correct", [2, 4])
    assert math.isnan(correct.value[0]) and correct.value[1] == 0.5 and other.value == [1.0, 0.75]
    assert {curve.label: curve.value for curve in group_curves(frame())} == {
        "all": [2.0, 1.5],
        "solved": [1.75, 1.25],
        "unsolved": [2.5, 2.0],
    }


def test_the_base_models_entropy_is_a_line_for_reference():
    """That of the first step, in the colour of its curve; after two steps it is the base model's no longer."""
    metric = "entropy_nats_incorrect"
    first = frame({("policy", "all", metric): (1.0, 0.75)}).with_columns(step=pl.col("step") - 1)  # 1 and 3
    undefined, other = entropy_curves(first)
    assert math.isnan(undefined.reference) and other.reference == 1.0
    assert all(math.isnan(curve.reference) for curve in entropy_curves(frame()))
    axes = Figure().subplots()
    draw_curves(axes, [other], "steps", "nats")
    line, reference = axes.get_lines()
    assert (reference.get_linestyle(), list(reference.get_ydata())) == (":", [1.0, 1.0])
    assert reference.get_color() == line.get_color()
    assert reference.get_label() == "not correct, base model"


def flat(label: str, value: float, *, is_base: bool = False) -> Curve:
    return Curve(label, (1, 2), (value, value), (value - 1, value - 1), (value + 1, value + 1), is_base)


def test_the_base_model_is_grey_and_takes_no_colour():
    axes = Figure().subplots()
    curves = [flat("base model", 1, is_base=True), *(flat(f"arm {i}", i) for i in range(len(SERIES) + 1))]
    assert draw_curves(axes, curves, "steps", "answers", "bands: standard errors")
    base, *arms = axes.get_lines()
    assert (to_hex(base.get_color()), base.get_linestyle()) == (GREY, "--")
    assert [to_hex(line.get_color()) for line in arms] == [*SERIES, SERIES[0]]
    assert (arms[0].get_linestyle(), arms[-1].get_linestyle()) == ("-", "--")
    assert [line.get_label() for line in arms] == [f"arm {i}" for i in range(len(SERIES) + 1)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps (bands: standard errors)", "answers")
    low, high = axes.collections[2].get_paths()[0].get_extents().intervaly
    assert (low, high) == (0, 2)  # of arm 1


def test_an_undefined_curve_is_left_out_and_the_others_keep_their_colours():
    axes = Figure().subplots()
    nothing = Curve("arm 0", (1, 2), (math.nan,) * 2, (math.nan,) * 2, (math.nan,) * 2)
    assert not draw_curves(axes, [nothing], "steps", "answers")
    assert not axes.get_lines() and axes.get_xlabel() == ""
    assert draw_curves(axes, [nothing, flat("arm 1", 1)], "steps", "answers")
    [line] = axes.get_lines()
    assert to_hex(line.get_color()) == SERIES[1]


def test_a_single_point_can_be_seen():
    axes = Figure().subplots()
    draw_curves(axes, curves_of(frame(), UNSOLVED), "x", "y")
    assert {line.get_marker() for line in axes.get_lines()} == {"o"}


def test_plots_are_written(tmp_path):
    curves = {panel: curves_of(frame(), panel) for panel in SAMPLING_PANELS}
    path = sampling_plot(curves, tmp_path / "plots" / "sampling.png")
    again = sampling_plot(curves, tmp_path / "plots" / "again.png")
    assert path.read_bytes() == again.read_bytes()
    with Image.open(path) as image:
        assert image.width == pytest.approx(3 * 3.6 * 200, abs=2)
    fewer = sampling_plot(curves | {UNSOLVED: []}, tmp_path / "plots" / "fewer.png")
    assert fewer.read_bytes() != path.read_bytes()
    with Image.open(entropy_plot(frame(), tmp_path / "entropy.png")) as image:
        assert len(image.convert("RGB").getcolors(1 << 20)) > 10


def test_panels_of_a_page():
    curves = {panel: curves_of(frame(), panel, "<UCB> & co") for panel in (SOLVED, DISTINCT)} | {UNSOLVED: []}
    found = sampling_svgs(curves, "demo", band="bands: 95 % intervals")
    assert list(found) == ["solved_questions", "distinct_answers", "distinct_answers_unsolved"]
    assert found["distinct_answers_unsolved"] == ""
    svg = found["solved_questions"]
    assert svg.startswith("<svg") and 'id="solved_questions-' in svg
    for words in ("&lt;UCB&gt; &amp; co", "base model", "share of the training questions", "bands: 95 % intervals"):
        assert words in svg, words
    assert sampling_svgs(curves, "demo", band="bands: 95 % intervals") == found


def test_the_assets_own_plot():
    axes = Figure().subplots()
    assert training_dynamics(axes, Rows(frame()))
    assert axes.get_title(loc="left") == "Solved questions"
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[0.25, 0.5], [0.25, 0.75]]
    assert not training_dynamics(Figure().subplots(), Rows(frame({})))
