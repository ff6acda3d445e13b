"""The page and the terminal report of an experiment whose every table is there, or of which some are missing."""

from __future__ import annotations

import io
import re

import polars as pl
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from ops.plan import asset_name, make_plan
from ops.reporting.asset_drawings import intervals
from ops.reporting.figures import FIGURES, STOP, by_name, draw_figures, why_missing
from ops.reporting.flips import flips_of
from ops.reporting.page import change_rows, html_page, saturation_rows
from ops.reporting.summary import summarise
from ops.reporting.table import terminal_report
from ops.reporting.tiles import key_figures
from ops.reporting.trajectory_plots import flips
from ops.reporting.verifier_plots import gap
from ops.reporting.words import answer, progress
from ops.stages.chosen import CHOSEN
from ops.storage.store import Store
from ops.types import Interval
from tests.conftest import tiny_experiment
from tests.reporting.tables import commit, fill_trajectory, rules
from tests.reporting.test_reporting import NASTY, RIGHT, Checker, fill, gap_rows, generations

LABEL = "binary_cot ≥ 0.5"
NAMES = [figure.name for group in FIGURES.values() for figure in group]


def bench(tmp_path, **changes):
    chosen = {"name": "threshold", "verifier": "binary_cot", "threshold": 0.5}
    experiment = tiny_experiment(**{"iterations": 2, "filter": chosen, **changes})
    return experiment, make_plan(experiment), Store(tmp_path / "home")


@pytest.fixture
def full(tmp_path):
    """(experiment, plan, store): iterations 0 and 1 of 0..2, with every table."""
    experiment, plan, store = bench(tmp_path)
    fill_trajectory(store, plan, 2, 2, LABEL)
    fill(store, experiment, measured=2, leave_out=("diversity_metrics",))
    return experiment, plan, store


def test_every_figure_is_drawn_and_says_what_it_is_made_from(full):
    """But for the relative gap, which is undefined in these tables (every cell NULL), and is said to be."""
    summary = summarise(*full)
    figures = by_name(draw_figures(summary.trajectory, summary.provenance))
    assert [name for name, figure in figures.items() if not figure.svg] == ["relative_gap"]
    assert figures["relative_gap"].missing.startswith("Not defined")
    for figure in figures.values():
        assert bool(figure.missing) != bool(figure.svg)
        assert {row.run_id for row in figure.provenance} == {"run-abcdef12"}
    made_from = {row.asset for row in figures["gap"].provenance}
    assert made_from == {"iteration_0/gap_metrics", "iteration_1/gap_metrics", "saturation"}
    assert [row.fingerprint for row in figures["kl"].provenance] == [
        full[1].fingerprints[asset_name("policy_shift", k)] for k in (0, 1)
    ]


@pytest.mark.parametrize(
    ("table", "gone"),
    [
        ("policy_shift", {"kl"}),
        ("problem_flips", {"flips"}),
        ("selection_metrics", {"balance", "selected", "kept"}),
        ("training_steps", {"loss"}),
        ("calibration_bins", {"reliability"}),
        ("verifier_metrics", {"score_drift", "auroc", "ece"}),
        ("saturation", set()),
        ("iteration_changes", {"update_error"}),
        ("stopping_rules", set()),
        (
            "diversity_metrics",
            {
                "votes",
                "pass_at_k",
                "pass_at_some_k",
                "distinct",
                "distinct_correct",
                "entropy",
                "self_bleu",
                "length",
            },
        ),
    ],
)
def test_a_missing_table_leaves_out_its_figures_with_a_sentence(tmp_path, table, gone):
    benched = bench(tmp_path)
    fill_trajectory(benched[2], benched[1], 2, 2, LABEL, leave_out=(table,))
    fill(benched[2], benched[0], measured=2, leave_out=("diversity_metrics",))
    found = summarise(*benched).trajectory
    figures = [figure for group in FIGURES.values() for figure in group if figure.name != "relative_gap"]
    missing = {figure.name: figure for figure in figures if not figure.draw(Figure().subplots(), found)}
    assert set(missing) == gone
    assert all(table in why_missing(figure, found) for figure in missing.values())


