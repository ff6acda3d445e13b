"""Answer, terminal table, page and plots of an experiment with ``evaluation``, from tables that the test fills."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from PIL import Image

from ops.lab import Lab
from ops.reporting.asset_drawings_evaluation import human_labels, pairs, synthetic_judgements, win_rates
from ops.reporting.plots import figure_svg
from ops.reporting.table import terminal_report, terminal_table
from ops.reporting.win_rate_figures import BETTER, SAVED, WORTH, draw_panels
from ops.reporting.win_rate_page import win_rate_page
from ops.reporting.win_rate_plots import label_curve, realised_savings, win_rates_png
from ops.reporting.win_rate_summary import WinRateSummary, label_notes
from ops.reporting.win_rate_table import terminal_win_rates
from ops.reporting.win_rate_words import key_figures
from ops.stages.report import page_of, summary_of, write_report
from tests.evaluation.win_rate_tables import (
    X,
    Y,
    commit,
    filled,
    opened,
    put_judgements,
    put_labels,
    put_pairs,
)
from tests.reporting.tables import frame_of
from tests.reporting.test_reporting import Checker
from tests.reporting.test_the_page_of_iterations import printed

MODELS = ("big", "even", "small")
WIN = {"big": 0.62, "even": 0.51, "small": 0.30}
JUDGES = ("x", "y")


def rate(model: str, estimator: str, judge: str | None, value: float | None, half: float, **more: Any) -> dict:
    """A row of ``win_rates`` with 120 labels of 1,500 pairs."""
    ends = {} if value is None else {"value": value, "low": value - half, "high": value + half}
    about = {"reference": "ref", "quantity": "win_rate", "is_biased": estimator == "synthetic", "n_excluded": 0}
    counts = {"n_pairs": 1500, "n_labelled": 120, "n_problems": 110}
    return {"model": model, "estimator": estimator, "judge": judge, **about, **counts, **ends, **more}


def saving(share: float, half: float, correlation: float) -> dict:
    square = correlation**2
    return {
        "saving": share,
        "saving_low": share - half,
        "saving_high": share + half,
        "correlation": correlation,
        "predicted_saving": square * (1 - 120 / 1500),
        "saving_without_limit": square,
        "human_labels_equal": 120 / (1 - share),
    }


def rows_of(model: str) -> list[dict]:
    """Human ± .09, control variates ± .07 (x), .08 (y), .06 (both); judges alone say .9 and .2 of every model."""
    value = WIN[model]
    rows = [rate(model, "human", None, value + 0.01, 0.09)]
    for judge, half, share, alone in (("x", 0.07, 0.24, 0.9), ("y", 0.08, 0.02, 0.2)):
        rows.append(rate(model, "synthetic", judge, alone, 0.01))
        rows.append(rate(model, "control_variate", judge, value, half, **saving(share, 0.1, share**0.5)))
        rows.append(rate(model, "cross_fitted", judge, value - 0.002, half, **saving(share, 0.1, share**0.5)))
    return [*rows, rate(model, "control_variate", "x + y", value, 0.06, **saving(0.28, 0.08, 0.55))]


def realised(n: int, part: float) -> dict:
    """What a point of a judge's curve says beside the human one, .24 / n; theory says 2 % more."""
    share = 1 - part / 0.24
    ends = {"saving": share, "saving_low": share - 0.1, "saving_high": share + 0.1}
    return {"human_labels_equal": n / (1 - share), **ends, "predicted_saving": share + 0.02}


