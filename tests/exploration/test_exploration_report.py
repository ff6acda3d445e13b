"""Page, terminal table and plots of an experiment with ``exploration``, from a store that the test fills."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import polars as pl
import pytest
from click.testing import CliRunner
from PIL import Image

from ops.errors import StorageError
from ops.identity import short_hash
from ops.lab import Lab
from ops.reporting.asset_plots import asset_plot
from ops.reporting.exploration_examples import policy_examples
from ops.reporting.exploration_figures import PANELS, TRAINED, draw_panels
from ops.reporting.exploration_page import exploration_page
from ops.reporting.exploration_summary import ExplorationSummary, summarise_exploration
from ops.reporting.exploration_table import evaluation_table
from ops.reporting.exploration_words import ORGANISM, at_limit, change_words, key_figures, kl_words
from ops.reporting.table import terminal_report, terminal_table
from ops.stages.evaluation import evaluate_policies
from ops.stages.report import page_of, summary_of, write_report
from ops.storage.store import Provenance
from ops.types import Interval, StageResult
from tests.exploration.pools import eval_problems, opened, put
from tests.reporting.test_reporting import Checker
from tests.reporting.test_the_page_of_iterations import printed
from tests.studies import commit_rows

HOW = Provenance("run-abcdef12", "1", 1.5, False, {}, 7)


def commit(lab: Lab, table: str, asset: str, rows: list[dict]) -> StageResult:
    name = f"exploration/{asset}"
    commit_rows(lab, table, name, None, rows, HOW)
    return StageResult(name, lab.experiment.name, lab.plan.fingerprints[name], False, len(rows), 1.0)


def commit_policy(lab: Lab, **more: float) -> StageResult:
    """Accuracy .2, .3, .4, .5 and entropy 1.2, 1.0, .8, .6 over 4 steps; no KL is measured but that of ``more``."""
    rows = [
        {
            "step": step,
            "accuracy": 0.1 + 0.1 * step,
            "entropy_nats": 1.4 - 0.2 * step,
            "mean_reward": 0.1 + 0.1 * step,
            "mean_bonus": 0.05,
            "all_correct_fraction": 0.0,
            "all_wrong_fraction": 0.5,
            "distinct_answers_per_group": 3.0,
            "unparseable_fraction": 0.02,
            **{name: value * step for name, value in more.items()},
        }
        for step in range(1, 5)
    ]
    return commit(lab, "policy_steps", "policy", rows)


def commit_dynamics(lab: Lab, unsolved: int = 60, solved: float | None = None) -> StageResult:
    """The policy has solved .1 step of the questions, the base model .02 more; both give 3 answers to unsolved ones.

    Args:
        unsolved: questions, of 60, at every step.
        solved: share of both samplers at every step, instead.
    """
    rows = []
    for step in range(1, 5):
        about = {"step": step, "n_responses": 123 * step, "n_problems": 60}
        shares = {"policy": 0.1 * step, "base": 0.1 * step + 0.02, "policy_minus_base": -0.02}
        if solved is not None:
            shares = {"policy": solved, "base": solved, "policy_minus_base": 0.0}
        for sampler, value in shares.items():
            ends = {"low": value - 0.01, "high": value + 0.01} if solved is None else {"low": value, "high": value}
            named = {"sampler": sampler, "questions": "all", "metric": "solved_questions", "value": value}
            rows.append({**about, **named, **ends})
            named = {"sampler": sampler, "questions": "unsolved", "metric": "distinct_answers", "value": 3.0}
            rows.append({**about, **named, "low": 2.0, "high": 4.0, "n_problems": unsolved})
        windows = {"accuracy": 0.11 * step, "entropy_nats_correct": 0.5, "entropy_nats_incorrect": 0.9}
        for metric, value in {**windows, "distinct_answers_per_group": 2.75, "unparseable_fraction": 0.125}.items():
            named = {"sampler": "policy", "questions": "all", "metric": metric, "value": value}
            rows.append({**about, **named, "low": value - 0.1, "high": value + 0.1})
    return commit(lab, "training_dynamics", "training_dynamics", rows)


def evaluated(lab: Lab) -> StageResult:
    for step in (0, 2, 4):
        put(lab, step)
    return evaluate_policies(lab)


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Lab:
    return opened(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Lab:
    lab = opened(tmp_path_factory.mktemp("full"))
    evaluated(lab), commit_policy(lab), commit_dynamics(lab)
    return lab


@pytest.fixture(scope="module")
def page(full) -> str:
    return page_of(full)[1]


def test_the_answer_has_both_ends_the_change_and_its_interval(full):
    """pass@1 1/4 -> 1/3 and pass@4 2/3 -> 1/3: with three problems neither interval excludes 0, and it is said."""
    said = summary_of(full).answer
    assert said.startswith("Over 4 steps of reinforcement learning on gold answers, pass@1 did not change measurably, ")
    assert re.search(r"from \.250 to \.333: \+\.083 \[−\.\d{3}, \+\.\d{3}\]", said)
    assert "pass@4 did not change measurably, from .667 to .333: −.333 [" in said
    assert said.endswith("(95 % intervals over problems).")


def test_the_answer_follows_the_interval(tmp_path):
    """Every problem loses one of two right responses: pass@1 falls by exactly .25 in every resample."""
    lab = opened(tmp_path)
    for step, verdicts in ((0, "ccii"), (2, "ccii"), (4, "ciii")):
        put(lab, step, ((verdicts, "xxyz"),) * 3)
    evaluate_policies(lab)
    assert "pass@1 fell from .500 to .250: −.250 [−.250, −.250]" in summary_of(lab).answer
    [tile] = [tile for tile in key_figures(summary_of(lab)) if tile.title == "Change in pass@1"]
    assert (tile.direction, tile.value, tile.note) == ("down", "−.250", ".500 → .250")


def test_the_page_is_whole_self_contained_and_escaped(page):
    checker = Checker()
    checker.feed(page)
    assert (checker.open, checker.loads, checker.scripts) == ([], [], 0)
    assert page.lstrip().startswith("<!doctype html>")
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quoted&#34;") >= 4
    assert ORGANISM in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_the_page_has_every_section(full, page):
    for question, panels in PANELS.items():
        assert f">{question}</h2>" in page
        for panel in panels:
            assert (f"<h3>{panel.title}</h3>" in page) == (panel.name != "kl")
    for section in ("settings", "examples", "provenance"):
        assert f'<h2 id="{section}">' in page
    for words in ("base model", "step 2", "trained (step 4)"):
        assert f'<td class="text">{words}</td>' in page
    assert "<td>.250 [.000, .500]</td>" in page  # pass@1 of the base model: B three times, A three times
    assert "<strong>+.250 [+.250, +.250]</strong></td>" in page  # pass@1 after 2 steps
    assert '<code>exploration.learning_rate</code></td><td class="text">0.0001</td>' in page
    assert "Training on outcomes raises pass@1 and lowers pass@4." in page


def test_provenance_names_fingerprint_seed_and_run(full, page):
    rows = {row.asset: row for row in summary_of(full).provenance}
    assert set(rows) == {"problems", *(f"exploration/{a}" for a in ("policy", "training_dynamics", "evaluation"))}
    assert (rows["exploration/policy"].seed, rows["exploration/policy"].run_id) == ("7", "run-abcdef12")
    assert rows["exploration/evaluation"].seed == str(full.experiment.statistics.seed)
    for asset, row in rows.items():
        assert row.fingerprint == full.plan.fingerprints[asset]
        assert row.fingerprint in page


def test_figures_are_there_where_their_numbers_are(full):
    drawn = {figure.name: figure for figures in draw_panels(summary_of(full)).values() for figure in figures}
    assert "kl" not in drawn
    absent = {name for name, figure in drawn.items() if not figure.svg}
    # of training_dynamics the test wrote no distinct answers to all questions
    assert absent == {"distinct_answers", "distinct_correct_answers"}
    assert drawn["pass_at_k"].provenance[0].asset == "exploration/evaluation"
    trained = {row.asset for row in drawn["policy_entropy"].provenance}
    assert trained == {"exploration/policy", "exploration/training_dynamics"}
    assert drawn["distinct_answers_unsolved"].guide.endswith(
        "Such questions: 60 at step 1, 60 at step 4; drawn where there are 10 or more."
    )
    assert drawn["solved_questions"].guide.endswith("Of 60 questions at step 4.")
    assert "base model" in drawn["pass_at_k"].svg and "trained (step 4)" in drawn["pass_at_k"].svg


def test_what_is_missing_is_said_to_be(empty, tmp_path):
    summary, page = page_of(empty)
    assert not summary.is_measured
    assert summary.answer == "Nothing is measured yet."
    for table in ("policy_evaluation", "policy_steps", "training_dynamics"):
        assert f"Not measured: no table {table} of this experiment yet." in page
    assert "pass@k is not measured" in page and "evaluation is not measured" in page
    lab = opened(tmp_path)
    commit_policy(lab)
    summary, page = page_of(lab)
    assert summary.answer == "Not known yet: the policy was trained for 4 steps and is not evaluated."
    assert "pass@k is not measured" in page and page.count("<svg") == 3


def test_examples_are_of_their_kind(full):
    """From 0 to 4 steps: A is right before and after, B never is; C, right once in four, is lost."""
    a, _, c = (problem.problem_id for problem in eval_problems(full))
    found = policy_examples(full)
    by_hash = sorted((problem.problem_id for problem in eval_problems(full)), key=short_hash)
    first = [("any", name) for name in by_hash[:2]]
    assert [(item.kind, item.problem_id) for item in found] == [("lost", c), *first]
    lost = found[0]
    assert (lost.before.verdict, lost.before.accuracy, lost.before.step) == ("correct", 0.25, 0)
    assert (lost.after.verdict, lost.after.accuracy, lost.after.step) == ("incorrect", 0.0, 4)
    assert "0.1" in lost.before.response  # the one right response of C is its second
    assert {item.before.verdict for item in policy_examples(full, per_kind=3) if item.problem_id == a} == {"correct"}


def test_examples_whose_responses_are_gone_are_an_error(tmp_path):
    lab = opened(tmp_path)
    evaluated(lab)
    more = opened(tmp_path, sampling={"n_eval": 5, "max_tokens": 16})
    commit(more, "policy_evaluation", "evaluation", [{"step": 0, "metric": "accuracy", "value": 0.5, "n_problems": 3}])
    with pytest.raises(StorageError, match="3 of 15 responses are not in their pool"):
        policy_examples(more)


def full_summary(lab: Lab) -> ExplorationSummary:
    return summarise_exploration(lab.experiment, lab.plan, lab.store)


def with_ks(summary: ExplorationSummary) -> ExplorationSummary:
    """pass@2 gets the values of pass@1 and the name of pass@8: three ks that tables show."""
    frame = summary.tables["policy_evaluation"].filter(pl.col("k").is_null() | (pl.col("k") != 2))
    more = frame.filter(metric="pass_at_k", k=1).with_columns(k=pl.lit(8, dtype=frame.schema["k"]))
    shown = frame.with_columns(k=pl.when(pl.col("k") == 4).then(32).otherwise(pl.col("k")).cast(frame.schema["k"]))
    return replace(summary, tables={**summary.tables, "policy_evaluation": pl.concat([shown, more])})


@pytest.mark.parametrize("width", [80, 120, 180])
def test_the_terminal_table_is_complete_at_every_width(full, width):
    text = printed(terminal_report(summary_of(full)), width)
    for cell in (
        "base model",
        "step 2",
        "trained",
        ".250",
        "+.250",
        "−.333",
        "pass@4",
        "Hypothesis:",
        "questions solved",
        "492 responses of each: 8.2 per question on average, 60 questions",
    ):
        assert cell in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= width
    assert "[−.030, −.010]" in text and "…ed" not in text  # questions solved, policy minus base model
    assert " ".join(text.split()).endswith(ORGANISM)
    solved = next(line.split() for line in text.splitlines() if line.startswith("questions solved"))
    wanted = [".400", ".420", "−.020", "60"] if width == 80 else [".400", "[.390,", ".410]", ".420", "[.410,", ".430]"]
    assert solved[2 : 2 + len(wanted)] == wanted


@pytest.mark.parametrize(("width", "blocks"), [(60, 3), (80, 3), (100, 2), (120, 2), (150, 1)])
def test_pass_at_k_is_one_line_a_model_with_its_interval(full, width, blocks):
    """Three ks in ever more tables below each other, never in broken cells; 60 is as narrow as that goes."""
    text = printed(evaluation_table(with_ks(full_summary(full))), width)
    lines = [line for line in text.splitlines() if line.startswith("base model")]
    assert len(lines) == blocks
    assert lines[0].split()[2:5] == [".250", "[.000,", ".500]"]
    after = [line for line in text.splitlines() if line.startswith("step 2")]
    assert after[0].split()[2:8] == [".500", "[.250,", ".750]", "+.250", "[+.250,", "+.250]"]
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_very_narrow_terminal_breaks_intervals_below_their_values(full):
    lines = printed(evaluation_table(full_summary(full)), 46).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("step 2"))
    assert lines[place].split() == ["step", "2", ".500", "+.250"]
    assert lines[place + 1].split() == ["[.250,", ".750]", "[+.250,", "+.250]"]


def test_training_is_told_by_windows_with_intervals(full):
    """Steps 1, 1 + 3 // 4, ... of 4: accuracy .11 step [- .1, + .1] from training_dynamics, not .1 + .1 step."""
    text = printed(terminal_report(full_summary(full)), 120)
    rows = text[text.index("\nTraining ") : text.index("Each row")]
    assert ".440 [.340, .540]  .500 [.400, .600]  .900 [.800, 1.000]" in rows
    assert "2.75 [2.65, 2.85]  .125 [.025, .225]" in rows
    assert "one pass over the training" in text and "in the 3 steps up to it" in text  # 6 questions, 2 a step


