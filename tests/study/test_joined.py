"""Experiments of files of their own inside a study: replayed ones, and such as cross-verify by themselves."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

from ops.lab import Lab
from ops.reporting.study_data import read_study
from ops.reporting.study_words import study_answer
from ops.stages.study_scaling import verified_by_model
from ops.stages.study_values import Measured
from ops.study import Member
from ops.study_plan import StudyBench
from tests.conftest import tiny_experiment
from tests.replay.rows import write_jsonl
from tests.studies import REMOVED
from tests.study.fabricated import CHANGES, fabricate
from tests.study.run import measure_study, run_experiment, run_study_stages

ONLY_JOINED = {"models": REMOVED, "tasks": REMOVED, "verifiers": REMOVED, "cross": REMOVED, "experiments": ["recorded"]}
REWARDS = {"p1": [("18", 0.9), ("17", 0.1)], "p2": [("24", 0.8), ("23", 0.6)], "p3": [("4", 0.7), ("5", 0.2)]}
ANSWERS = {"p1": "18", "p2": "24", "p3": "5"}


def write_recorded(folder: Path) -> None:
    """``experiments/recorded.yaml`` and its rows: the reward is right about the first two problems."""
    rows = [
        {"problem_id": name, "problem": f"{name}?", "answer": ANSWERS[name], "response": f"#### {answer}"}
        | {"scores": {"reward": reward}}
        for name, group in REWARDS.items()
        for answer, reward in group
    ]
    write_jsonl(folder / "experiments" / "rows.jsonl", rows)
    experiment = {
        "name": "recorded",
        "hypothesis": "The recorded reward separates right from wrong.",
        "task": {"name": "jsonl", "grader": "numeric"},
        "engine": {"name": "replay", "path": "rows.jsonl"},
        "verifiers": [{"name": "recorded", "label": "reward", "column": "reward", "threshold": 0.5}],
        "iterations": 0,
        "statistics": {"resamples": 200},
    }
    (folder / "experiments" / "recorded.yaml").write_text(yaml.safe_dump(experiment))


def findings(bench: StudyBench) -> dict[tuple[str, str], dict]:
    frame = bench.store.read("findings", bench.fingerprints["findings"])
    return {(row["finding"], row["task"]): row for row in frame.to_dicts()}


def test_a_replayed_experiment_alone(write_study, tmp_path):
    write_recorded(tmp_path)
    write_study(**ONLY_JOINED)
    assert StudyBench.open("tiny").missing == ("recorded",)
    run_experiment(Lab.open("recorded"))
    bench = StudyBench.open("tiny")
    assert bench.is_complete
    run_study_stages(bench)
    point = bench.store.read("scaling_points", bench.fingerprints["scaling_points"]).row(0, named=True)
    # J = 1/2 each. Kept at .5: p1 the right one (gap 1/2), p2 both (0), p3 the wrong one (-1/2): mean 0.
    # By 1 - J = 1/2 the relative gaps are 1, 0, -1: mean 0.
    assert (point["model"], point["pretraining_flops"], point["n_parameters"]) == ("rows", None, None)
    assert (point["accuracy"], point["gap"], point["relative_gap"]) == pytest.approx((0.5, 0.0, 0.0))
    assert {row["outcome"] for row in findings(bench).values()} == {"undecided"}
    answer = study_answer(read_study(bench))
    assert "no model's pretraining FLOPs are known" in answer
    page = (bench.folder / "index.html").read_text()
    assert "recorded" in page and "reward" in page


def test_a_replayed_experiment_beside_those_of_the_study(write_study, tmp_path):
    write_recorded(tmp_path)
    path = write_study(**CHANGES, experiments=["recorded"])
    run_experiment(Lab.open("recorded"))
    bench = fabricate(path)
    assert list(bench.labs)[-1] == "recorded" and bench.is_complete
    measure_study(bench)
    found = findings(bench)
    # the recorded task has no model with known FLOPs; the other task is decided as without it
    assert (found["1a", "countdown"]["outcome"], found["1a", "jsonl"]["outcome"]) == ("holds", "undecided")
    data = read_study(bench)
    assert data.tasks == ["countdown", "jsonl"] and [row.model for row in data.rows][-1] == "rows"
    points = data.tables["scaling_points"]
    assert points.filter(pl.col("task") == "jsonl")["verifier"].to_list() == ["reward"]


def cross_verifying(*verifiers: dict) -> Measured:
    """A joined experiment with these checks, of which nothing but their settings is asked."""
    experiment = tiny_experiment("own", verifiers=list(verifiers), iterations=0)
    measured = Measured.__new__(Measured)
    measured.member = Member(experiment, "countdown", experiment.model.shown, joined=True)
    measured.verifiers = {item.called: item for item in experiment.verifiers}
    return measured


def test_two_checks_of_one_mechanism_stay_apart_in_the_matrix():
    other = {"kind": "builtin", "recipe": "countdown", "size": "xxs", "steps": 12, "batch_size": 16}
    measured = cross_verifying(
        {"name": "score_cot", "max_tokens": 24},
        {"name": "score_cot", "label": "long", "max_tokens": 48},
        {"name": "score_cot", "label": "short-by-xxs", "max_tokens": 24, "model": other},
        {"name": "score_cot", "label": "long-by-xxs", "max_tokens": 48, "model": other},
        {"name": "logit"},
        {"name": "p_true", "model": other},
    )
    cells = {label: verified_by_model(measured, (label,)) for label in measured.verifiers}
    assert cells == {
        "score_cot": ("score_cot", "countdown/a"),
        "long": ("long", "countdown/a"),
        "short-by-xxs": ("score_cot", "countdown/xxs"),
        "long-by-xxs": ("long", "countdown/xxs"),
        "logit": None,  # nobody else runs it
        "p_true@countdown/xxs": ("p_true", "countdown/xxs"),
    }
    assert [item.called for item in measured.own_verifiers()] == ["score_cot", "long", "logit"]
