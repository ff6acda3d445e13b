"""Page, terminal table and plots of an experiment with ``exploration``, from a store that the test fills."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import polars as pl
import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from ops.errors import StorageError
from ops.identity import short_hash
from ops.lab import Lab
from ops.reporting.asset_plots import asset_plot
from ops.reporting.exploration_examples import policy_examples
from ops.reporting.exploration_figures import PANELS, draw_panels
from ops.reporting.exploration_page import exploration_page
from ops.reporting.exploration_summary import summarise_exploration
from ops.reporting.exploration_words import key_figures
from ops.reporting.table import terminal_report, terminal_table
from ops.reporting.words import ORGANISM
from ops.stages.evaluation import evaluate_policies
from ops.stages.report import page_of, summary_of, write_report
from ops.storage.schemas import COLUMNS, polars_schema
from ops.storage.store import Provenance
from ops.types import StageResult
from tests.exploration.pools import eval_problems, opened, put

HOW = Provenance("run-abcdef12", "1", 1.5, False, {}, 7)


def commit(lab: Lab, table: str, asset: str, rows: list[dict]) -> StageResult:
    complete = [{name: row.get(name) for name in COLUMNS[table]} for row in rows]
    frame = pl.DataFrame(complete, schema=polars_schema(table), orient="row")
    name = f"exploration/{asset}"
    where = {"experiment": lab.experiment.name, "asset": name, "iteration": None}
    lab.store.commit_table(table, frame, fingerprint=lab.plan.fingerprints[name], provenance=HOW, **where)
    return StageResult(name, lab.experiment.name, lab.plan.fingerprints[name], False, frame.height, 1.0)


def commit_policy(lab: Lab) -> StageResult:
    """Accuracy .2, .3, .4, .5 and entropy 1.2, 1.0, .8, .6 over 4 steps; no KL is measured."""
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
        }
        for step in range(1, 5)
    ]
    return commit(lab, "policy_steps", "policy", rows)


def commit_dynamics(lab: Lab) -> StageResult:
    """The policy has solved .1 step of the questions, the base model .02 more; both give 3 answers to unsolved ones."""
    rows = []
    for step in range(1, 5):
        about = {"step": step, "n_responses": 8 * step, "n_problems": 6}
        for sampler, value in (("policy", 0.1 * step), ("base", 0.1 * step + 0.02), ("policy_minus_base", -0.02)):
            ends = {"low": value - 0.01, "high": value + 0.01}
            named = {"sampler": sampler, "questions": "all", "metric": "solved_questions", "value": value}
            rows.append({**about, **named, **ends})
            named = {"sampler": sampler, "questions": "unsolved", "metric": "distinct_answers", "value": 3.0}
            rows.append({**about, **named, "low": 2.0, "high": 4.0})
        for metric, value in (("entropy_nats_correct", 0.5), ("entropy_nats_incorrect", 0.9)):
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


class Checker(HTMLParser):
    """Balanced tags, and what is loaded from elsewhere."""

    VOID = ("meta", "br", "img", "link", "path", "use", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


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
            assert f"<h3>{panel.title}</h3>" in page
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
    assert drawn["kl"].missing == "Not measured: with kl_coefficient 0 no base model is loaded."
    absent = {name for name, figure in drawn.items() if not figure.svg}
    # of training_dynamics the test wrote no distinct answers to all questions, and none per group
    assert absent == {"kl", "distinct_answers", "distinct_correct_answers", "distinct_answers_per_group"}
    assert drawn["pass_at_k"].provenance[0].asset == "exploration/evaluation"
    assert drawn["token_entropy"].provenance[0].asset == "exploration/training_dynamics"
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
    more = opened(tmp_path, sampling={"n_train": 4, "n_eval": 5, "max_tokens": 16})
    commit(more, "policy_evaluation", "evaluation", [{"step": 0, "metric": "accuracy", "value": 0.5, "n_problems": 3}])
    with pytest.raises(StorageError, match="3 of 15 responses are not in their pool"):
        policy_examples(more)


def printed(item, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(item)
    return console.export_text()


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
    ):
        assert cell in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert "−.020 [−.030, −.010]" in text  # questions solved, policy minus base model
    assert text.rstrip().endswith("model.")


def test_several_experiments_get_a_short_table_each(full, empty):
    text = printed(terminal_table([summary_of(full), summary_of(empty)]), 120)
    assert "pass@k is not measured" in text and "Nothing is measured yet." in text and "Hypothesis" not in text


def test_the_report_is_written_once_and_again_where_it_was_removed(tmp_path):
    lab = opened(tmp_path)
    evaluated(lab), commit_policy(lab), commit_dynamics(lab)
    result = write_report(lab)
    [row] = lab.store.read("reports", result.fingerprint).rows(named=True)
    assert row["answer"] == summary_of(lab).answer
    html, png = tmp_path / row["html_path"], tmp_path / row["plot_path"]
    with Image.open(png) as image:
        assert image.width > 2000 and len(image.convert("RGB").getcolors(1 << 24)) > 50
    html.unlink()
    assert write_report(lab).reused
    assert html.is_file()


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


def test_the_command_prints_the_table_and_compares_nothing(full, monkeypatch):
    from orchestration import cli_report
    from orchestration.cli import main

    monkeypatch.setattr(cli_report, "_bench", lambda name: full)
    run = CliRunner().invoke(main, ["report", "explored"])
    assert run.exit_code == 0 and "questions solved so far" in run.output
    run = CliRunner().invoke(main, ["compare", "explored", "other"])
    assert run.exit_code != 0
    assert "no iterations to compare" in run.output + str(run.exception)
