"""Reports from a store that a test fills: every number is known beforehand."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from rich.console import Console

from ops.plan import asset_name, make_plan
from ops.reporting.examples import KINDS, examples_of
from ops.reporting.figures import by_name, draw_figures
from ops.reporting.page import html_page
from ops.reporting.plots import plot_png
from ops.reporting.summary import summarise
from ops.reporting.table import terminal_table
from ops.reporting.words import ORGANISM, answer, interval, number
from ops.storage.store import Provenance, Store
from ops.types import Interval
from tests.conftest import tiny_experiment
from tests.reporting.tables import commit, frame_of

NASTY = "<script>alert('x')</script> & \"quoted\""
N_PROBLEMS, N_SAMPLES = 4, 8
RIGHT = {0: [2, 4, 0, 6], 1: [4, 6, 2, 6]}
"""Right responses of 8 per evaluation problem. Accuracy: 12/32 = .375, then 18/32 = .5625."""


def generations(k: int) -> list[dict]:
    return [
        {
            "split": "eval",
            "problem_id": f"p{p}",
            "sample_index": j,
            "response": f"{NASTY} {p}.{j}",
            "answer": f"a{j % 3}",
            "verdict": "correct" if j < right else "incorrect",
            "strict_verdict": "correct" if j < right else "incorrect",
            "reason": "" if j < right else "wrong sum",
            "prompt": f"prompt of p{p}",
            "response_id": f"{k}-{p}-{j}",
        }
        for p, right in enumerate(RIGHT[k])
        for j in range(N_SAMPLES)
    ]


def scores(k: int) -> list[dict]:
    """binary_cot accepts samples 0, 2, 4, 6 and cannot be read on sample 7."""
    return [
        {
            **{name: row[name] for name in ("split", "problem_id", "sample_index", "response_id")},
            "verifier": "binary_cot",
            "score": None if j == 7 else float(j % 2 == 0),
            "verdict": "unparseable" if j == 7 else "correct" if j % 2 == 0 else "incorrect",
            "transcript": f"transcript {NASTY}",
        }
        for row in generations(k)
        for j in [row["sample_index"]]
    ]


def gap_rows(k: int) -> list[dict]:
    def named(name: str, value: float | None) -> dict:
        spread = 0.05 if value is not None else None
        ends = (None, None) if spread is None else (value - spread, value + spread)
        return {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}

    base = {
        "split": "eval",
        "n_problems": N_PROBLEMS,
        "n_responses": N_PROBLEMS * N_SAMPLES,
        "strict_accuracy": 0.25,
        "unparseable_response_fraction": 0.125,
        "unparseable_fraction": 0.0,
        "n_problems_kept_empty": 1,
        "n_problems_solved": 2,
        **named("accuracy", sum(RIGHT[k]) / 32),
    }
    chosen = named("gap", 0.2) | named("relative_gap", None) | named("filtered_accuracy", 0.5) | named("auroc", 0.9)
    other = named("gap", -0.01) | named("relative_gap", 0.1) | named("filtered_accuracy", 0.4) | named("auroc", 0.6)
    return [
        {**base, "verifier": "logit", "filter": "threshold", "rule": "logit ≥ 0", "kept_fraction": 0.9, **other},
        {**base, "verifier": "binary_cot", "filter": "threshold", "rule": "binary_cot ≥ 0.5", "kept_fraction": 0.5}
        | chosen,
        {**base, "split": "train", "verifier": "logit", "filter": "threshold", "rule": "logit ≥ 0", "accuracy": 0.99},
    ]


def diversity_rows(k: int) -> list[dict]:
    rows = [
        {"split": "eval", "metric": metric, "k": n, "value": value, "low": value - 0.01, "high": value + 0.01}
        for metric, scale in (("pass_at_k", 0.1), ("distinct_answers_in_k", 1.0))
        for n, value in ((1, scale), (8, scale * (9 - k)))
    ]
    return [*rows, {"split": "eval", "metric": "answer_entropy_nats", "k": None, "value": 1.5, "low": 1.4, "high": 1.6}]


def fill(store: Store, experiment, measured: int, leave_out: tuple[str, ...] = ()) -> None:
    """Iterations 0..measured-1 as above."""
    plan = make_plan(experiment)
    provenance = Provenance("run-abcdef12", "7", 1.25, False, {}, None)
    for k in range(measured):
        tables = {
            "generations": generations(k),
            "verification_scores": scores(k),
            "gap_metrics": gap_rows(k),
            "diversity_metrics": diversity_rows(k),
        }
        if k == 0:
            tables["finetune_data"] = [{"problem_id": "p", "verdict": v} for v in ("correct", "correct", "incorrect")]
        for table, rows in tables.items():
            if table in leave_out:
                continue
            place = {"experiment": experiment.name, "asset": table, "iteration": k}
            fingerprint = plan.fingerprints[asset_name(table, k)]
            store.commit_table(table, frame_of(table, rows), fingerprint=fingerprint, provenance=provenance, **place)


@pytest.fixture
def report(tmp_path):
    """(experiment, plan, store) with two of three iterations measured."""
    chosen = {"name": "threshold", "verifier": "binary_cot", "threshold": 0.5}
    experiment = tiny_experiment(iterations=2, filter=chosen, hypothesis=f"Escaping {NASTY} works.")
    store = Store(tmp_path / "home")
    fill(store, experiment, measured=2)
    return experiment, make_plan(experiment), store


def test_the_summary_reads_what_there_is(report):
    summary = summarise(*report)
    assert [item.iteration for item in summary.iterations] == [0, 1]
    assert summary.planned_iterations == 2
    first, last = summary.iterations
    assert (first.accuracy.value, last.accuracy.value) == (0.375, 0.5625)
    assert first.primary.label == "binary_cot ≥ 0.5"  # the filter that trains, not the first row
    assert [gap.label for gap in first.gaps] == ["logit ≥ 0", "binary_cot ≥ 0.5"]
    assert (first.finetune_rows, last.finetune_rows) == (3, None)
    assert first.finetune_correct_fraction == pytest.approx(2 / 3)
    assert first.update_error is None  # iteration_changes is not there yet
    assert summary.largest_k == 8
    assert first.answer_entropy_nats == Interval(1.5, 1.4, 1.6)


def test_the_update_error_is_that_of_the_table_whatever_filter_is_shown(report):
    """Of an experiment trained on gold labels: the row of the table, not the shown filter's .2 − (.5625 − .375)."""
    experiment, plan, store = report
    row = {"split": "eval", "reference": "previous", "from_iteration": 0, "metric": "update_error"}
    row |= {"rule": "gold labels", "value": 0.3, "low": 0.1, "high": 0.4, "n_problems": 4}
    commit(store, plan, "iteration_changes", 1, [row])
    first, last = summarise(experiment, plan, store).iterations
    assert (first.update_error, last.update_error) == (Interval(0.3, 0.1, 0.4), None)
    assert "<td>+.300 [+.100, +.400]</td>" in html_page(summarise(experiment, plan, store), ())


