"""Trained policies side by side: paired differences by hand, refusals, terminal and command."""

from __future__ import annotations

import math

import pytest
import yaml
from click.testing import CliRunner

from ops.errors import ExperimentError, StorageError
from ops.lab import Lab
from ops.plan import make_plan
from ops.reporting.compare_exploration import compare_policies
from ops.reporting.compare_exploration_table import pairing_words, policies_sentence, terminal_policies
from ops.stages.evaluation import evaluate_policies
from ops.storage.store import Store
from tests.conftest import tiny_experiment
from tests.exploration.pools import opened, put
from tests.reporting.test_the_page_of_iterations import printed

BONUS = {"bonus": {"name": "ucb"}}


def trained(home, name: str, drawn: dict, **changes) -> Lab:
    lab = opened(home, name=name, **changes)
    for step, responses in drawn.items():
        put(lab, step, responses)
    evaluate_policies(lab)
    return lab


@pytest.fixture
def pair(tmp_path) -> tuple[Lab, Lab]:
    """Right responses of four: A 2 1 0, B 3 2 1, after 4 steps; the base model is the same, evaluated in A's pool."""
    base = (("ccii", "xxyz"),) * 3
    ends = {"a": ("ccii", "ciii", "iiii"), "b": ("ccci", "ccii", "ciii")}
    a, b = (tuple((verdicts, "xyzw") for verdicts in ends[name]) for name in ("a", "b"))
    first = trained(tmp_path, "aaa", {0: base, 2: base, 4: a})
    return first, trained(tmp_path, "bbb", {2: base, 4: b}, exploration=BONUS)


def row_of(found, metric, k=None):
    [row] = [row for row in found.rows if (row.metric, row.k) == (metric, k)]
    return row


def test_differences_are_paired_by_problem(pair):
    """pass@1: A (2 + 1 + 0) / 12 = .25, B (3 + 2 + 1) / 12 = .5; every problem differs by .25, so every resample does.

    pass@4: A solves two of three problems, B all: 1/3, in [0, 1]. Four different answers each: no difference.
    """
    found = compare_policies(pair)
    assert (found.steps, found.n_problems, found.n_responses) == ((4, 4), 3, 4)
    assert found.has_same_base == (True, True)
    one = row_of(found, "pass_at_k", 1).cells
    assert [cell.value.value for cell in one] == pytest.approx([0.25, 0.5])
    assert one[0].difference is None
    difference = one[1].difference
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.25, 0.25, 0.25))
    four = row_of(found, "pass_at_k", 4).cells[1].difference
    assert four.value == pytest.approx(1 / 3)
    assert (four.low, four.high) == pytest.approx((0.0, 1.0))
    assert row_of(found, "distinct_answers_in_k", 4).cells[1].difference.value == 0.0
    assert row_of(found, "unparseable_fraction").cells[0].value.value == 0.0


def test_the_order_decides_the_sign(pair):
    back = row_of(compare_policies(pair[::-1]), "pass_at_k", 1).cells[1].difference
    assert back.value == pytest.approx(-0.25)


def test_settings_that_differ_are_told(pair):
    found = compare_policies(pair)
    assert [setting.field for setting in found.settings] == ["exploration.bonus"]
    assert found.settings[0].values[0] == "none" and found.settings[0].values[1].startswith("ucb")


def refused(labs, error, *words):
    with pytest.raises(error) as caught:
        compare_policies(labs)
    said = str(caught.value)
    assert all(word in said for word in words), said


def test_refusals_say_what_differs(tmp_path, pair):
    first = pair[0]
    plain = tiny_experiment("plain")
    refused([first], ExperimentError, "two or more different experiments, got aaa")
    refused([first, first], ExperimentError, "got aaa, aaa")
    refused([first, Lab(plain, make_plan(plain), Store(tmp_path))], ExperimentError, "plain has no exploration")
    other = opened(tmp_path, name="ccc", task={"name": "countdown", "max_number": 9})
    refused([first, other], ExperimentError, "ccc has another task than aaa")
    other = opened(tmp_path, name="ccc", sampling={"n_eval": 3, "max_tokens": 16})
    refused([first, other], ExperimentError, "another sampling.n_eval", "same sampling.n_eval")
    refused([first, opened(tmp_path, name="ccc", exploration={"seed": 1})], StorageError, "not evaluated", "run ccc")