def test_too_few_unsolved_questions_are_neither_quoted_nor_drawn(tmp_path):
    for n, is_enough in ((9, False), (10, True)):
        lab = opened(tmp_path / str(n))
        commit_policy(lab), commit_dynamics(lab, unsolved=n)
        summary = full_summary(lab)
        row = next(
            line for line in printed(terminal_report(summary), 120).splitlines() if line.startswith("… to unsolved")
        )
        assert ("too few (9)" in row, "3.00 [2.00, 4.00]" in row) == (not is_enough, is_enough)
        drawn = {figure.name: figure for figures in draw_panels(summary).values() for figure in figures}
        figure = drawn["distinct_answers_unsolved"]
        assert bool(figure.svg) == is_enough
        assert f"{n} at step 4" in figure.guide
        if not is_enough:
            assert figure.missing == "Not measured: fewer than 10 such questions."
            assert "9 at step 1, 9 at step 4: too few;" in figure.guide


def test_a_share_at_its_ceiling_is_no_precise_null(tmp_path):
    """Both have solved all questions, and pass@4 is 1 before and after: 0 [0, 0] would read as a finding."""
    lab = opened(tmp_path)
    for step in (0, 2, 4):
        put(lab, step, (("ciii", "xyzw"),) * 3)
    evaluate_policies(lab), commit_policy(lab), commit_dynamics(lab, solved=1.0)
    summary, page = page_of(lab)
    text = printed(terminal_report(summary), 120)
    row = next(line for line in text.splitlines() if line.startswith("questions solved"))
    assert "both at ceiling" in row and ".000" not in row.replace("1.000", "")
    assert "pass@4 is 1.000 before and after, at the ceiling" in summary.answer
    assert "pass@1 did not change measurably, from .250 to .250" in summary.answer
    tiles = {tile.title: tile for tile in key_figures(summary)}
    for title in ("Training questions solved so far", "Change in pass@4"):
        assert (tiles[title].value, tiles[title].low_high) == ("1.000", "")
        assert "at the ceiling" in tiles[title].note
    assert "at ceiling</td>" in page
    assert "Of 60 questions at step 4. Both are at the ceiling there, where no difference shows." in page
    assert ">at floor</td>" in page  # unparseable responses: none before, none after