CROSS = {"name": "binary_cot", "label": "judge", "model": {"kind": "builtin", "recipe": "countdown", "size": "s"}}
BOTH = {
    "name": "and",
    "filters": [{"name": "threshold", "verifier": name, "threshold": 0.5} for name in ("judge", "logit")],
}


@pytest.mark.parametrize(
    ("chosen", "arm", "trained"),
    [
        (
            {"name": "threshold", "verifier": "judge", "threshold": 0.5},
            "cross-verified (judge ≥ 0.5)",
            "what another model accepted (judge ≥ 0.5)",
        ),
        (
            {"name": "threshold", "verifier": "logit", "threshold": 0.5},
            "self-verified (logit ≥ 0.5)",
            "what it accepted",
        ),
        (BOTH, "verified by itself and by another model (", "what it and another model accepted ("),
        ({"name": "gold"}, "gold labels", "what gold labels accept,"),
        ({"name": "none"}, "no filter", "all of its own responses, unfiltered,"),
    ],
)
def test_the_answer_names_who_verified(tmp_path, chosen, arm, trained):
    experiment = tiny_experiment(iterations=1, filter=chosen, verifiers=[{"name": "logit"}, CROSS])
    store = Store(tmp_path / "home")
    fill(store, experiment, measured=2)
    summary = summarise(experiment, make_plan(experiment), store)
    assert summary.arm.startswith(arm)
    assert summary.answer.startswith(f"Trained on {trained}")


def test_changes_are_paired_by_problem(report):
    """Differences in accuracy: 2/8, 2/8, 2/8, 0 -> .1875. pass@8: p2 goes from 0 to 1, the others stay -> .25."""
    changes = summarise(*report).changes
    assert changes.accuracy.value == pytest.approx(0.1875)
    assert 0.0 <= changes.accuracy.low < 0.1875 < changes.accuracy.high <= 0.25
    assert (changes.k, changes.pass_at_k.value) == (8, 0.25)


def test_an_undefined_number_is_a_dash_and_never_zero(report):
    summary = summarise(*report)
    assert interval(summary.iterations[0].primary.relative_gap) == "–"
    known = {0.0: ".000", -0.0004: ".000", 0.25: ".250", 1.0: "1.000", 12.5: "12.500", None: "–"}
    assert {value: number(value) for value in known} == known
    assert number(float("nan")) == "–"
    assert [number(v, sign=True) for v in (0.2, -0.2, 0.0)] == ["+.200", "−.200", ".000"]