def test_without_any_table_of_iterations_the_page_says_what_is_missing(tmp_path):
    benched = bench(tmp_path)
    fill(benched[2], benched[0], measured=1, leave_out=("diversity_metrics", "verification_scores"))
    page = html_page(summarise(*benched), ())
    assert page.count("<svg") == 2  # accuracy and gap, of gap_metrics
    assert page.count('class="absent"') == len(NAMES) - 2 + 1  # and the rules
    assert "no table policy_shift of this experiment yet" in page


def test_an_experiment_that_trains_nothing_is_not_asked_what_it_trained_on(tmp_path):
    benched = bench(tmp_path, iterations=0)
    fill_trajectory(benched[2], benched[1], 1, 0, LABEL)
    fill(benched[2], benched[0], measured=1, leave_out=("diversity_metrics", "finetune_data"))
    page = html_page(summarise(*benched), ())
    assert "Can it still tell right from wrong?" in page
    assert STOP not in page
    assert "What was it trained on?" not in page
    assert page.count('class="absent"') == 1  # the relative gap, undefined; no update error is missed


def test_the_page_holds_questions_rules_limits_and_changes(full):
    page = html_page(summarise(*full), (), flips_of(*full, (0, 1)))
    checker = Checker()
    checker.feed(page)
    assert (checker.open, checker.loads, checker.scripts) == ([], [], 0)
    assert len(page.encode()) < 2_000_000
    for question in FIGURES:
        assert f">{question}</h2>" in page
    assert page.count("<svg") == page.count("Made from") == len(NAMES) - 1  # the relative gap is undefined
    assert "Rule diversity_collapsed at iteration 1." in page
    assert "Rule diversity_collapsed at iteration 0." not in page  # sentences of the last one only
    assert "+.15 [+.09, +.21]" in page  # the limit of the gap
    assert '<td class="main">−.030 [−.050, −.010]</td>' in page  # pass@64, against both references
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S).lower().split()


def test_change_rows_have_both_references_in_reading_order(full):
    rows = change_rows(summarise(*full).trajectory)
    assert [row["words"] for row in rows] == [
        "accuracy",
        "pass@1",
        "pass@8",
        "pass@64",
        f"gap of {LABEL}",
        "self-BLEU",
        "score drift of binary_cot",
    ]
    assert rows[0]["previous"] == rows[0]["base"] == Interval(0.03, 0.03 - 0.02, 0.03 + 0.02)


def test_the_changes_are_those_of_the_table_at_the_largest_k(full):
    """Not pass@8, which is all that the 8 responses of the generations would give."""
    changes = summarise(*full).changes
    assert (changes.first, changes.last, changes.k) == (0, 1, 64)
    assert changes.pass_at_k == Interval(-0.03, -0.03 - 0.02, -0.03 + 0.02)
    assert changes.accuracy.value == 0.03


def test_tiles_show_direction_only_where_the_interval_excludes_zero(full):
    tiles = {tile.title: tile for tile in key_figures(summarise(*full))}
    assert tiles["Change in accuracy"].direction == "up"
    assert (tiles["Change in pass@64"].direction, tiles["Change in pass@64"].value) == ("down", "−.030")
    assert tiles["Score drift of binary_cot at iteration 1"].value == "+.045"  # .01 + .035
    levels = ("Gap at iteration 1", "Score drift of binary_cot at iteration 1", "KL to the base model at iteration 1")
    assert [tiles[name].direction for name in levels] == ["", "", ""]  # above 0 is where they are, not where they went
    assert tiles["KL to the base model at iteration 1"].value == "+.900"
    assert 3 <= len(tiles) <= 5


def test_a_straight_line_has_no_limit_in_sight(tmp_path):
    """rate 0, limit NULL: as the fit leaves it; the figure is drawn all the same."""
    benched = bench(tmp_path)
    row = {"quantity": "gap", "rule": LABEL, "n_iterations": 3, "rate": 0.0, "next_value": 0.2, "residual": 0.001}
    row |= {"limit_high": 0.175, "half_life_iterations_low": 2.15, "next_value_low": 0.1, "next_value_high": 0.3}
    commit(benched[2], benched[1], "saturation", None, [row])
    fill(benched[2], benched[0], measured=2)
    [found] = saturation_rows(summarise(*benched).trajectory)
    assert found["limit"] == "none in sight [−∞, +.17]"
    assert found["half_life"] == "∞ [2.15, ∞]"
    assert gap(Figure().subplots(), summarise(*benched).trajectory)


