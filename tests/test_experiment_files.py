"""Malformed experiment files and dataset rows: each one clear error that names file and field, and nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ops.config import Experiment, load_experiment, load_experiments
from ops.errors import DatasetError, ExperimentError
from ops.tasks.countdown import Countdown
from ops.tasks.rows import read_problem_file

PROJECT = Path(__file__).resolve().parent.parent
GOOD = yaml.safe_load(
    """
name: bad
hypothesis: A sentence that is long enough.
model: {kind: builtin, recipe: countdown, size: a, steps: 10}
task: {name: countdown}
problems: {train_per_iteration: 5, eval: 5}
sampling: {n_train: 2, n_eval: 4}
verifiers: [{name: binary_cot}, {name: logit}]
filter: {name: threshold, verifier: binary_cot, threshold: 0.5}
iterations: 1
training: {name: sft}
"""
)


def _with(**changes):
    return {**GOOD, **changes}


def _without(*names):
    return {key: value for key, value in GOOD.items() if key not in names}


MALFORMED = {
    # what is wrong: (content, field named in the error, words of the error)
    "unknown key": (_with(temperature=1), "temperature", "unknown key"),
    "unknown nested key": (_with(sampling={"n": 4}), "sampling.n", "unknown key"),
    "missing field": (_without("filter"), "filter", "required"),
    "no hypothesis": (_without("hypothesis"), "hypothesis", "required"),
    "empty hypothesis": (_with(hypothesis="?"), "hypothesis", "at least 10"),
    "text for a number": (_with(sampling={"n_train": "many"}), "sampling.n_train", "integer"),
    "number in quotes": (_with(iterations="3"), "iterations", "integer"),
    "fraction for a count": (_with(iterations=1.5), "iterations", "integer"),
    "true for a count": (_with(iterations=True), "iterations", "integer"),
    "negative count": (_with(problems={"eval": -1}), "problems.eval", "greater than or equal to 2"),
    "zero samples": (_with(sampling={"n_eval": 0}), "sampling.n_eval", "greater than or equal to 1"),
    "top_p above 1": (_with(sampling={"top_p": 1.5}), "sampling.top_p", "less than or equal to 1"),
    "not a number": (_with(sampling={"temperature": float("nan")}), "sampling.temperature", "finite"),
    "unknown model kind": (_with(model={"kind": "openai"}), "model.kind", "builtin, folder, hub"),
    "model without kind": (_with(model={"size": "a"}), "model.kind", "required"),
    "unknown size": (_with(model={"kind": "builtin", "size": "xxl"}), "model.size", "a, xxs, xs, s, m"),
    "unknown recipe": (_with(model={"kind": "builtin", "recipe": "chess"}), "model.recipe", "countdown"),
    "missing checkpoint folder": (_with(model={"kind": "folder", "path": "nowhere"}), "model.path", "config.json"),
    "malformed hub id": (_with(model={"kind": "hub", "id": "just-a-name"}), "model.id", "pattern"),
    "unknown task": (_with(task={"name": "chess"}), "task.name", "countdown, sudoku"),
    "task that the model was not made for": (_with(task={"name": "sudoku"}), "task.name", "countdown"),
    "numbers that the model was not made for": (_with(task={"name": "countdown", "numbers": 4}), "task.numbers", "3"),
    "unknown verifier": (_with(verifiers=[{"name": "oracle"}]), "verifiers[0].name", "binary_cot, logit"),
    "no verifiers": (_with(verifiers=[]), "verifiers", "at least 1"),
    "verifiers not a list": (_with(verifiers={"name": "logit"}), "verifiers", "got"),
    "a verifier twice": (_with(verifiers=[{"name": "logit"}, {"name": "logit"}]), "verifiers", "once"),
    "unknown filter": (_with(filter={"name": "magic"}), "filter.name", "threshold"),
    "filter without its verifier": (
        _with(verifiers=[{"name": "logit"}]),
        "filter.verifier",
        "one of the listed verifiers",
    ),
    "quantile out of range": (
        _with(filter={"name": "quantile", "verifier": "logit", "q": 1.0}),
        "filter.q",
        "less than 1",
    ),
    "replay without a built-in model": (
        _with(model={"kind": "hub", "id": "a/b"}, training={"name": "sft", "replay_fraction": 0.5}),
        "training.replay_fraction",
        "not built in",
    ),
    "greedy with many samples": (
        _with(sampling={"temperature": 0.0, "n_train": 2}),
        "sampling.temperature",
        "above 0",
    ),
    "more problems than exist": (_with(problems={"eval": 5000}), "problems.eval", "at most"),
    "more training problems than exist": (
        _with(problems={"train_per_iteration": 3000}),
        "problems.train_per_iteration",
        "at most",
    ),
    "one problem file of two": (_with(problems={"train_file": "t.jsonl"}), "problems.train_file", "eval_file"),
    "missing problem file": (
        _with(problems={"train_file": "t.jsonl", "eval_file": "e.jsonl"}),
        "problems.train_file",
        "no such file",
    ),
    "unknown engine": (_with(engine={"name": "tgi"}), "engine.name", "transformers"),
    "unknown training method": (_with(training={"name": "ppo"}), "training.name", "sft"),
    "name of another file": (_with(name="good"), "name", "'bad'"),
    "name that is no name": (_with(name="../../etc"), "name", "pattern"),
}


@pytest.mark.parametrize("case", list(MALFORMED))
def test_malformed_fields(case, tmp_path):
    content, field, words = MALFORMED[case]
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path)
    message = str(caught.value)
    assert caught.value.field == field, message
    assert words in message
    assert "bad.yaml" in message
    assert "remedy:" in message or field in ("name", "problems.train_file")


BROKEN_TEXT = {
    "empty file": (b"", "mapping"),
    "a list": (b"- a\n- b\n", "mapping"),
    "not YAML": (b"name: [unclosed\n", "not valid YAML"),
    "a key twice": (b"name: bad\nname: bad\n", "twice"),
    "a tab": (b"name:\tbad\n\thypothesis: x\n", "not valid YAML"),
    "a Python object": (b"name: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    "not UTF-8": (b"name: \xff\xfe\n", "UTF-8"),
}


@pytest.mark.parametrize("case", list(BROKEN_TEXT))
def test_broken_text(case, tmp_path):
    data, words = BROKEN_TEXT[case]
    path = tmp_path / "bad.yaml"
    path.write_bytes(data)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path)
    assert words in str(caught.value)
    assert "bad.yaml" in str(caught.value)


BAD_ROWS = {
    "not JSON": (b"{numbers: 1}\n", ":2"),
    "not an object": (b"[10, 8, 6]\n", ":2"),
    "missing field": (b'{"numbers": [10, 8, 6]}\n', "target"),
    "wrong type": (b'{"numbers": "10 8 6", "target": 12}\n', "numbers"),
    "unreachable": (b'{"numbers": [1, 1, 1], "target": 98}\n', "target"),
    "unknown key": (b'{"numbers": [10, 8, 6], "target": 12, "hint": 1}\n', "hint"),
    "a problem twice": (b'{"numbers": [3, 4, 5], "target": 17}\n', ":2"),
    "invalid UTF-8": (b'{"numbers": [10, 8, 6], "target": 12, "problem_id": "\xff"}\n', ":2"),
    "NUL byte": (b'{"numbers": [10, 8, 6],\x00 "target": 12}\n', ":2"),
}


@pytest.mark.parametrize("case", list(BAD_ROWS))
def test_bad_rows_name_file_and_line(case, tmp_path):
    row, words = BAD_ROWS[case]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"numbers": [3, 4, 5], "target": 17}\n' + row)
    with pytest.raises(DatasetError) as caught:
        read_problem_file(Countdown(), str(path), "train")
    assert "rows.jsonl:2" in str(caught.value)
    assert words in str(caught.value)


def test_good_rows_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"numbers": [3, 4, 5], "target": 17}\n{"numbers": [10, 8, 6], "target": 12, "problem_id": "mine"}\n'
    )
    assert [p.problem_id for p in read_problem_file(Countdown(), str(path), "eval")] == ["countdown-3.4.5-17", "mine"]


def _run(folder: Path, home: Path, *names: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "MINDGAP_EXPERIMENTS": str(folder), "MINDGAP_HOME": str(home)}
    command = [sys.executable, "-m", "orchestration.cli", "run", *names]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)


def test_the_command_refuses_before_anything_is_written(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"numbers": [1, 1, 1], "target": 98}) + "\n")
    cases = {
        "fields": _with(name="fields", iterations="3"),
        "rows": _with(name="rows", problems={"train_file": "rows.jsonl", "eval_file": "rows.jsonl", "eval": 2}),
    }
    for name, content in cases.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    for name, words in (("fields", "fields.yaml: iterations"), ("rows", "rows.jsonl:1"), ("nowhere", "no such file")):
        home = tmp_path / f"home-{name}"
        done = _run(tmp_path, home, name)
        assert done.returncode != 0
        assert words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert not home.exists() or not any(path.is_file() for path in home.rglob("*"))


def test_one_bad_file_does_not_hide_the_good_ones(tmp_path):
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(_with(name="good")))
    (tmp_path / "bad.yaml").write_text("name: [")
    good, bad = load_experiments(tmp_path)
    assert list(good) == ["good"]
    assert list(bad) == ["bad"]


def test_numbers_in_scientific_notation_are_numbers(tmp_path):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(GOOD).replace("name: sft", "name: sft\n  learning_rate: 1e-3"))
    assert load_experiment(tmp_path / "bad.yaml").training.learning_rate == 1e-3


def test_relative_paths_start_at_the_experiment_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "data").mkdir()
    for name in ("t", "e"):
        (tmp_path / "data" / f"{name}.jsonl").write_text('{"numbers": [3, 4, 5], "target": 17}\n')
    content = _with(problems={"train_file": "data/t.jsonl", "eval_file": "data/e.jsonl"})
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
    assert load_experiment(tmp_path / "bad.yaml").problems.train_file == str(tmp_path / "data" / "t.jsonl")


def test_shipped_experiments_are_valid_and_share_what_they_should():
    from ops.plan import make_plan

    good, bad = load_experiments(PROJECT / "experiments")
    assert not bad
    plans = {name: make_plan(good[name]).fingerprints for name in ("demo", "demo-gold", "demo-unfiltered")}
    for asset in (
        "base_model",
        "iteration_0/generations",
        "iteration_0/verification_scores",
        "iteration_0/gap_metrics",
    ):
        assert len({prints[asset] for prints in plans.values()}) == 1
    assert len({prints["iteration_1/generations"] for prints in plans.values()}) == 3


def test_every_field_is_documented():
    text = (PROJECT / "docs" / "experiments.md").read_text()
    for name, field in Experiment.model_fields.items():
        assert f"`{name}`" in text or f"`{name}." in text, name
        inner = getattr(field.annotation, "model_fields", {})
        for key in inner:
            assert f"`{name}.{key}`" in text or key == "name", f"{name}.{key}"