def test_limits_by_hand():
    """Only where all shares are exactly at the same end; what is undefined is at none."""
    one, zero, some, nothing = (Interval(v, v, v) for v in (1.0, 0.0, 0.5, float("nan")))
    assert [at_limit(one, one), at_limit(zero, zero), at_limit(one, zero), at_limit(some, some)] == [
        "ceiling",
        "floor",
        "",
        "",
    ]
    assert at_limit(one, None) == at_limit(nothing, nothing) == ""
    assert change_words(one, one, zero) == "at ceiling"
    assert change_words(one, one, None) == "–"
    assert change_words(some, one, Interval(0.5, 0.4, 0.6)) == "+.500 [+.400, +.600]"


def test_kl_is_shown_where_it_is_measured_and_its_absence_is_said_once(tmp_path, full, page):
    """KL .1 step: the mean of the last 3 steps (a pass of 6 questions, 2 a step) of 4 is .3."""
    assert page.count(html.escape(kl_words(full_summary(full)))) == 1
    assert "not measured, because with kl_coefficient 0 training loads no base model" in kl_words(full_summary(full))
    lab = opened(tmp_path, exploration={"kl_coefficient": 0.01})
    assert "no table policy_steps yet" in kl_words(full_summary(lab))
    commit_policy(lab, kl_to_base_nats=0.1)
    summary = full_summary(lab)
    assert summary.means_over_pass("kl_to_base_nats") == [
        (step, pytest.approx(value)) for step, value in ((1, 0.1), (2, 0.15), (3, 0.2), (4, 0.3))
    ]
    assert "KL to the base model: .300 nats per token (k3 estimator), mean of the last 3 steps" in kl_words(summary)
    [figure] = [figure for figure in draw_panels(summary)[TRAINED] if figure.name == "kl"]
    assert figure.svg


