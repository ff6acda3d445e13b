"""Malformed experiment files and dataset rows: one clear error each, exit code not 0, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.config import Experiment
from ops.engines.ray_settings import RaySettings
from ops.errors import DatasetError, ExperimentError
from ops.experiment_files import load_experiment, load_experiments
from ops.tasks import TASKS
from ops.tasks.countdown import Countdown
from ops.tasks.rows import read_problem_file
from ops.tasks.sudoku import Sudoku
from tests.studies import REMOVED, changed_copy

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted((ROOT / "experiments").glob("*.yaml"))
BASE = {
    "name": "broken",
    "hypothesis": "A broken file is refused with one clear error.",
    "model": {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 10},
    "task": {"name": "countdown"},
    "problems": {"train_per_iteration": 4, "eval": 4},
    "sampling": {"n_train": 2, "n_eval": 2},
    "verifiers": [{"name": "binary_cot"}, {"name": "logit"}],
    "filter": {"name": "threshold", "verifier": "binary_cot", "threshold": 0.5},
    "iterations": 1,
    "training": {"name": "sft", "epochs": 1},
}


def changed(**changes: Any) -> str:
    """BASE as YAML with ``sampling__top_p=2`` and the like."""
    return yaml.safe_dump(changed_copy(BASE, changes), sort_keys=False)


HUB = {"kind": "hub", "id": "owner/model"}
BAD: dict[str, tuple[str | bytes, str | None, str]] = {
    "empty file": ("", None, "expected a mapping of fields, got an empty file"),
    "a list": ("- name: broken\n", None, "expected a mapping of fields, got a list"),
    "a text": ("broken", None, "expected a mapping of fields, got a text"),
    "not YAML": ("name: [", None, "not valid YAML: line 1, column 8"),
    "a tab": ("name: broken\n\tmodel: 1\n", None, "not valid YAML: line 2, column 1"),
    "two documents": ("name: a\n---\nname: b\n", None, "not valid YAML: line 2"),
    "duplicate key": ("name: broken\nname: other\n", None, "line 2, column 1: key 'name' appears twice"),
    "duplicate nested key": ("model: {kind: hub, kind: folder}\n", None, "key 'kind' appears twice"),
    "merge key": ("a: &a {b: 1}\nc:\n  <<: *a\n", None, "line 3, column 3: merge keys (<<) are not read"),
    "key that is no text": ("1: 2\n", None, "expected a text as key, got 1"),
    "python tag": ("name: !!python/object/apply:os.system ['true']\n", None, "could not determine a constructor"),
    "deep nesting": ("a: " + "[" * 5000, None, "nested too deeply"),
    "huge file": ("#" * 1_000_001, None, "expected at most 1,000,000 bytes"),
    "not UTF-8": (b"name: \xff\n", None, "not UTF-8 text (byte 6)"),
    "NUL": (b"name: bro\0ken\n", None, "character 10 is not allowed"),
    "misspelt field": (changed(model=REMOVED, modle={}), "modle", "unknown key; did you mean model?"),
    "misspelt nested field": (changed(sampling__temprature=1.0), "sampling.temprature", "did you mean temperature?"),
    "unknown field": (changed(training__xyz=1), "training.xyz", "expected one of name, start_from, learning_rate"),
    "missing field": (changed(hypothesis=REMOVED), "hypothesis", "required, but missing"),
    "missing parameter": (changed(filter={"name": "threshold", "verifier": "logit"}), "filter.threshold", "required"),
    "missing variant name": (changed(task={"numbers": 3}), "task.name", "required, but missing; expected one of"),
    "text for integer": (changed(iterations="three"), "iterations", "expected a whole number, got 'three'"),
    "fraction for integer": (changed(iterations=1.5), "iterations", "expected a whole number, got 1.5"),
    "yes for integer": (changed(iterations=True), "iterations", "expected a whole number, got true"),
    "integer for text": (changed(hypothesis=7), "hypothesis", "expected text, got 7"),
    "list for mapping": (changed(model=[1]), "model", "expected a mapping of fields, got a list"),
    "text for mapping": (changed(task="countdown"), "task", "expected a mapping of fields, got 'countdown'"),
    "mapping for list": (changed(verifiers={"name": "logit"}), "verifiers", "expected a list, got a mapping"),
    "nothing": (changed(sampling=None), "sampling", "expected a mapping of fields, got nothing"),
    "NaN": (changed(sampling__temperature=float("nan")), "sampling.temperature", "expected a finite number, got nan"),
    "too small": (changed(iterations=-1), "iterations", "expected a number of at least 0, got -1"),
    "too large": (changed(iterations=21), "iterations", "expected a number of at most 20, got 21"),
    "not above": (changed(sampling__top_p=0.0), "sampling.top_p", "expected a number above 0, got 0.0"),
    "not below": (changed(training__replay_fraction=1.0), "training.replay_fraction", "expected a number below 1"),
    "seed of 70 bits": (changed(sampling__seed=2**70), "sampling.seed", "expected a number below 9223372036854775808"),
    "short hypothesis": (changed(hypothesis="x"), "hypothesis", "expected text of at least 10 characters"),
    "name with spaces": (changed(name="My Experiment"), "name", "expected text that matches the pattern"),
    "name of another file": (changed(name="other"), "name", "expected the file's own name 'broken', got 'other'"),
    "unknown kind": (
        changed(model__kind="api"),
        "model.kind",
        "expected one of builtin, folder, hub, registry, recorded, got 'api'",
    ),
    "unknown size": (changed(model__size="xl"), "model.size", "expected one of a, xxs, xs, s, m, got 'xl'"),
    "unknown task": (changed(task__name="gsm9k"), "task.name", f"expected one of {', '.join(TASKS)}, got 'gsm9k'"),
    "gap filter twice": (
        changed(gap_filters=[{"name": "threshold", "verifier": "logit", "threshold": 0.5}] * 2),
        "gap_filters[1]",
        "each filter once, logit ≥ 0.5 is there already",
    ),
    "recorded model": (
        changed(model={"kind": "recorded"}),
        "model.kind",
        "expected builtin, folder or hub (recorded goes with engine replay), got recorded",
    ),
    "no training": (changed(training=None), "training", "expected"),
    "unknown verifier": (changed(verifiers=[{"name": "oracle"}]), "verifiers[0].name", "expected one of binary_cot, "),
    "no verifier": (changed(verifiers=[]), "verifiers", "expected at least 1 item, got an empty list"),
    "verifier twice": (
        changed(verifiers=[{"name": "logit"}] * 2),
        "verifiers[1].label",
        "a label of its own, logit is taken",
    ),
    "filter of no verifier": (
        changed(filter__verifier="tournament"),
        "filter.verifier",
        "expected one of the listed verifiers (binary_cot, logit), got tournament",
    ),
    "gap filter of no verifier": (
        changed(gap_filters=[BASE["filter"], {"name": "quantile", "verifier": "no", "q": 0.5}]),
        "gap_filters[1].verifier",
        "expected one of the listed verifiers",
    ),
    "gap filter parameter": (
        changed(gap_filters=[{"name": "quantile", "verifier": "logit", "q": 1.5}]),
        "gap_filters[0].q",
        "expected a number below 1, got 1.5",
    ),
    "recipe and task": (changed(task={"name": "sudoku"}), "task.name", "expected countdown"),
    "blanks in disorder": (
        changed(task={"name": "sudoku", "min_blanks": 9, "max_blanks": 7}),
        "task.min_blanks",
        "expected at most max_blanks (7), got 9",
    ),
    "replay without documents": (changed(model=HUB, training__replay_fraction=0.5), "training.replay_fraction", "0"),
    "hub id": (changed(model={"kind": "hub", "id": "nobody"}), "model.id", "expected text that matches"),
    "missing checkpoint": (
        changed(model={"kind": "folder", "path": "nowhere"}),
        "model.path",
        "config.json, found none",
    ),
    "impossible path": (changed(model={"kind": "folder", "path": "a\0b"}), "model.path", "expected a path"),
    "greedy samples": (changed(sampling__temperature=0.0), "sampling.temperature", "above 0 when n is above 1"),
    "one problem file": (
        changed(problems__train_file="x.jsonl"),
        "problems.train_file",
        "both train_file and eval_file",
    ),
    "missing problem file": (
        changed(problems={"train_file": "x.jsonl", "eval_file": "y.jsonl"}),
        "problems.train_file",
        "expected a JSONL file, found none at",
    ),
    "too many problems": (
        changed(problems__train_per_iteration=100_000),
        "problems.train_per_iteration",
        "distinct training problems for iterations 0..1), got 100000",
    ),
    "recorded scores of responses sampled here": (
        changed(verifiers=[{"name": "logit"}, {"name": "recorded", "column": "reward"}], filter={"name": "none"}),
        "verifiers[1].name",
        "expected a verifier of responses sampled here, got recorded",
    ),
    "replay of nothing": (
        changed(engine={"name": "replay", "path": "x.jsonl"}),
        "problems",
        "expected nothing with engine replay (the file holds problems and responses)",
    ),
    "replay without a path": (changed(engine={"name": "replay"}), "engine.path", "required, but missing"),
    "replay, all set aside": (
        changed(engine={"name": "replay", "path": "x.jsonl", "train_fraction": 1.0}),
        "engine.train_fraction",
        "expected a number below 1, got 1.0",
    ),
    "too many evaluation problems": (changed(problems__eval=5000), "problems.eval", "expected at most 791"),
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_experiments_are_valid(path):
    assert load_experiment(path).name == path.stem


def test_the_file_that_the_bad_ones_are_made_from_is_good(tmp_path):
    (tmp_path / "broken.yaml").write_text(changed())
    assert load_experiment(tmp_path / "broken.yaml").iterations == 1


@pytest.mark.parametrize(("content", "field", "problem"), BAD.values(), ids=BAD.keys())
def test_a_malformed_experiment_file(tmp_path, content, field, problem):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path)
    error = caught.value
    assert error.where == str(path)
    assert error.field == field
    assert problem in error.problem
    assert error.remedy
    assert len(error.problem) < 400
    assert "\n" not in error.problem
    assert load_experiments(tmp_path)[1]["broken"].problem == error.problem
    assert [item.name for item in tmp_path.iterdir()] == ["broken.yaml"]


def test_more_than_one_mistake_is_one_error_that_counts_the_others(tmp_path):
    (tmp_path / "broken.yaml").write_text(changed(iterations=-1, hypothesis="x", filtr=1))
    with pytest.raises(ExperimentError, match=r"filtr: unknown key; did you mean filter\? \(2 more wrong\)"):
        load_experiment(tmp_path / "broken.yaml")


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(ExperimentError, match="no such file"):
        load_experiment(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").mkdir()
    with pytest.raises(ExperimentError, match="cannot be read: Is a directory"):
        load_experiment(tmp_path / "broken.yaml")


BAD_ROWS: dict[str, tuple[Any, Any, str | None, str]] = {
    "countdown: not an object": (Countdown(), [1, 2, 3], None, "found an array"),
    "countdown: unknown key": (Countdown(), {"numbers": [10, 8, 6], "goal": 12}, "goal", "unknown key"),
    "countdown: no numbers": (Countdown(), {"target": 12}, "numbers", "got None"),
    "countdown: text": (Countdown(), {"numbers": ["10", 8, 6], "target": 12}, "numbers", "a list of integers"),
    "countdown: true": (Countdown(), {"numbers": [True, 8, 6], "target": 12}, "numbers", "a list of integers"),
    "countdown: two numbers": (Countdown(), {"numbers": [10, 8], "target": 12}, "numbers", "expected 3 integers"),
    "countdown: too large": (Countdown(), {"numbers": [10, 8, 99], "target": 12}, "numbers", "from 1 to 12"),
    "countdown: target": (Countdown(), {"numbers": [10, 8, 6], "target": 100}, "target", "from 1 to 99"),
    "countdown: fraction": (Countdown(), {"numbers": [10, 8, 6], "target": 12.0}, "target", "an integer"),
    "countdown: unreachable": (Countdown(), {"numbers": [1, 1, 1], "target": 99}, "target", "cannot be reached"),
    "sudoku: unknown key": (Sudoku(), {"puzzle": "2.4.41..3.14.423", "id": 1}, "id", "unknown key"),
    "sudoku: no puzzle": (Sudoku(), {}, "puzzle", "required, but missing"),
    "sudoku: rows": (Sudoku(), {"puzzle": ["2.4."]}, "puzzle", "expected a text of 16 characters"),
    "sudoku: too short": (Sudoku(), {"puzzle": "2.4."}, "puzzle", "expected a text of 16 characters"),
    "sudoku: letter": (Sudoku(), {"puzzle": "x.4.41..3.14.423"}, "puzzle", "characters 1-4"),
    "sudoku: ambiguous": (Sudoku(), {"puzzle": "." * 16}, "puzzle", "exactly one solution"),
    "sudoku: impossible": (Sudoku(), {"puzzle": "11" + "." * 14}, "puzzle", "has none"),
}


@pytest.mark.parametrize(("task", "row", "field", "problem"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_malformed_row(tmp_path, task, row, field, problem):
    """The first row is good; the second is not: nothing of the file is returned."""
    good = {"countdown": {"numbers": [10, 8, 6], "target": 12}, "sudoku": {"puzzle": "1...3.12.14343.1"}}[task.name]
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    with pytest.raises(DatasetError) as caught:
        read_problem_file(task, path, "train")
    assert (caught.value.where, caught.value.field) == (f"{path}:2", field)
    assert problem in caught.value.problem
    assert caught.value.remedy


def mindgap(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MINDGAP_HOME": str(folder / "home"), "MINDGAP_EXPERIMENTS": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "orchestration.cli", *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


ROWS = '{"numbers": [10, 8, 6], "target": 12}\n'
RECORDED = yaml.safe_dump(
    {
        "name": "broken",
        "hypothesis": "A broken recording is refused with one clear error.",
        "task": {"name": "jsonl", "grader": "numeric"},
        "engine": {"name": "replay", "path": "rows.jsonl"},
        "verifiers": [{"name": "majority"}],
        "iterations": 0,
    }
)


def recorded(*changes: dict[str, Any]) -> str:
    """Two good rows, then one for each of ``changes``."""
    good = {"problem_id": "p", "problem": "What is 6 * 3?", "answer": "18", "response": "#### 18"}
    rows = [good, good | {"problem_id": "q", "problem": "What is 18 + 0?"}, *(good | one for one in changes)]
    return "".join(json.dumps(row) + "\n" for row in rows)


FILES = {"train_per_iteration": 1, "eval": 2, "train_file": "train.jsonl", "eval_file": "eval.jsonl"}
REFUSED = {
    "no such experiment": ({}, "no such file"),
    "not YAML": ({"broken.yaml": "name: ["}, "not valid YAML: line 1"),
    "misspelt field": ({"broken.yaml": changed(sampling__temprature=1.0)}, "sampling.temprature: unknown key"),
    "missing checkpoint": ({"broken.yaml": changed(model={"kind": "folder", "path": "x"})}, "model.path: expected"),
    "too few rows": (
        {"broken.yaml": changed(problems=FILES), "train.jsonl": ROWS, "eval.jsonl": ROWS},
        "eval.jsonl: problems.eval: 1 problems, 2 needed",
    ),
    "bad row": (
        {
            "broken.yaml": changed(problems=FILES),
            "train.jsonl": ROWS + "{\n",
            "eval.jsonl": ROWS + ROWS.replace("12", "24"),
        },
        "train.jsonl:2: not valid JSON",
    ),
    "recorded: no answer": (
        {"broken.yaml": RECORDED, "rows.jsonl": recorded({"problem_id": "r", "answer": None})},
        "rows.jsonl:3: answer: required, but missing",
    ),
    "recorded: 100 KB": (
        {"broken.yaml": RECORDED, "rows.jsonl": recorded({"response": "x" * 102_400})},
        "rows.jsonl:3: response: 102,400 bytes, at most 65,536 are taken",
    ),
    "recorded: NUL": (
        {"broken.yaml": RECORDED, "rows.jsonl": recorded({"response": "a\0b"})},
        "rows.jsonl:3: response: a NUL character",
    ),
    "recorded: first row": ({"broken.yaml": RECORDED, "rows.jsonl": "[]\n"}, "rows.jsonl:1: expected a JSON object"),
    "recorded: other scores": (
        {"broken.yaml": RECORDED, "rows.jsonl": recorded({"scores": {"reward": 1}})},
        "rows.jsonl:3: scores: expected the scores (none) as in the first row, got reward",
    ),
}


@pytest.mark.parametrize(("files", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_mindgap_run_refuses_and_writes_nothing(tmp_path, files, problem):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    done = mindgap(tmp_path, "run", "broken")
    assert done.returncode not in (0, None)
    assert problem in done.stderr
    assert done.stderr.count("mindgap:") == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "home").exists()
    assert {item.name for item in tmp_path.iterdir()} == set(files)


def test_mindgap_run_refuses_a_recording_that_is_not_text(tmp_path):
    (tmp_path / "broken.yaml").write_text(RECORDED)
    (tmp_path / "rows.jsonl").write_bytes(recorded().encode() + b'{"problem_id": "\xff"}\n')
    done = mindgap(tmp_path, "run", "broken")
    assert done.returncode == 2
    assert "rows.jsonl:3: not UTF-8 text (byte 17 of the line)" in done.stderr
    assert (done.stderr.count("mindgap:"), "Traceback" in done.stderr) == (1, False)
    assert not (tmp_path / "home").exists()


LIMITS = {"sampling": {"max_tokens": 64}, "verifiers": [{"name": "logit"}], "filter": {"name": "none"}}


def test_mindgap_run_refuses_a_hub_id_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    model = {"kind": "hub", "id": "nobody/nothing-here"}
    (tmp_path / "broken.yaml").write_text(changed(model=model, training__replay_fraction=0.0, **LIMITS))
    done = mindgap(tmp_path, "run", "broken")
    assert done.returncode == 2
    assert "nobody/nothing-here" in done.stderr
    assert "kind: folder" in done.stderr
    assert (done.stderr.count("mindgap:"), "Traceback" in done.stderr) == (1, False)
    assert not (tmp_path / "home").exists()


def test_one_bad_file_among_good_ones_stops_everything_before_it_starts(tmp_path):
    (tmp_path / "good.yaml").write_text(changed(name="good"))
    (tmp_path / "broken.yaml").write_text(changed(iterations=-1))
    done = mindgap(tmp_path, "run", "good", "broken")
    assert done.returncode != 0
    assert "broken.yaml: iterations: expected a number of at least 0, got -1" in done.stderr
    assert not (tmp_path / "home").exists()


KEY = "sk-SECRET-123"
SERVED = {"name": "openai", "base_url": "http://127.0.0.1:8000/v1"}
PASTED: dict[str, tuple[dict[str, Any], str, str]] = {
    "key for its variable": ({"api_key_variable": KEY}, "api_key_variable", "expected text that matches the pattern"),
    "list of keys": ({"api_key_variable": [KEY]}, "api_key_variable", "expected text"),
    "number": ({"api_key_variable": 123456}, "api_key_variable", "expected text"),
    "user and password": ({"base_url": f"http://u:{KEY}@127.0.0.1/v1"}, "base_url", "expected an address without"),
    "query": ({"base_url": f"http://127.0.0.1/v1?key={KEY}"}, "base_url", "expected an address without user"),
    "no address": ({"base_url": KEY}, "base_url", "expected http:// or https://"),
}


def served(fields: dict[str, Any], replayed: bool, **changes: Any) -> str:
    """A file with ``engine: openai``, or with ``replay`` whose verifiers run on it."""
    engine = SERVED | fields
    if not replayed:
        return changed(engine=engine, iterations=0, filter={"name": "none"}, **changes)
    return yaml.safe_dump(
        yaml.safe_load(RECORDED) | {"engine": {"name": "replay", "path": "rows.jsonl", "verifying": engine}, **changes}
    )


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize(("fields", "field", "problem"), PASTED.values(), ids=PASTED.keys())
def test_a_pasted_key_is_not_shown(tmp_path, fields, field, problem, replayed):
    (tmp_path / "broken.yaml").write_text(served(fields, replayed))
    (tmp_path / "rows.jsonl").write_text(recorded())
    with pytest.raises(ExperimentError) as caught:
        load_experiment(tmp_path / "broken.yaml")
    assert caught.value.field == ("engine.verifying." if replayed else "engine.") + field
    assert problem in caught.value.problem and "expected expected" not in caught.value.problem
    shown = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in shown and "123456" not in shown and ", got" not in caught.value.problem
    with pytest.raises(ValueError) as plain:
        Experiment.model_validate(yaml.safe_load((tmp_path / "broken.yaml").read_text()))
    assert "SECRET" not in str(plain.value)


def test_mindgap_run_does_not_show_a_pasted_key(tmp_path):
    (tmp_path / "broken.yaml").write_text(served({"api_key_variable": KEY}, False))
    done = mindgap(tmp_path, "run", "broken")
    assert done.returncode == 2
    assert "broken.yaml: engine.api_key_variable: expected text that matches the pattern" in done.stderr
    assert "SECRET" not in done.stderr + done.stdout


def test_what_is_no_secret_is_still_shown(tmp_path):
    (tmp_path / "broken.yaml").write_text(served({"concurrency": 0}, False))
    with pytest.raises(ExperimentError, match=r"engine.concurrency: expected a number of at least 1, got 0"):
        load_experiment(tmp_path / "broken.yaml")
    (tmp_path / "broken.yaml").write_text(served({"price_per_million_input_tokens": 1.0}, False))
    with pytest.raises(ExperimentError, match=r"engine.price_per_million_output_tokens: expected both prices or none"):
        load_experiment(tmp_path / "broken.yaml")


def asking(size: str) -> dict[str, Any]:
    model = {"kind": "builtin", "recipe": "arithmetic", "size": size, "steps": 10}
    return {"name": "binary_cot", "model": model, "label": f"by-{size}"}


def test_a_server_of_one_model_verifies_recorded_responses_for_one_model(tmp_path):
    (tmp_path / "rows.jsonl").write_text(recorded())
    path, two = tmp_path / "broken.yaml", [asking("xs"), asking("s")]
    majority = {"name": "majority"}
    same = [majority, asking("xs"), asking("xs") | {"label": "again"}]
    path.write_text(served({}, True, task={"name": "arithmetic"}, verifiers=same))
    assert len(load_experiment(path).verifier_models()) == 2
    path.write_text(served({}, True, task={"name": "arithmetic"}, verifiers=[majority, *two]))
    with pytest.raises(ExperimentError, match=r"verifiers\[2\].model: expected the one model of the engine's server"):
        load_experiment(path)
    data = yaml.safe_load(path.read_text())
    data["engine"]["verifying"] = {"name": "vllm"}
    path.write_text(yaml.safe_dump(data))
    assert len(load_experiment(path).verifier_models()) == 2  # it loads one after the other


@pytest.mark.parametrize("name", ["logit", "p_true"])
@pytest.mark.parametrize("replayed", [False, True])
def test_choices_are_not_read_off_a_server_that_is_not_asked_for_log_probabilities(tmp_path, name, replayed):
    (tmp_path / "rows.jsonl").write_text(recorded())
    path, chosen = tmp_path / "broken.yaml", asking("xs") | {"name": name} if replayed else {"name": name}
    more = {"task": {"name": "arithmetic"}} if replayed else {}
    path.write_text(served({"logprobs": False}, replayed, verifiers=[{"name": "majority"}, chosen], **more))
    with pytest.raises(ExperimentError, match=rf"verifiers\[1\].name: expected no {name} .*logprobs: true"):
        load_experiment(path)
    path.write_text(served({"logprobs": True}, replayed, verifiers=[{"name": "majority"}, chosen], **more))
    assert load_experiment(path).engine.reads_choices


def test_a_ray_worker_has_a_gpu_for_every_part_of_its_model(tmp_path):
    def ray(gpus: float, parts: int) -> dict[str, Any]:
        worker = {"name": "vllm", "tensor_parallel_size": parts}
        return {"name": "ray", "workers": 1, "gpus_per_worker": gpus, "worker": worker}

    path = tmp_path / "broken.yaml"
    for gpus, parts in ((1.0, 2), (0.5, 2), (3.0, 4)):
        path.write_text(changed(engine=ray(gpus, parts)))
        with pytest.raises(ExperimentError, match=rf"gpus_per_worker: expected at least .*\({parts}\).*{gpus:g}"):
            load_experiment(path)
    for gpus, parts in ((0.0, 2), (2.0, 2), (4.0, 2), (0.25, 1)):
        assert RaySettings.model_validate(ray(gpus, parts)).gpus_per_worker == gpus
    path.write_text(changed(engine=ray(1.5, 1)))
    with pytest.raises(ExperimentError, match=r"engine.gpus_per_worker: expected a fraction of one GPU.*got 1.5"):
        load_experiment(path)


@pytest.mark.parametrize("field", ["sampling.max_tokens", "verifiers[0].max_tokens"])
def test_a_checkpoint_needs_token_limits_of_its_own(tmp_path, tiny_model_folder, field):
    """The defaults are for the built-in notation: a model that reasons would be cut, and nothing would parse."""
    data = yaml.safe_load(changed(model={"kind": "folder", "path": str(tiny_model_folder)}, iterations=0))
    data |= {"sampling": {"max_tokens": 64}, "verifiers": [{"name": "binary_cot", "max_tokens": 64}]}
    del (data["sampling"] if field.startswith("sampling") else data["verifiers"][0])["max_tokens"]
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ExperimentError, match="expected a limit of its own for a model that is not built in") as caught:
        load_experiment(tmp_path / "broken.yaml")
    assert caught.value.field == field
