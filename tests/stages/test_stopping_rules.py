"""Stopping rules on fabricated tables: when each fires, what it says, and where the loop then ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops.errors import StorageError
from ops.lab import Lab
from ops.plan import asset_name
from ops.stages.stopping_rules import judge_rules
from ops.stopping import judged_last_iteration, last_iteration, require_judged, stopped_at
from tests.conftest import tiny_experiment
from tests.studies import commit_rows

FILTER = {"name": "threshold", "verifier": "binary_cot", "threshold": 0.5}
OPEN = {"gap": 0.2, "gap_low": 0.1, "gap_high": 0.3}
CLOSED = {"gap": 0.02, "gap_low": -0.01, "gap_high": 0.05}
CHANGED = {"split": "eval", "reference": "base", "from_iteration": 0}


def open_lab(tmp_path: Path, **changes: Any) -> Lab:
    return Lab.open(tiny_experiment(**{"filter": FILTER, "iterations": 3, **changes}), home=tmp_path / "home")


def fabricate(lab: Lab, table: str, iteration: int, *rows: dict[str, Any]) -> None:
    commit_rows(lab, table, table, iteration, rows)


def gap_row(rule: str = "binary_cot ≥ 0.5", split: str = "eval", **columns: Any) -> dict[str, Any]:
    return {"split": split, "rule": rule, **OPEN, **columns}


def pass_row(k: int, low: float, high: float, **columns: Any) -> dict[str, Any]:
    return {**CHANGED, "metric": "pass_at_k", "k": k, "value": (low + high) / 2, "low": low, "high": high, **columns}


def drift_row(verifier: str, low: float | None, high: float | None, **columns: Any) -> dict[str, Any]:
    value = None if low is None or high is None else (low + high) / 2
    return {
        **CHANGED,
        "metric": "score_drift",
        "rule": verifier,
        "value": value,
        "low": low,
        "high": high,
        **columns,
    }


def judged(lab: Lab, iteration: int) -> dict[str, dict[str, Any]]:
    result = judge_rules(lab, iteration)
    frame = lab.store.read("stopping_rules", result.fingerprint)
    assert frame["rule"].to_list() == ["gap_closed", "diversity_collapsed", "drift_grows"]
    return {row["rule"]: row for row in frame.iter_rows(named=True)}


@pytest.mark.parametrize(
    ("low", "limit", "fires"),
    [(0.1, 0.0, False), (0.0, 0.0, True), (-0.01, 0.0, True), (0.1, 0.1, True), (0.11, 0.1, False), (None, 0.0, None)],
)
def test_gap_closed_where_the_interval_reaches_down_to_the_limit(tmp_path, low, limit, fires):
    lab = open_lab(tmp_path, limits={"gap": limit})
    value = {"gap": None, "gap_low": None, "gap_high": None} if low is None else {"gap_low": low}
    fabricate(lab, "gap_metrics", 0, gap_row(split="train", **CLOSED), gap_row("logit ≥ 0", **CLOSED), gap_row(**value))
    row = judged(lab, 0)["gap_closed"]
    assert (row["fires"], row["limit"], row["stops"]) == (fires, limit, False)
    assert (row["low"], row["value"]) == (low, None if low is None else 0.2)
    assert "binary_cot ≥ 0.5" in row["sentence"]
    assert ("undefined" in row["sentence"]) is (low is None)
    assert ("no longer be told" in row["sentence"]) is (low is not None and low <= 0.0)
    assert ("less than limits.gap asks for" in row["sentence"]) is bool(fires and low > 0.0)


def test_the_first_measured_filter_stands_in_for_gold_labels_and_says_so(tmp_path):
    lab = open_lab(tmp_path, filter={"name": "gold"})
    fabricate(lab, "gap_metrics", 0, gap_row(**CLOSED), gap_row("logit ≥ 0"))
    row = judged(lab, 0)["gap_closed"]
    assert row["fires"] and row["low"] == -0.01
    assert "the gap of binary_cot ≥ 0.5" in row["sentence"].lower() and "stands in" in row["sentence"]


def test_the_gap_of_the_filter_that_a_pilot_chose_decides(tmp_path):
    """The file's threshold, .5, has an open gap and trains nothing at this iteration; the chosen one's is closed."""
    adapt = {"name": "balance", "temperatures": [1.0], "thresholds": [0.5, 0.75], "problems": 2}
    lab = open_lab(tmp_path, adapt=adapt, stop=["gap_closed"])
    choice = {"temperature": 1.0, "balance_score": 0.5}
    for k, chosen in ((0, 0.5), (1, 0.75)):
        rules = [{**choice, "rule": f"binary_cot ≥ {x:g}", "threshold": x, "chosen": x == chosen} for x in (0.5, 0.75)]
        fabricate(lab, "sampling_choices", k, *rules)
        fabricate(lab, "gap_metrics", k, gap_row(), gap_row("logit ≥ 0"), gap_row("binary_cot ≥ 0.75", **CLOSED))
    fabricate(lab, "iteration_changes", 1, pass_row(4, -0.1, 0.1), drift_row("binary_cot", -0.1, 0.1))
    assert not judged(lab, 0)["gap_closed"]["fires"]
    row = judged(lab, 1)["gap_closed"]
    assert row["fires"] and row["low"] == -0.01
    assert row["sentence"].startswith("The gap of binary_cot ≥ 0.75 is") and "stands in" not in row["sentence"]
    assert stopped_at(lab.experiment, lab.plan, lab.store)[0] == 1


def test_at_iteration_0_there_is_nothing_to_compare_with(tmp_path):
    lab = open_lab(tmp_path, stop=["diversity_collapsed", "drift_grows"])
    fabricate(lab, "gap_metrics", 0, gap_row())
    rows = judged(lab, 0)
    for rule in ("diversity_collapsed", "drift_grows"):
        assert (rows[rule]["value"], rows[rule]["fires"], rows[rule]["stops"]) == (None, None, True)
        assert "Iteration 0" in rows[rule]["sentence"]
    assert stopped_at(lab.experiment, lab.plan, lab.store) is None


@pytest.mark.parametrize(
    ("low", "high", "limit", "fires"),
    [(-0.2, -0.1, 0.0, True), (-0.2, 0.0, 0.0, False), (-0.2, -0.1, 0.1, False), (-0.2, -0.11, 0.1, True)],
)
def test_diversity_collapsed_by_the_largest_k_since_iteration_0(tmp_path, low, high, limit, fires):
    lab = open_lab(tmp_path, limits={"pass_at_k_fall": limit})
    fabricate(lab, "gap_metrics", 2, gap_row())
    others = [
        pass_row(1, -0.9, -0.8),  # a smaller k
        pass_row(8, -0.9, -0.8, reference="previous", from_iteration=1),
        pass_row(16, -0.9, -0.8, split="train"),
    ]
    fabricate(lab, "iteration_changes", 2, *others, pass_row(8, low, high), drift_row("binary_cot", -0.1, 0.1))
    row = judged(lab, 2)["diversity_collapsed"]
    assert (row["fires"], row["limit"], row["low"], row["high"]) == (fires, -limit, low, high)
    assert str(row["limit"]) != "-0.0"
    assert "pass@8" in row["sentence"] and "95 % interval" in row["sentence"]
    assert ("stop: [diversity_collapsed]" in row["sentence"]) is fires  # what to do


@pytest.mark.parametrize(
    ("low", "limit", "fires"), [(0.05, 0.0, True), (0.0, 0.0, False), (0.05, 0.1, False), (None, 0.0, None)]
)
def test_drift_grows_by_the_training_filters_verifier(tmp_path, low, limit, fires):
    lab = open_lab(tmp_path, limits={"drift_growth": limit})
    fabricate(lab, "gap_metrics", 1, gap_row())
    rows = [drift_row("binary_cot", low, 0.3)] if low is not None else []
    away = drift_row("logit", 0.5, 0.7, split="train")
    fabricate(lab, "iteration_changes", 1, away, *rows, pass_row(4, -0.1, 0.1))
    row = judged(lab, 1)["drift_grows"]
    assert (row["fires"], row["low"]) == (fires, low)
    assert ("pleas" in row["sentence"]) is bool(fires)


def test_another_verifier_stands_in_where_the_filters_own_has_no_drift(tmp_path):
    lab = open_lab(tmp_path, filter={"name": "gold"})
    fabricate(lab, "gap_metrics", 1, gap_row())
    fabricate(lab, "iteration_changes", 1, drift_row("binary_cot", None, None), drift_row("logit", 0.1, 0.2))
    row = judged(lab, 1)["drift_grows"]
    assert row["fires"] and row["low"] == 0.1
    assert "logit" in row["sentence"] and "no verifier of the training filter" in row["sentence"]


def test_the_sentence_says_what_was_found_why_it_matters_and_what_to_do(tmp_path):
    lab = open_lab(tmp_path)
    fabricate(lab, "gap_metrics", 0, gap_row(**CLOSED))
    sentence = judged(lab, 0)["gap_closed"]["sentence"]
    assert "+.020 [−.010, +.050] (95 % interval over problems), which reaches down to the limit 0" in sentence
    assert "no longer be told from what the model answers anyway" in sentence
    assert "verify in another way" in sentence and "`stop: [gap_closed]`" in sentence


def test_the_loop_ends_at_the_first_iteration_where_a_listed_rule_fires(tmp_path):
    lab = open_lab(tmp_path, stop=["gap_closed"])
    unchanged = pass_row(4, -0.3, -0.2), drift_row("binary_cot", 0.1, 0.2)  # both fire and are not listed
    for k, gap in enumerate((OPEN, CLOSED, CLOSED)):
        fabricate(lab, "gap_metrics", k, gap_row(**gap))
        if k:
            fabricate(lab, "iteration_changes", k, *unchanged)
        judge_rules(lab, k)
        where = lab.experiment, lab.plan, lab.store
        assert (stopped_at(*where) or (None,))[0] == (None if k == 0 else 1)
    iteration, sentence = stopped_at(*where)
    assert (iteration, last_iteration(*where), judged_last_iteration(*where)) == (1, 1, 1)
    assert "nothing is trained after iteration 1" in sentence and "pass@" not in sentence


def test_without_stop_nothing_ends_whatever_fires(tmp_path):
    lab = open_lab(tmp_path)
    fabricate(lab, "gap_metrics", 0, gap_row(**CLOSED))
    judge_rules(lab, 0)
    where = lab.experiment, lab.plan, lab.store
    assert stopped_at(*where) is None and last_iteration(*where) == judged_last_iteration(*where) == 3
    require_judged(*where, range(3))  # nobody asked for a judgement


def test_a_rule_that_fires_at_the_last_iteration_ends_nothing(tmp_path):
    lab = open_lab(tmp_path, stop=["gap_closed"], iterations=1)
    fabricate(lab, "gap_metrics", 0, gap_row())
    fabricate(lab, "gap_metrics", 1, gap_row(**CLOSED))
    fabricate(lab, "iteration_changes", 1, pass_row(4, -0.1, 0.1), drift_row("binary_cot", -0.1, 0.1))
    judge_rules(lab, 0)
    assert "last iteration" in judged(lab, 1)["gap_closed"]["sentence"]
    assert stopped_at(lab.experiment, lab.plan, lab.store) is None


def test_what_depends_on_the_end_waits_for_the_judgement(tmp_path):
    lab = open_lab(tmp_path, stop=["gap_closed"])
    where = lab.experiment, lab.plan, lab.store
    for ask in (lambda: judged_last_iteration(*where), lambda: require_judged(*where, range(1))):
        with pytest.raises(StorageError, match="iteration_0/stopping_rules") as found:
            ask()
        assert found.value.field == "stop"


def test_other_limits_and_other_stops_are_judged_anew_and_cost_no_generation(tmp_path):
    one, other = open_lab(tmp_path, stop=["gap_closed"]), open_lab(tmp_path)
    stricter = open_lab(tmp_path, limits={"gap": 0.1})
    for k in range(4):
        name = asset_name("stopping_rules", k)
        assert len({lab.plan.fingerprints[name] for lab in (one, other, stricter)}) == 3
    changed = {name for name in one.plan.fingerprints if one.plan.fingerprints[name] != other.plan.fingerprints[name]}
    assert changed == {"report", "saturation", *(asset_name("stopping_rules", k) for k in range(4))}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stop": ["gap_closed", "gap_closed"]}, "stop[1]"),
        ({"stop": ["gap_closed"], "iterations": 0}, "stop"),
        ({"stop": ["diversity_collapsed"], "sampling": {"n_train": 4, "n_eval": 1}}, "sampling.n_eval"),
        (
            {
                "stop": ["drift_grows"],
                "verifiers": [{"name": "sequence_logprob"}],
                "filter": {"name": "none"},
            },
            "stop",
        ),
    ],
)
def test_combinations_that_cannot_be_judged_are_refused(changes, field):
    with pytest.raises(ValueError, match=f"{field.replace('[', '.').replace(']', '.')}: "):
        tiny_experiment(**changes)