def test_captions_claim_nothing_of_the_experiment():
    """What a figure would mean, not what it shows: no caption says that a side wins or that something is lost."""
    guides = [panel.guide for panels in PANELS.values() for panel in panels]
    assert not [guide for guide in guides if re.search(r"\b(wins|loses|trades)\b", guide)]
    assert "Were the curves to cross" in guides[0]


def test_the_caveat_speaks_of_what_this_experiment_does():
    assert "verifying" not in ORGANISM and "self-improvement" not in ORGANISM
    assert "pretrained itself on the task" in ORGANISM and "mechanisms" in ORGANISM


def test_several_experiments_get_a_short_table_each(full, empty):
    text = printed(terminal_table([summary_of(full), summary_of(empty)]), 120)
    assert "pass@k is not measured" in text and "Nothing is measured yet." in text and "Hypothesis" not in text


@pytest.mark.slow
def test_the_report_is_written_once_and_again_where_it_was_removed(tmp_path):
    lab = opened(tmp_path)
    evaluated(lab), commit_policy(lab), commit_dynamics(lab)
    result = write_report(lab)
    [row] = lab.store.read("reports", result.fingerprint).rows(named=True)
    assert row["answer"] == summary_of(lab).answer
    page, png = tmp_path / row["html_path"], tmp_path / row["plot_path"]
    with Image.open(png) as image:
        assert image.width > 2000 and len(image.convert("RGB").getcolors(1 << 24)) > 50
    page.unlink()
    assert write_report(lab).reused
    assert page.is_file()


def test_pages_are_the_same_each_time(full, page):
    summary = summarise_exploration(full.experiment, full.plan, full.store)
    assert exploration_page(summary, policy_examples(full)) == page


@pytest.mark.parametrize("make", [evaluated, commit_policy, commit_dynamics])
def test_assets_have_a_plot_in_the_interface(tmp_path, make):
    lab = opened(tmp_path)
    path = asset_plot(tmp_path, make(lab))
    assert path is not None and path.name.startswith(make(lab).asset.rpartition("/")[2])
    with Image.open(path) as image:
        assert image.format == "PNG" and len(image.convert("RGB").getcolors(1 << 24)) > 10


def test_the_command_prints_the_tables_and_says_where_to_look(full, monkeypatch):
    from orchestration import cli_report
    from orchestration.cli import main

    monkeypatch.setattr(cli_report, "_bench", lambda name: full)
    run = CliRunner().invoke(main, ["report", "explored"])
    assert run.exit_code == 0 and "questions solved" in run.output
    assert 'mindgap sql "FROM policy_evaluation"' in run.output and "gap_metrics" not in run.output
    assert "metrics over steps" in run.output
