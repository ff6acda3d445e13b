"""The page docs/how-to/label-pairs.md: its file, its commands and its questions, as a reader would try them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.experiment_files import load_experiment
from ops.lab import Lab
from ops.stages.pairs import commit_pairs
from ops.stages.problems import make_problems
from ops.stages.synthetic_judgements import commit_judgements, judge_pairs
from ops.storage.query import query
from orchestration.cli import main
from tests.docs.reader import blocks
from tests.evaluation.evaluated import write_rows
from tests.evaluation.labelling import fill

PAGE = "how-to/label-pairs.md"
PROMPTS = 500


def commands() -> list[list[str]]:
    """The words of every command of the page, without ``mindgap``."""
    lines = [line for block in blocks(PAGE) for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's experiment with its files, after ``mindgap run`` has made pairs and judgements."""
    monkeypatch.setenv("MINDGAP_EXPERIMENTS", str(tmp_path / "experiments"))
    monkeypatch.setenv("MINDGAP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MINDGAP_LABELS", raising=False)
    monkeypatch.chdir(tmp_path)
    ids = [f"p{i:03}" for i in range(PROMPTS)]
    kinds = ("writing", "reasoning", "advice")
    prompts = [{"problem_id": one, "problem": f"Write {one}.", "category": kinds[i % 3]} for i, one in enumerate(ids)]
    responses = [
        {"problem_id": one, "model": model, "response": f"{model}: {one}"} for one in ids for model in ("old", "new")
    ]
    judged = [{"problem_id": one, "model": "new", "score": (i * 7 % 10) / 10} for i, one in enumerate(ids)]
    for name, rows in (("prompts", prompts), ("responses", responses), ("judge", judged)):
        write_rows(tmp_path / f"{name}.jsonl", rows)
    (tmp_path / "experiments").mkdir()
    path = tmp_path / "experiments" / "my-win-rates.yaml"
    path.write_text(blocks(PAGE, "yaml")[0])
    lab = Lab.open(load_experiment(path), home=tmp_path / "home")
    make_problems(lab)
    commit_pairs(lab)
    judge_pairs(lab)
    commit_judgements(lab)
    return tmp_path


@pytest.mark.slow
def test_the_page(folder: Path):
    """Every command works in its order; two people label, not quite the same."""
    people = {"to-label.csv": 5, "for-bob.csv": 4}
    asked = []
    for words in commands():
        if words[0] == "run":
            continue
        if words[1] == "import":
            likes = people[words[3]]
            fill(Path(words[3]), lambda row, n=likes: "a" if int(row["problem"][7:10]) * 7 % 10 < n else "b")
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, (words, result.output)
        asked.append(words[1])
    assert asked == ["plan", "export", "import", "estimate", "export", "import"]
    result = CliRunner().invoke(main, ["evaluate", "estimate", "my-win-rates"])
    assert result.exit_code == 0
    conflicts, rates = (query(folder / "home", statement) for statement in blocks(PAGE, "sql"))
    assert conflicts.height > 0
    assert all("ada: " in " ".join(labels) and "bob: " in " ".join(labels) for labels in conflicts["labels"])
    assert set(rates["estimator"]) == {"human", "synthetic", "control_variate", "cross_fitted"}
    assert set(rates.filter(estimator="human")["n_labelled"]) == {100}
