"""The example of docs/replay.md as it stands there, its Python, YAML and SQL, on the recorded GSM8K solutions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DOC = (PROJECT / "docs" / "replay.md").read_text(encoding="utf-8")
FOLDER = Path(os.environ.get("MINDGAP_GSM8K") or PROJECT.parent / "shared" / "data" / "gsm8k")
SOLUTIONS = FOLDER / "example_model_solutions.jsonl"
ACCURACY = {"6b_finetuning": 21.7, "6b_verification": 39.0, "175b_finetuning": 34.7, "175b_verification": 56.3}
"""Percent correct by the labels that were published with the solutions."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SOLUTIONS.exists(), reason=f"{SOLUTIONS} is absent: name the folder of the GSM8K files in MINDGAP_GSM8K"
    ),
]


def blocks(language: str) -> list[str]:
    """The code blocks of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.S)


def run(folder: Path, *command: str) -> str:
    places = {"MINDGAP_HOME": str(folder / "home"), "MINDGAP_EXPERIMENTS": str(folder / "experiments")}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**os.environ, **places, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder after `mindgap run` of all four."""
    folder = tmp_path_factory.mktemp("gsm8k")
    (folder / "experiments").mkdir()
    (folder / "split.py").write_text(blocks("python")[0])
    run(folder, str(folder / "split.py"), str(SOLUTIONS), str(folder / "recorded"))
    names = []
    for path in sorted((folder / "recorded").iterdir()):
        name = f"recorded-{path.stem}"
        text = blocks("yaml")[0].replace("name: recorded-gsm8k", f"name: {name}", 1)
        (folder / "experiments" / f"{name}.yaml").write_text(
            text.replace("../recorded/175b.jsonl", f"../recorded/{path.name}")
        )
        names.append(name)
    assert {name.removeprefix("recorded-") for name in names} == set(ACCURACY)
    output = run(folder, "-m", "orchestration.cli", "run", *names)
    assert "Accuracy is .217 [" in output
    return folder


def test_the_published_accuracies_by_mindgap_sql(recorded):
    output = run(recorded, "-m", "orchestration.cli", "sql", blocks("sql")[1])
    for model, percent in ACCURACY.items():
        line = next(line for line in output.splitlines() if f"recorded-{model}" in line)
        n, accuracy = re.findall(r"[\d,.]+", line.partition(f"recorded-{model}")[2])
        assert (int(n.replace(",", "")), float(accuracy)) == (1319, percent)


def test_the_disagreements_by_mindgap_sql(recorded):
    """Every one of them is explained in tests/graders/test_gsm8k_labels.py; here: the question finds them."""
    table = recorded / "disagreements.csv"
    run(recorded, "-m", "orchestration.cli", "sql", blocks("sql")[0], "--output", str(table))
    import polars as pl

    found = pl.read_csv(table)
    assert found.columns == ["problem_id", "sample_index", "given", "ours", "answer", "reason", "response"]
    assert (found["given"] != found["ours"]).all()
    assert found.height < 100  # of 5,276
    counts = recorded / "counts.csv"
    sql = "SELECT count(label) AS n, sum((label = 'correct')::INTEGER) AS right FROM generations"
    run(recorded, "-m", "orchestration.cli", "sql", sql, "--output", str(counts))
    n, right = pl.read_csv(counts).row(0)
    assert n == 4 * 1319
    assert right == sum(round(1319 * percent / 100) for percent in ACCURACY.values())
