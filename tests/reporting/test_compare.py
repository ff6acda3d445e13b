"""Comparing experiments: paired and unpaired differences by hand, settings, refusals, terminal and page."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

from ops.errors import ExperimentError, StorageError
from ops.estimation.bootstrap import resample_counts
from ops.lab import Lab
from ops.plan import make_plan
from ops.reporting.compare import OWN, compare, left_out, unpaired_mean
from ops.reporting.compare_page import comparison_page
from ops.reporting.compare_table import pairing_words, sentence, terminal_comparison
from ops.reporting.settings_diff import differing_settings
from ops.reporting.summary import summarise
from ops.stages.iteration_changes import eval_values
from ops.storage.store import Store
from tests.conftest import tiny_experiment
from tests.reporting.tables import commit
from tests.reporting.test_reporting import Checker, gap_rows

THRESHOLD = {"name": "threshold", "verifier": "binary_cot", "threshold": 0.5}
ACCURACY = ("accuracy", None, None)


def fill(
    lab: Lab, right: list[int], iteration: int = 0, first: int = 0, scored: tuple[float, ...] = (1.0, 1.0, 0.0, 0.0)
) -> None:
    """``right`` of the responses of each problem, which binary_cot scores as given; logit scores all alike."""
    rows = [
        {
            "split": "eval",
            "problem_id": f"p{first + p}",
            "sample_index": j,
            "response": f"<b>{p}</b> {j}",
            "answer": "a" if j < count else f"b{j}",
            "verdict": "correct" if j < count else "incorrect",
            "strict_verdict": "correct" if j < count - 1 else "incorrect",
            "n_tokens": 5,
            "prompt": "?",
            "response_id": f"{lab.experiment.name}-{iteration}-{p}-{j}",
        }
        for p, count in enumerate(right)
        for j in range(len(scored))
    ]
    keys = ("split", "problem_id", "sample_index", "response_id")
    scores = [
        {
            **{name: row[name] for name in keys},
            "verifier": verifier,
            "score": score,
            "verdict": "correct",
            "n_tokens": 1,
        }
        for row in rows
        for verifier, score in (("binary_cot", scored[row["sample_index"]]), ("logit", 0.5))
    ]
    commit(lab.store, lab.plan, "generations", iteration, rows)
    commit(lab.store, lab.plan, "verification_scores", iteration, scores)
    commit(lab.store, lab.plan, "gap_metrics", iteration, gap_rows(0))


def bench(tmp_path, name: str, **changes) -> Lab:
    """Experiments with other seeds of sampling, or they would share their results."""
    seeds = {"n_train": 4, "n_eval": 8, "max_tokens": 16, "seed": sum(map(ord, name))}
    experiment = tiny_experiment(name, **{"filter": THRESHOLD, "sampling": seeds, **changes})
    return Lab(experiment, make_plan(experiment), Store(tmp_path / "home"))


@pytest.fixture
def pair(tmp_path):
    """Accuracies .25 .5 .75 0 and .5 .5 1 .25: differences .25 0 .25 .25."""
    a, b = bench(tmp_path, "aaa"), bench(tmp_path, "bbb", filter={"name": "gold"})
    fill(a, [1, 2, 3, 0])
    fill(b, [2, 2, 4, 1])
    return a, b


def row_of(found, key, iteration=0):
    [row] = [row for row in found.at(iteration) if row.key == key]
    return row


def test_the_same_problems_are_paired(pair):
    """Mean of .25 0 .25 .25 = .1875; a resample of four of them lies in [0, .25], so the interval does."""
    found = compare(pair)
    assert found.is_paired == (True, True)
    assert found.iterations == (0,)
    row = row_of(found, ACCURACY)
    assert [cell.value.value for cell in row.cells] == [0.375, 0.5625]
    assert row.cells[0].difference is None
    change = row.cells[1].difference
    assert change.value == pytest.approx(0.1875)
    assert 0.0 <= change.low < 0.1875 < change.high <= 0.25
    assert row.cells[1].n_problems == 4


def test_gap_and_pass_at_k_by_hand(pair):
    """A, first two kept: filtered .5 1 1 0, gaps .25 .5 .25 0, mean .25. B: 1 1 1 .5, gaps .5 .5 0 .25, mean .3125.

    pass@4: A 1 1 1 0 = .75, B all = 1. pass@2 with c of 4 right: 1 - C(4-c,2)/6: A .5 5/6 1 0, B 5/6 5/6 1 .5.
    """
    found = compare(pair)
    gap = row_of(found, ("gap", None, "binary_cot ≥ 0.5"))
    assert [cell.value.value for cell in gap.cells] == pytest.approx([0.25, 0.3125])
    assert gap.cells[1].difference.value == pytest.approx(0.0625)
    assert row_of(found, ("pass_at_k", 4, None)).cells[1].difference.value == pytest.approx(0.25)
    halves = row_of(found, ("pass_at_k", 2, None)).cells
    assert [cell.value.value for cell in halves] == pytest.approx([(0.5 + 5 / 6 + 1) / 4, (5 / 3 + 1.5) / 4])
    assert not any(row.key[:2] == ("pass_at_k", 1) for row in found.rows)  # it is the accuracy
    relative = row_of(found, ("relative_gap", None, "binary_cot ≥ 0.5")).cells[1]
    assert relative.n_problems == 3  # p2 is solved in B: it has no relative gap there
    # A: .25/.75 .5/.5 0/1 = 1/3 1 0; B: .5/.5 .5/.5 .25/.75 = 1 1 1/3; differences 2/3 0 1/3
    assert relative.difference.value == pytest.approx(1 / 3)


def test_other_problems_are_not_paired_and_it_is_said(tmp_path):
    """A: p0..p3, B: p2..p6. Each side resampled on its own: the interval is that of two independent means."""
    a, b = bench(tmp_path, "aaa"), bench(tmp_path, "bbb", problems={"train_per_iteration": 6, "eval": 9})
    fill(a, [1, 2, 3, 0])
    fill(b, [2, 2, 4, 1, 4], first=2)
    found = compare([a, b])
    assert (found.is_paired, found.n_problems, found.n_common) == ((True, False), (4, 5), (4, 2))
    [said] = pairing_words(found)
    assert "NOT paired" in said
    assert "(5 and 4, 2 in common)" in said
    cell = row_of(found, ACCURACY).cells[1]
    assert cell.difference.value == pytest.approx(13 / 20 - 0.375)
    assert cell.n_problems == 4


def test_unpaired_intervals_cover_the_truth():
    """Two independent samples of 60 problems, difference .2: 95 % intervals hold it in 90 to 99 % of 300 studies."""
    rng, hits = np.random.default_rng(1), 0
    counts = [resample_counts(60, 400, seed) for seed in (1, 2)]
    for _ in range(300):
        first, second = rng.beta(2, 3, 60) + 0.2, rng.beta(2, 3, 60)
        item = unpaired_mean(first, second, *counts, 0.95)
        hits += item.low <= 0.2 <= item.high
    assert 0.90 <= hits / 300 <= 0.99


def test_undefined_problems_are_left_out_of_unpaired_means():
    """Means 2 (of 1 and 3) and 1: difference 1; all undefined is undefined, not 0."""
    counts = [resample_counts(3, 200, seed) for seed in (1, 2)]
    first, nothing = np.array([1.0, np.nan, 3.0]), np.full(3, np.nan)
    assert unpaired_mean(first, np.ones(3), *counts, 0.95).value == 1.0
    assert np.isnan(unpaired_mean(first, nothing, *counts, 0.95).value)


def test_only_iterations_that_all_have(pair):
    a, b = pair
    fill(a, [2, 2, 2, 2], iteration=1)
    assert compare([a, b]).iterations == (0,)
    fill(b, [4, 4, 4, 4], iteration=1)
    assert compare([a, b]).iterations == (0, 1)
    found = compare([a, b], 1)
    assert found.iterations == (1,)
    assert row_of(found, ACCURACY, 1).cells[1].difference.value == 0.5
    assert found.series(ACCURACY, 1)[0][1].value == 1.0


@pytest.mark.parametrize(
    ("chosen", "gap"), [({**THRESHOLD, "threshold": 0.9}, 0.375), ({"name": "gold"}, 0.375), ({"name": "none"}, 0.0)]
)
def test_filters_that_are_not_shared_are_compared_as_training_filters(tmp_path, chosen, gap):
    """Scores .9 .7 .5 .3, accuracies 1/4 1/2 3/4 0. A, >= .5, keeps three: 1/3 2/3 1 0, gaps 1/12 1/6 1/4 0, mean 1/8.
    B trained on >= .9, the first one: 1 1 1 0, gaps 3/4 1/2 1/4 0, mean 3/8; on gold labels: the same; unfiltered: 0.
    What B measures first, >= .6, would be the first two: 1/2 1 1 0, mean gap 1/4."""
    a = bench(tmp_path, "aaa", gap_filters=[THRESHOLD])
    b = bench(tmp_path, "bbb", filter=chosen, gap_filters=[{**THRESHOLD, "threshold": 0.6}])
    for lab in (a, b):
        fill(lab, [1, 2, 3, 0], scored=(0.9, 0.7, 0.5, 0.3))
    found = compare([a, b])
    assert [row.key for row in found.rows if row.key[0] == "gap"] == [("gap", None, OWN)]
    cells = row_of(found, ("gap", None, OWN)).cells
    assert [cell.value.value for cell in cells] == pytest.approx([1 / 8, gap])
    assert cells[1].difference.value == pytest.approx(gap - 1 / 8)
    assert any("no filter in common" in line for line in pairing_words(found))


def test_of_an_experiment_that_trains_nothing_no_training_filter_is_made_up(tmp_path):
    a = bench(tmp_path, "aaa", gap_filters=[THRESHOLD])
    b = bench(tmp_path, "bbb", iterations=0, filter={"name": "none"}, gap_filters=[{**THRESHOLD, "threshold": 0.6}])
    for lab in (a, b):
        fill(lab, [1, 2, 3, 0])
    found = compare([a, b])
    assert not [row for row in found.rows if row.key[0] == "gap"]
    assert any("not all of them train" in line for line in pairing_words(found))


def test_what_depends_on_the_number_of_responses_is_not_compared_where_it_differs(tmp_path):
    """4 and 8 responses: no vote, entropy or self-BLEU; accuracy 3/8 against 3/8 stays, and pass@4."""
    a, b = bench(tmp_path, "aaa"), bench(tmp_path, "bbb")
    fill(a, [1, 2, 3, 0])
    fill(b, [2, 4, 6, 0], scored=(1.0, 0.0) * 4)
    found = compare([a, b])
    assert found.n_responses == ((4, 4), (8, 8))
    assert found.not_compared == ("majority_vote_accuracy", "answer_entropy_nats", "self_bleu")
    metrics = {row.key[0] for row in found.rows}
    assert not metrics & set(found.not_compared)
    assert {"accuracy", "pass_at_k", "distinct_answers_in_k", "gap"} <= metrics
    assert row_of(found, ACCURACY).cells[1].difference.value == 0.0
    said = pairing_words(found)[-1]
    assert "differ (4, 8)" in said and "majority vote, answer entropy, nats, self-BLEU" in said


def test_self_bleu_is_compared_from_16_responses_on(pair):
    """It reads the first 16 texts, however many there are."""
    values = eval_values(pair[0], 0)
    sizes = [replace(values, size_P=np.full(4, n)) for n in (16, 64)]
    assert left_out(sizes) == ("majority_vote_accuracy", "answer_entropy_nats")
    assert left_out([sizes[0], sizes[0]]) == () == compare(pair).not_compared


def test_refusals_name_the_remedy(tmp_path, pair):
    a, b = pair
    with pytest.raises(ExperimentError, match="two or more different experiments, got aaa, aaa"):
        compare([a, a])
    with pytest.raises(StorageError, match=r"iteration 7 is not one .*aaa: 0; bbb: 0"):
        compare([a, b], 7)
    with pytest.raises(StorageError, match="mindgap run ccc"):
        compare([a, bench(tmp_path, "ccc")])


def test_settings_that_differ_and_only_those(tmp_path):
    common = {"sampling": {"n_train": 4, "n_eval": 8, "max_tokens": 16}}
    a = bench(tmp_path, "aaa", **common).experiment
    cot = {"name": "binary_cot", "max_tokens": 24, "repeats": 3}
    b = bench(tmp_path, "bbb", filter={"name": "gold"}, verifiers=[cot], hypothesis="Another one.", **common).experiment
    assert {setting.field: setting.values for setting in differing_settings([a, b])} == {
        "verifiers.binary_cot.repeats": ("1", "3"),
        "verifiers.logit": ("logit", "–"),
        "filter": ("threshold (verifier binary_cot, threshold 0.5)", "gold"),
    }
    assert differing_settings([a, a.model_copy(update={"name": "ccc"})]) == ()


def test_training_of_what_is_not_trained_is_no_difference(tmp_path):
    a, b = (
        bench(tmp_path, name, iterations=0, training={"name": "sft", "epochs": n}, sampling={}).experiment
        for n, name in enumerate(("aaa", "bbb"), 1)
    )
    assert differing_settings([a, b]) == ()


def printed(found, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_comparison(found))
    return console.export_text()


@pytest.mark.parametrize("width", [100, 140])
def test_the_terminal_tables_align(pair, width):
    text = printed(compare(pair), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    rows = [line.rstrip() for line in text.splitlines() if "[" in line and "]" in line]
    ends = {len(re.sub(r"\s*\*?$", "", row)) for row in rows if row.startswith(("accuracy", "pass@", "gap", "self"))}
    assert len(ends) == 1  # the difference column ends at one place, with or without a star
    assert "filter" in text
    assert ".375" in text


def test_three_experiments_have_letters(tmp_path, pair):
    c = bench(tmp_path, "ccc")
    fill(c, [4, 4, 4, 4])
    text = printed(compare([*pair, c]), 120)
    assert "B − A" in text
    assert "C − A" in text
    assert "C  ccc:" in text
    assert "ccc against aaa at iteration 0: accuracy is higher, .375 → 1.000" in sentence(compare([*pair, c]))


def test_the_page_is_self_contained(pair):
    summaries = [summarise(lab.experiment, lab.plan, lab.store) for lab in pair]
    page = comparison_page(compare(pair), summaries)
    checker = Checker()
    checker.feed(page)
    assert (checker.open, checker.loads, checker.scripts) == ([], [], 0)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "+.188 [" in page
    assert page.count("<svg") > 5
    for lab in pair:
        assert lab.plan.fingerprints["iteration_0/generations"] in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_the_commands(tmp_path, pair, monkeypatch):
    """``compare`` and ``report`` of two files, with a page each; an iteration that is not there exits with 2."""
    from orchestration.cli import main

    folder = tmp_path / "experiments"
    folder.mkdir()
    for lab in pair:
        content = lab.experiment.model_dump(mode="json", exclude_unset=True)
        (folder / f"{lab.experiment.name}.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("MINDGAP_EXPERIMENTS", str(folder))
    monkeypatch.setenv("MINDGAP_HOME", str(tmp_path / "home"))
    run = CliRunner().invoke
    compared = run(main, ["compare", "aaa", "bbb", "--html", str(tmp_path / "c.html")])
    assert (compared.exit_code, compared.exception) == (0, None), compared.output
    assert "paired by problem, the same 4 evaluation problems" in compared.output
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")
    reported = run(main, ["report", "aaa", "--html", str(tmp_path / "a.html")])
    assert (reported.exit_code, reported.exception) == (0, None)
    assert "<h1>aaa</h1>" in (tmp_path / "a.html").read_text()
    assert "Hypothesis:" in run(main, ["report", "aaa"]).output
    refused = run(main, ["compare", "aaa", "bbb", "--iteration", "5"])
    assert refused.exit_code == 2
    assert "remedy" in refused.output
    assert run(main, ["report", "aaa", "bbb", "--html", str(tmp_path / "x.html")]).exit_code == 2