def commit_rates(lab: Lab, rows: list[dict]) -> None:
    metrics = [("position_bias", {"y": 0.08}), ("correlation", {"x": 0.49, "y": 0.14}), ("mean_score", {"x": 0.9})]
    said = [
        {"model": None, "judge": judge, "metric": metric, "value": value, "low": value - 0.02, "high": value + 0.02}
        for metric, by_judge in metrics
        for judge, value in by_judge.items()
    ]
    curves = [
        {
            "model": "big",
            "quantity": "win_rate",
            "estimator": name,
            "judge": judge,
            "n_labels": n,
            "squared_error": part / n,
            "squared_error_low": 0.9 * part / n,
            "squared_error_high": 1.1 * part / n,
            "predicted": part / n,
            "n_redraws": 1000,
            **({} if judge is None else realised(n, part)),
        }
        for name, judge, part in (
            ("human", None, 0.24),
            ("control_variate", "x", 0.19),
            ("control_variate", "x + y", 0.17),
        )
        for n in (10, 20, 40)
    ]
    commit(lab, "judge_metrics", "win_rates", said)
    commit(lab, "label_curves", "win_rates", curves)
    commit(lab, "win_rates", "win_rates", rows)


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Lab:
    lab = opened(tmp_path_factory.mktemp("full"), judges=JUDGES, models=MODELS)
    commit_rates(lab, [row for model in MODELS for row in rows_of(model)])
    return lab


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Lab:
    return opened(tmp_path_factory.mktemp("empty"), judges=JUDGES, models=MODELS)


@pytest.fixture(scope="module")
def summary(full) -> WinRateSummary:
    return summary_of(full)


@pytest.fixture(scope="module")
def page(full) -> str:
    return page_of(full)[1]


def only(summary: WinRateSummary, *models: str) -> WinRateSummary:
    return replace(summary, judged=models)


def test_the_answer_says_who_wins_by_how_much_and_what_was_saved(summary):
    assert only(summary, "big").answer == (
        "big beats ref, win rate .620 [.560, .680]; x + y saved 28 % [20 %, 36 %] of the labels: 120 are worth 167 "
        "(95 % intervals over problems)."
    )
    said = summary.answer
    assert said.startswith("big beats ref, win rate .620 [.560, .680]; even cannot be told from ref, win rate .510 ")
    assert "; small loses to ref, win rate .300 [.240, .360]; with 120 labels of each model, judgements " in said
    assert said.endswith("saved 28 % of them (95 % intervals over problems).")


def test_a_saving_that_may_be_nothing_is_no_saving(summary):
    rates = summary.tables["win_rates"].filter(judge="y", estimator="control_variate", model="big")
    found = replace(only(summary, "big"), tables={**summary.tables, "win_rates": rates})
    assert "y saved no measurable share of the 120 labels (2 % [−8 %, 12 %])" in found.answer


def test_only_savings_beyond_noise_are_quoted_of_many_models(summary):
    """Judge y alone saves 2 % [-8 %, 12 %] of every model; then twice so, and 28 % of big."""
    rates = summary.tables["win_rates"]
    of_y = replace(summary, tables={**summary.tables, "win_rates": rates.filter(judge="y")})
    assert "with 120 labels of each model, judgements saved no measurable share of them (95 %" in of_y.answer
    mixed = rates.filter((pl.col("judge") == "y") | (pl.col("model") == "big"))
    found = replace(summary, tables={**summary.tables, "win_rates": mixed})
    assert "judgements saved 28 % of them for 1 of 3 models (95 %" in found.answer


def test_without_a_judge_the_human_estimate_is_quoted(summary):
    rates = summary.tables["win_rates"].filter(estimator="human")
    found = replace(only(summary, "big"), judges=(), tables={**summary.tables, "win_rates": rates})
    assert (
        found.answer
        == "big beats ref, win rate .630 [.540, .720], from 120 human labels (95 % intervals over problems)."
    )


def test_with_judges_alone_nothing_is_claimed(summary):
    rates = summary.tables["win_rates"].filter(estimator="synthetic").with_columns(n_labelled=0)
    found = replace(summary, tables={**summary.tables, "win_rates": rates})
    assert found.answer == "Not known yet: there are no labels yet; judges alone are biased by an unknown amount."
    assert "beats" not in printed(terminal_report(found), 120)


