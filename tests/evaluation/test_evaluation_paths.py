"""Paths below ``evaluation``: relative to the experiment file, there or refused, and the same when done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.config import Experiment
from ops.errors import ExperimentError
from ops.experiment_files import load_experiment, with_paths
from tests.evaluation.evaluated import builtin, fields


def load(folder: Path, **changes: Any) -> Experiment:
    (folder / "experiments").mkdir(exist_ok=True)
    path = folder / "experiments" / "pairs.yaml"
    path.write_text(yaml.safe_dump(fields(**changes)))
    return load_experiment(path)


@pytest.fixture(autouse=True)
def no_folder_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINDGAP_LABELS", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Beside ``experiments``: two checkpoints, one of them through a link, and a file of rows."""
    for name in ("writer", "rewards-7b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "rewards").symlink_to(tmp_path / "rewards-7b")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (None, None, "labels/pairs.jsonl"),
        (None, "elsewhere", "elsewhere/pairs.jsonl"),
        ("mine.jsonl", "elsewhere", "experiments/mine.jsonl"),
        ("../mine.jsonl", None, "mine.jsonl"),
    ],
)
def test_where_labels_are(folder: Path, monkeypatch, given: str | None, environment: str | None, expected: str):
    """The file need not be there."""
    if environment is not None:
        monkeypatch.setenv("MINDGAP_LABELS", str(folder / environment))
    labels = {"source": "file"} if given is None else {"source": "file", "path": given}
    found = load(folder, evaluation={"labels": labels})
    assert found.evaluation.labels.path == str(folder / expected)


def test_gold_labels_have_no_file(folder: Path):
    assert load(folder).evaluation.labels.model_dump() == {"source": "gold", "count": 6, "seed": 0}


def own(path: str) -> dict[str, str]:
    return {"kind": "folder", "path": path}


def everything() -> dict[str, Any]:
    judges = [
        {"name": "recorded", "path": "../rows.jsonl"},
        {"name": "reward_model", "path": "../rewards"},
        {"name": "tuned", "of": "reward_model@rewards"},
        {"name": "pairwise", "model": own("../rewards"), "max_tokens": 9},
    ]
    models = [{"model": own("../writer")}, {"model": builtin(1), "label": "one"}]
    return {"evaluation": {"models": models, "judges": judges}}


def test_every_path_becomes_absolute(folder: Path):
    """And what is called after a path keeps that name, where the path is a link as well."""
    found = load(folder, **everything())
    evaluation = found.evaluation
    assert evaluation.models[0].model.path == str(folder / "writer")
    assert evaluation.judges[0].path == str(folder / "rows.jsonl")
    assert evaluation.judges[1].path == str(folder / "rewards-7b")
    assert evaluation.judges[3].model.path == str(folder / "rewards-7b")
    names = ["recorded", "reward_model@rewards", "reward_model@rewards+tuned", "pairwise@rewards"]
    assert [judge.called for judge in evaluation.judges] == names
    assert evaluation.models[0].called == "writer"


def test_twice_is_once(folder: Path):
    found = load(folder, **everything())
    assert with_paths(found, folder / "somewhere else", "again") == found


MISSING = [
    ({"judges": [{"name": "recorded", "path": "no.jsonl"}]}, "evaluation.judges[0].path", "expected a JSONL file"),
    ({"judges": [{"name": "reward_model", "path": "no"}]}, "evaluation.judges[0].path", "checkpoint folder"),
    ({"judges": [{"name": "pairwise", "model": own("no")}]}, "evaluation.judges[0].model.path", "checkpoint folder"),
    ({"models": [{"model": own("no")}]}, "evaluation.models[0].model.path", "checkpoint folder"),
    ({"labels": {"source": "file", "path": "a\0b"}}, "evaluation.labels.path", "expected a path"),
]


@pytest.mark.parametrize(("changes", "field", "words"), MISSING, ids=[field for _, field, _ in MISSING])
def test_what_is_missing_is_named(folder: Path, changes: dict[str, Any], field: str, words: str):
    with pytest.raises(ExperimentError) as error:
        load(folder, evaluation=changes)
    assert error.value.where.endswith("experiments/pairs.yaml")
    assert error.value.field == field
    assert words in error.value.problem
    assert error.value.remedy


def test_missing_responses_are_named(folder: Path):
    changes = {"models": [{"label": "one"}], "responses": "no.jsonl", "judges": [], "labels": {"source": "file"}}
    data = fields(evaluation=changes, model={"kind": "recorded"}, problems={"eval": 2, "eval_file": "../rows.jsonl"})
    del data["sampling"]
    with pytest.raises(ExperimentError, match="expected a JSONL file") as error:
        with_paths(Experiment.model_validate(data), folder / "experiments", "pairs.yaml")
    assert error.value.field == "evaluation.responses"


LIMITS = [
    ({"models": [{"model": own("../writer")}]}, {"n_eval": 3}, "sampling.max_tokens"),
    ({"judges": [{"name": "pairwise", "model": own("../writer")}]}, {}, "evaluation.judges[0].max_tokens"),
    (
        {"judges": [{"name": "bradley_terry", "verifier": {"name": "score_cot"}, "model": own("../writer")}]},
        {},
        "evaluation.judges[0].verifier.max_tokens",
    ),
]


@pytest.mark.parametrize(("evaluation", "sampling", "field"), LIMITS, ids=[field for *_, field in LIMITS])
def test_limits_for_models_that_are_not_built_in(folder: Path, evaluation: dict, sampling: dict, field: str):
    with pytest.raises(ExperimentError, match="expected a limit of its own") as error:
        load(folder, evaluation=evaluation, **({"sampling": sampling} if sampling else {}))
    assert error.value.field == field