def test_other_evaluation_problems_are_refused(tmp_path, pair):
    problems = {"train_per_iteration": 6, "eval": 3, "seed": 7}
    base = (("ccii", "xxyz"),) * 3
    other = trained(tmp_path, "ccc", {0: base, 2: base, 4: base}, problems=problems)
    refused([pair[0], other], ExperimentError, "have other evaluation problems (3 and 3, 0 in common)")


def test_another_base_model_is_said(tmp_path, pair):
    base = (("ccii", "xxyz"),) * 3
    model = {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16, "seed": 1}
    other = trained(tmp_path, "ccc", {0: base, 2: base, 4: base}, model=model)
    found = compare_policies([pair[0], other])
    assert found.has_same_base == (True, False)
    assert any("ccc starts from another base model than aaa" in line for line in pairing_words(found))
    assert not any("another base" in line for line in pairing_words(compare_policies(pair)))


def test_both_at_the_ceiling_is_no_precise_null(tmp_path):
    every = (("cccc", "xxxx"),) * 3
    labs = [
        trained(tmp_path, "aaa", {0: every, 2: every, 4: every}),
        trained(tmp_path, "bbb", {2: every, 4: every}, exploration=BONUS),
    ]
    found = compare_policies(labs)
    row = next(line for line in printed(terminal_policies(found), 100).splitlines() if line.startswith("pass@4"))
    assert "at ceiling" in row and " .000" not in row
    assert "pass@4 is 1.000 of both, at the ceiling" in policies_sentence(found)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_terminal_shows_values_differences_and_stars(pair, width):
    text = printed(terminal_policies(compare_policies(pair)), width)
    assert max(len(line) for line in text.splitlines()) <= width
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("pass@1"))
    wanted = [".250", "[.000,", ".500]", ".500", "[.250,", ".750]", "+.250", "[+.250,", "+.250]", "*"]
    if width > 80:
        assert lines[place].split()[1:] == wanted
    else:
        assert lines[place].split()[1:] == [".250", ".500", "+.250", "*"]
        assert lines[place + 1].split() == [cell for cell in wanted if "[" in cell or "]" in cell]
    row = next(line for line in text.splitlines() if line.startswith("pass@4"))
    assert not row.rstrip().endswith("*")
    assert "bbb − aaa" in text and "the same 3 evaluation problems" in text


def test_the_sentence_names_both_ends(pair):
    said = policies_sentence(compare_policies(pair))
    assert said.startswith(
        "bbb against aaa: pass@1 is higher, .250 → .500: +.250 [+.250, +.250]; pass@4 cannot be told"
    )
    assert not math.isnan(row_of(compare_policies(pair), "pass_at_k", 4).cells[1].difference.low)


def test_the_command(tmp_path, pair, monkeypatch):
    """Two files are compared; an iteration, a page and an experiment of the other kind are refused, with a remedy."""
    from orchestration.cli import main

    folder = tmp_path / "files"
    folder.mkdir()
    for experiment in (*(lab.experiment for lab in pair), tiny_experiment("plain")):
        content = experiment.model_dump(mode="json", exclude_unset=True)
        (folder / f"{experiment.name}.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("MINDGAP_EXPERIMENTS", str(folder))
    monkeypatch.setenv("MINDGAP_HOME", str(tmp_path))
    run = CliRunner().invoke
    compared = run(main, ["compare", "aaa", "bbb"])
    assert (compared.exit_code, compared.exception) == (0, None), compared.output
    assert "+.250 [+.250, +.250]" in compared.output
    page = tmp_path / "page.html"
    for more in (["--iteration", "1"], ["--html", str(page)], ["plain"]):
        refusal = run(main, ["compare", "aaa", "bbb", *more])
        assert refusal.exit_code == 2 and "remedy" in refusal.output
    assert not page.exists()