def test_accuracy_has_no_winner(summary):
    rates = summary.tables["win_rates"].filter(judge="x + y").with_columns(quantity=None)
    rates = rates.with_columns(quantity=rates["quantity"].cast(str).fill_null("accuracy"))
    found = replace(summary, quantity="accuracy", tables={**summary.tables, "win_rates": rates})
    assert found.answer.startswith("accuracy of big is .620 [.560, .680]; accuracy of even is .510")


def test_gaps_from_few_labels_are_shown(summary):
    gap = {"quantity": "gap", "reference": None}
    rows = [rate("big", "human", "x", 0.10, 0.06, **gap)]
    rows.append(rate("big", "control_variate", "x", 0.12, 0.03, **gap, saving=0.4, human_labels_equal=200.0))
    rates = pl.concat([summary.tables["win_rates"], frame_of("win_rates", rows)])
    found = replace(summary, tables={**summary.tables, "win_rates": rates})
    for shown in (printed(terminal_report(found), 160), win_rate_page(found)):
        text = re.sub(r"<[^>]*>|\s+", " ", shown)
        assert re.search(r"big +x +\+\.100 \[\+\.040, \+\.160\] +\+\.120 \[\+\.090, \+\.150\] +40 %", text)
    assert found.answer == summary.answer  # a gap is no win rate


def test_the_key_figures_are_win_rates_then_savings(summary):
    tiles = key_figures(only(summary, "big"))
    assert [(tile.title, tile.value, tile.low_high) for tile in tiles] == [
        ("Win rate of big", ".620", "[.560, .680]"),
        ("Labels saved", "28 %", "[20 %, 36 %]"),
    ]
    assert tiles[1].note == "big: 120 labels are worth 167" and len(key_figures(summary)) == 5


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_terminal_table_has_every_number(full, width):
    text = printed(terminal_win_rates(full), width)
    assert max(len(line) for line in text.splitlines()) <= width
    flat = re.sub(r"\s+", " ", text)
    for number in (".630", "[.540, .720]", ".900", ".620", "[.550, .690]", "[.540, .700]", "120"):
        assert number in flat, number
    assert (".618 [.548, .688]" in flat) == (width > 80)  # the column that a narrow terminal has no room for
    for words in ("judge alone", "(biased)", "Labels saved by the control variate", "Judges", "big beats ref"):
        assert words in flat, words
    assert "24 % [14 %, 34 %] 22 % 24 % 120 158" in flat if width == 160 else "24 %" in flat
    assert "+.080 [+.060, +.100]" in flat if width == 160 else "+.080" in flat


def test_what_is_missing_is_a_dash_or_left_out(empty, full, summary):
    assert "win rate is not measured (no table win_rates yet)" in printed(terminal_win_rates(empty), 100)
    assert not summary_of(empty).is_measured and summary_of(empty).answer == "Nothing is measured yet."
    blank = {name: frame.clear() for name, frame in summary.tables.items()}
    human = summary.tables["win_rates"].filter(estimator="human")
    text = printed(terminal_report(replace(summary, tables={**blank, "win_rates": human})), 120)
    assert ".630 [.540, .720]" in text and "Labels saved by" not in text and "Position bias" not in text


def test_several_experiments_stand_below_each_other(summary):
    text = printed(terminal_table([summary, summary]), 140)
    assert text.count("rates: win rate against ref [95 % intervals]") == 2


def test_the_page_is_whole_self_contained_and_has_the_numbers(page):
    checker = Checker()
    checker.feed(page)
    assert (checker.open, checker.loads, checker.scripts) == ([], [], 0)
    for number in (".630 [.540, .720]", ".620 [.560, .680]", "28 % [20 %, 36 %]", ">158<", "+.080 [+.060, +.100]"):
        assert number in page, number
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert "evaluation.judges[0].label" in page and "FROM win_rates" in page


def test_the_page_without_any_table_says_what_it_waits_for(empty):
    checker = Checker()
    checker.feed(page_of(empty)[1])
    assert checker.open == []
    assert "no table win_rates of this experiment yet" in page_of(empty)[1]