def fit_row(quantity: str, limit: float, **columns) -> dict:
    row = {"quantity": quantity, "rule": LABEL if quantity == "gap" else None, "n_iterations": 4, "rate": 0.3}
    row |= {"limit": limit, "half_life_iterations": 2.3, "half_life_iterations_low": 0.4, "residual": 0.001}
    return row | {"next_value": 0.07, "next_value_low": 0.0, "next_value_high": 0.1, **columns}


def test_a_limit_that_is_not_bounded_at_all_is_not_shown_as_certain(tmp_path):
    """NULL ends of a known limit are at infinity: most resamples of a flat curve run straight on."""
    benched = bench(tmp_path)
    rows = [fit_row("gap", 0.05), fit_row("accuracy", 1.57, limit_low=0.64)]
    commit(benched[2], benched[1], "saturation", None, rows)
    fill(benched[2], benched[0], measured=2)
    found = summarise(*benched).trajectory
    gaps, right = saturation_rows(found)
    assert (gaps["limit"], gaps["half_life"]) == ("+.05 [−∞, +∞]", "2.30 [.40, ∞]")
    assert right["limit"] == "+1.57 [+.64, +∞] (above 1: never reached)"
    axes = Figure().subplots()
    assert gap(axes, found)
    [band] = [patch for patch in axes.patches if patch.get_alpha() == 0.12]
    low, high = axes.get_ylim()
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((low, high))


def test_open_ends_are_drawn_to_the_edge():
    """Limits .2 [.1, .3], .4 [-inf, .5] and .6 [-inf, +inf]: lines from .1 to .3, edge to .5, and edge to edge."""
    axes = Figure().subplots()
    rows = {"limit": [0.2, 0.4, 0.6], "limit_low": [0.1, None, None], "limit_high": [0.3, 0.5, None]}
    intervals(axes, ["a", "b", "c"], pl.DataFrame(rows), "limit", open_ends=True)
    left, right = axes.get_xlim()
    lines = {(place, *sorted(line.get_xdata())) for line in axes.get_lines() for place in [line.get_ydata()[0]]
             if len(line.get_xdata()) == 2}  # fmt: skip
    assert lines == {(0, 0.1, 0.3), (1, left, 0.5), (2, left, 0.6), (2, 0.6, right)}
    assert left < 0.1 and right > 0.6
    undefined = Figure().subplots()
    intervals(undefined, ["a", "b", "c"], pl.DataFrame(rows), "limit")
    assert [len(line.get_xdata()) for line in undefined.get_lines()] == [2, 1, 1, 1]


def test_the_gap_that_is_shown_is_that_of_the_chosen_thresholds(tmp_path):
    """Chosen: .75 at iteration 0, whose gap is .31, and .5 at iteration 1, whose gap is .2 as in every table here."""
    adapt = {"name": "balance", "temperatures": [1.0], "thresholds": [0.5, 0.75], "problems": 2}
    experiment, plan, store = bench(tmp_path, adapt=adapt)
    chosen = gap_rows(0)[1] | {"rule": "binary_cot ≥ 0.75", "gap": 0.31, "gap_low": 0.3, "gap_high": 0.32}
    commit(store, plan, "gap_metrics", 0, [*gap_rows(0), chosen])
    commit(store, plan, "gap_metrics", 1, gap_rows(1))
    for k, value in ((0, 0.75), (1, 0.5)):
        row = {"temperature": 1.0, "rule": f"binary_cot ≥ {value:g}", "threshold": value, "chosen": True}
        commit(store, plan, "sampling_choices", k, [row, row | {"rule": "binary_cot ≥ 0", "chosen": False}])
    fill(store, experiment, measured=2, leave_out=("gap_metrics",))
    summary = summarise(experiment, plan, store)
    assert [item.primary.label for item in summary.iterations] == ["binary_cot ≥ 0.75", LABEL]
    assert [item.value for _, item in summary.trajectory.gaps("gap")] == [0.31, 0.2]
    assert summary.trajectory.label == CHOSEN
    assert summary.arm == "self-verified (binary_cot, its threshold chosen at each iteration)"
    tiles = {tile.title: tile for tile in key_figures(summary)}
    assert tiles["Gap at iteration 1"].note == f"{LABEL}, +.310 (binary_cot ≥ 0.75) at iteration 0"
    assert "at iteration 0" in summary.answer and "the gap of binary_cot ≥ 0.75 was +.310" in summary.answer