def test_the_answer(report, tmp_path):
    text = answer(summarise(*report))
    assert text.startswith("Trained on what it accepted itself (binary_cot ≥ 0.5), accuracy ")
    assert "from .375 to .562: +.188 [" in text
    assert "gap of binary_cot ≥ 0.5 was +.200 [+.150, +.250] at iteration 0" in text
    experiment, plan, _ = report
    empty = Store(tmp_path / "empty")
    assert answer(summarise(experiment, plan, empty)) == "Nothing is measured yet."
    fill(empty, experiment, measured=1)
    assert answer(summarise(experiment, plan, empty)).startswith("Not known yet: only iteration 0 is measured")


@pytest.mark.parametrize("direction", ["rose", "fell", "did not change measurably"])
def test_the_answer_follows_the_interval(report, direction):
    summary = summarise(*report)
    ends = {"rose": (0.01, 0.3), "fell": (-0.3, -0.01), "did not change measurably": (-0.1, 0.1)}[direction]
    changes = type(summary.changes)(0, 1, Interval(sum(ends) / 2, *ends), 8, Interval(0.0, -0.1, 0.1))
    assert f"accuracy {direction} over 1 update so far," in answer(
        type(summary)(**{**vars(summary), "changes": changes})
    )


def printed(summaries, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_table(summaries))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 93, 94, 140])
def test_the_terminal_table_is_complete_at_every_width(report, width):
    text = printed([summarise(*report)], width)
    for cell in (".375", "[.325, .425]", ".250", "+.200", "[+.150, +.250]", "50 %", ".100", ".900", "9.0", "3"):
        assert cell in text
    assert "…" not in text
    assert " ".join(text.split()).endswith(ORGANISM)
    assert max(len(line) for line in text.splitlines()) <= width


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
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")]

    def handle_startendtag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_self_contained_and_escaped(report):
    examples = examples_of(*report)
    page = html_page(summarise(*report), examples)
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.loads == []
    assert checker.scripts == 0
    assert not re.search(r"@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quoted&#34;") >= 2 * len(examples)
    assert ORGANISM in page
    assert page.count("<svg") > 3
    for asset in ("generations", "verification_scores", "gap_metrics", "finetune_data"):
        assert report[1].fingerprints[asset_name(asset, 0)] in page
    assert "run-abcd" in page


def test_ids_in_the_plots_are_unique_over_the_page_and_resolve(report):
    page = html_page(summarise(*report), ())
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'xlink:href="#([^"]*)"|url\(#([^)]*)\)', page)
    assert used
    assert {by_link or by_url for by_link, by_url in used} <= set(ids)


def test_plots_are_the_same_each_time(report):
    found = summarise(*report).trajectory
    first, second = (by_name(draw_figures(found, ())) for _ in range(2))
    assert first == second


def test_a_page_before_anything_is_measured(report, tmp_path):
    experiment, plan, _ = report
    page = html_page(summarise(experiment, plan, Store(tmp_path / "empty")), ())
    assert "Nothing is measured yet." in page
    assert "0 of 3 measured" in page


def test_examples_are_of_their_kind(report):
    """Right: sample_index < RIGHT. Accepted: even samples; 7 is unparseable, so rejected."""
    examples = examples_of(*report, per_kind=3)
    assert {example.iteration for example in examples} == {0, 1}
    for example in examples:
        right = example.sample_index < RIGHT[example.iteration][int(example.problem_id[1:])]
        accepted = example.sample_index % 2 == 0
        assert example.kind == f"{'accepted' if accepted else 'rejected'}, {'right' if right else 'wrong'}"
        assert (example.verdict == "correct") == right
        assert example.transcript == f"transcript {NASTY}"
    for k in (0, 1):
        assert {e.kind for e in examples if e.iteration == k} == set(KINDS)
        assert all(sum(e.kind == kind and e.iteration == k for e in examples) <= 3 for kind in KINDS)


def test_provenance_names_fingerprint_version_seed_and_run(report):
    experiment, plan, store = report
    rows = {row.asset: row for row in summarise(experiment, plan, store).provenance}
    row = rows["iteration_1/verification_scores"]
    assert row.fingerprint == plan.fingerprints["iteration_1/verification_scores"]
    assert (row.code_version, row.run_id, row.seed, row.reused) == ("7", "run-abcdef12", "binary_cot 0", False)
    changed = tiny_experiment(iterations=2, filter={"name": "none"}, statistics={"resamples": 300})
    other = summarise(changed, make_plan(changed), store)
    assert "iteration_0/gap_metrics" not in {row.asset for row in other.provenance}  # planned otherwise now


@pytest.mark.parametrize("arms", [1, 3])
def test_the_plot_is_a_readable_png(report, tmp_path, arms):
    summary = summarise(*report)
    path = plot_png(summary if arms == 1 else [summary] * arms, tmp_path / "plot.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 2000
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50  # something is drawn
    assert [item.name for item in tmp_path.iterdir() if item.is_file()] == ["plot.png"]