def test_every_figure_is_drawn_with_axes_and_units(summary):
    drawn = draw_panels(summary)
    assert list(drawn) == [BETTER, SAVED, WORTH]
    figures = {each.name: each for group in drawn.values() for each in group}
    names = {"win_rates", "savings", "estimated_savings", "label_curve_0", "correlation", "position_bias"}
    assert set(figures) == names
    expected = {
        "win_rates": ("win rate against ref (95 % intervals)", "human labels", "x alone (biased)", "small"),
        "savings": ("saving predicted by theory (%)", "saving in redraws (%, 95 % intervals)", "as predicted"),
        "estimated_savings": ("predicted saving (%)", "estimated saving (%, 95 % intervals)", "as predicted"),
        "label_curve_0": ("human labels (95 % intervals; lines: theory)", "squared error of the win rate", "big"),
        "position_bias": ("preference for what is shown first (95 % intervals)",),
        "correlation": ("correlation with labels (95 % intervals)",),
    }
    for name, texts in expected.items():
        for text in texts:
            assert text in figures[name].svg, (name, text)
        assert [row.asset for row in figures[name].provenance] == ["evaluation/win_rates"]


def test_the_curve_has_both_lines_and_logarithmic_axes(summary):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert label_curve(axes, summary, "big")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    theory = [
        line.get_ydata() for line in axes.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata()) == 3
    ]
    # the control variate of all judges: .17 / n, not that of x alone
    assert sorted(float(y[0]) for y in theory) == pytest.approx([0.017, 0.024])
    assert not label_curve(Figure().subplots(), summary, "small")