def test_the_fitted_curve_ends_at_the_predicted_value(full):
    """limit + (next − limit) exp(rate (T − t)) is next at t = T: the table's numbers determine the curve."""
    axes = Figure().subplots()
    assert gap(axes, summarise(*full).trajectory)
    [curve] = [line for line in axes.get_lines() if line.get_label() == "fit"]
    x, y = curve.get_data()
    assert (x[0], x[-1]) == (0, 2)
    assert y[-1] == pytest.approx(0.253)
    assert y[0] == pytest.approx(0.15 + (0.253 - 0.15) * 2.718281828 ** (0.25 * 2))


def test_forgotten_is_drawn_downwards(full):
    """learned .12 − .02, forgotten .03 + .01 at iteration 1."""
    axes = Figure().subplots()
    assert flips(axes, summarise(*full).trajectory)
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([0.10, -0.04])


def stopped(tmp_path, measured: int):
    """A loop that gap_closed ended after iteration 0, of which ``measured`` iterations are there."""
    benched = bench(tmp_path, stop=["gap_closed"])
    rows = rules(0)
    rows[0] |= {"stops": True, "fires": True, "sentence": f"The gap is closed. {NASTY}"}
    commit(benched[2], benched[1], "stopping_rules", 0, rows)
    fill(benched[2], benched[0], measured=measured)
    return benched


def test_a_loop_that_stopped_is_finished_and_says_why(tmp_path):
    """What was computed behind the stop, before the rule was listed, is no part of it."""
    summary = summarise(*stopped(tmp_path, measured=2))
    assert summary.is_finished
    assert [item.iteration for item in summary.iterations] == [0]
    assert progress(summary).startswith("1 measured; of 3 planned the loop stopped itself after iteration 0: The gap")
    assert answer(summary).startswith("Nothing was trained: the loop stopped at iteration 0; the gap of")
    page = html_page(summary, ())
    assert "the loop stopped itself after iteration 0" in page
    assert "<script>" not in page
    assert "iteration_1/" not in page


def test_a_loop_that_goes_on_says_so_far(full):
    summary = summarise(*full)
    assert not summary.is_finished
    assert progress(summary) == "2 of 3 measured"
    assert "over 1 update so far," in answer(summary)


def test_flipped_problems_come_with_a_response_from_before_and_one_from_after(full):
    """Right of 8: 2 4 0 6, then 4 6 2 6. At least half: p1 p3, then p0 p1 p3; so p0 was learned, none forgotten."""
    found = flips_of(*full, (0, 1))
    assert [(flip.kind, flip.problem_id) for flip in found] == [("learned", "p0")]
    [flip] = found
    assert (flip.before.accuracy, flip.after.accuracy) == (RIGHT[0][0] / 8, RIGHT[1][0] / 8)
    assert (flip.before.verdict, flip.after.verdict) == ("incorrect", "correct")
    # the smallest response ids: 0-0-2 is the first wrong one before, 1-0-0 the first right one after
    assert flip.before.response.endswith(" 0.2")
    assert flip.after.response.endswith(" 0.0")
    page = html_page(summarise(*full), (), found)
    assert NASTY not in page
    assert flips_of(*full, (0,)) == ()


def printed(renderable, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_report_has_a_table_for_each_question(full, width):
    text = printed(terminal_report(summarise(*full)), width)
    for title in (
        "Hypothesis:",
        "Diversity",
        "Verifiers",
        "Training data",
        "Stopping rules at iteration 1",
        "Where the",
    ):
        assert title in text
    for cell in ("10 %", "4 %", ".480", "+.045 [+.033, +.057]", "−.030 [−.050, −.010]", "+.15 [+.09, +.21]", ".420"):
        assert cell in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_the_terminal_report_of_an_old_home_is_what_there_is(tmp_path):
    benched = bench(tmp_path)
    commit(benched[2], benched[1], "gap_metrics", 0, gap_rows(0))
    commit(benched[2], benched[1], "generations", 0, generations(0))
    text = printed(terminal_report(summarise(*benched)), 120)
    assert "only iteration 0 is measured" in text
    assert "Diversity" not in text
    assert STOP not in text