def test_realised_savings_are_those_of_the_redraws(summary):
    """Of the last point below 30 labels or the first from there on: 40. Estimated ones (24, 2, 28 %) are not there."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert realised_savings(axes, summary)
    points = [line for line in axes.get_lines() if line.get_linestyle() == "None" and line.get_marker() not in "|_"]
    found = sorted((float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in points)
    # x: 1 - .19/.24, x + y: 1 - .17/.24, in percent, predicted 2 more
    assert found == [pytest.approx((22.83, 20.83), abs=0.01), pytest.approx((31.17, 29.17), abs=0.01)]
    rows = summary.tables["label_curves"].filter(pl.col("n_labels") < 40)
    early = replace(summary, tables={**summary.tables, "label_curves": rows})
    assert realised_savings(Figure().subplots(), early)
    assert not realised_savings(
        Figure().subplots(), replace(summary, tables={**summary.tables, "label_curves": rows.clear()})
    )


def test_what_no_number_of_labels_is_worth(summary):
    """More than all 1,500 pairs: said so, in the answer, the tile and the table."""
    rates = summary.tables["win_rates"].with_columns(human_labels_equal=pl.lit(None, pl.Float64))
    found = replace(only(summary, "big"), tables={**summary.tables, "win_rates": rates})
    assert "x + y saved 28 % [20 %, 36 %] of the labels: 120 are worth more than 1,500 (95 %" in found.answer
    assert key_figures(found)[1].note == "big: 120 labels are worth > 1,500"
    assert "> 1,500" in printed(terminal_report(found), 160) and "&gt; 1,500" in win_rate_page(found)


def test_an_estimate_of_some_pairs_says_so(summary):
    rates = summary.tables["win_rates"].with_columns(n_excluded=pl.lit(20, pl.Int32), n_pairs=pl.lit(1480, pl.Int32))
    found = replace(only(summary, "big"), tables={**summary.tables, "win_rates": rates})
    assert "win rate .620 [.560, .680] (of the 1,480 pairs that judges could read); x + y" in found.answer


def test_a_figure_without_its_numbers_says_why(summary):
    tables = {name: frame.clear() for name, frame in summary.tables.items()}
    missing = {
        each.name: each.missing for group in draw_panels(replace(summary, tables=tables)).values() for each in group
    }
    assert set(missing.values()) == {"Not measured: no table win_rates yet."}
    only_rates = replace(summary, tables={**tables, "win_rates": summary.tables["win_rates"]})
    missing = {each.name: each.missing for group in draw_panels(only_rates).values() for each in group}
    assert missing["position_bias"] == "Not measured: no judge sees two responses at once."
    assert missing["win_rates"] == ""


def test_the_report_is_written_with_its_plot(full):
    result = write_report(full)
    home = full.store.home
    assert result.metadata["answer"].startswith("big beats ref")
    with Image.open(home / "reports" / "rates.png") as image:
        assert image.width > 1500
    assert (home / "reports" / "rates.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_plot_of_an_experiment_without_numbers_is_drawn_too(empty, tmp_path):
    assert win_rates_png(summary_of(empty), tmp_path / "plot.png").is_file()


def test_notes_of_the_stage_are_shown(tmp_path):
    from ops.stages.win_rates import estimate_win_rates

    lab = opened(tmp_path, judges=JUDGES)
    put_pairs(lab), put_judgements(lab, {"x": X, "y": Y}), put_labels(lab, wave=None)
    estimate_win_rates(lab)
    for shown in (printed(terminal_win_rates(lab), 200), page_of(lab)[1]):
        assert "No export asked for these labels" in shown and "Not estimated: m, control_variate of x + y" in shown
    assert summary_of(lab).quoted("m")["judge"] == "x"


def test_what_reading_the_labels_found_is_shown(full):
    found = {
        "labels_of_pairs_that_changed": 86,
        "labels_drawn_from_fewer_pairs": 0,
        "pairs_passed_over": 3,
        "conflicts": 51,
        "pairs_labelled_twice": 60,
        "agreement": 0.15,
        "alpha": None,
    }

    class Told:
        has = staticmethod(lambda table, fingerprint: True)
        about = staticmethod(lambda table, fingerprint: {"metadata": found})

    changed, passed, conflicts = label_notes(Told(), "f")
    assert changed.startswith("86 labels do not count") and passed.startswith("3 drawn pairs have no label")
    assert "disagree on 51 of 60 pairs that several labelled, agreement .150; the mean" in conflicts
    assert label_notes(full.store, full.plan.fingerprints["evaluation/human_labels"]) == ()


def test_mindgap_report_prints_it_and_says_where_to_look(full, monkeypatch):
    from orchestration import cli_report
    from orchestration.cli import main

    monkeypatch.setattr(cli_report, "_bench", lambda name: full)
    monkeypatch.setattr(cli_report, "home_folder", lambda: full.store.home)
    result = CliRunner().invoke(main, ["report", "rates"])
    assert result.exit_code == 0, result.output
    assert ".620 [.560, .680]" in result.output and 'mindgap sql "FROM win_rates"' in result.output
    refused = CliRunner().invoke(main, ["compare", "rates", "rates2"])
    assert refused.exit_code != 0 and "compares models itself" in refused.output


class Rows:
    """A table as an asset's plot reads it."""

    def __init__(self, frame):
        self.frame = frame

    def rows(self, columns):
        return self.frame.select(columns)


def test_assets_are_drawn_from_their_tables(tmp_path):
    from ops.stages.win_rates import estimate_win_rates

    lab = filled(tmp_path)
    estimate_win_rates(lab)
    read = {
        name: lab.store.read(name, lab.plan.fingerprints[f"evaluation/{name}"])
        for name in ("pairs", "synthetic_judgements", "human_labels", "win_rates")
    }
    draws = {"pairs": pairs, "synthetic_judgements": synthetic_judgements, "human_labels": human_labels}
    for name, draw in {**draws, "win_rates": win_rates}.items():
        is_drawn, svg = drawn_from(draw, name, read[name])
        assert is_drawn and "<path" in svg
        assert not drawn_from(draw, name, read[name].clear())[0]


def drawn_from(draw, name, frame) -> tuple[bool, str]:
    found: list[bool] = []
    svg = figure_svg(lambda axes: found.append(draw(axes, Rows(frame))), name, "test")
    return found[0], svg
