"""The tutorial, run exactly as it is printed: from clone to a gap on ten lines of JSONL."""

from __future__ import annotations

import json
import math

import pytest

from ops.experiment_files import load_experiment
from ops.plan import make_plan
from ops.stages.problems import check_problem_files
from ops.storage.query import query
from ops.study_files import find_experiments
from tests.docs.reader import PROJECT, blocks, new_reader


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_copying_the_commands_gives_a_gap_on_ones_own_ten_lines(tmp_path):
    reader = new_reader(tmp_path)
    printed = reader.follow("tutorial.md")
    assert "mine: done" in printed and "first: done" in printed
    home = reader.clone / ".mindgap"
    sql = "FROM gap_metrics WHERE experiment = 'mine' AND split = 'eval'"
    [row] = query(home, sql).rows(named=True)
    assert (row["n_problems"], row["n_responses"], row["verifier"]) == (10, 640, "binary_cot")
    assert 0.0 < row["accuracy"] < 1.0
    assert row["gap_low"] <= row["gap"] <= row["gap_high"] and math.isfinite(row["gap_high"] - row["gap_low"])
    [first] = query(home, sql.replace("mine", "first")).rows(named=True)
    assert first["n_problems"] == 100
    assert row["gap_high"] - row["gap_low"] > first["gap_high"] - first["gap_low"]  # ten problems say less
    assert first["gap_low"] > 0, "the page says that its interval lies above zero"
    [model] = query(home, "FROM materializations WHERE experiment = 'mine' AND asset = 'base_model'").rows(named=True)
    assert model["reused"], "the page says that nothing is computed twice"
    [(asked,)] = query(home, "SELECT count(*) FROM problems WHERE experiment = 'mine' AND split = 'eval'").rows()
    assert asked == 10
    assert (home / "reports" / "mine.html").is_file()
    where = reader.run('.venv/bin/python -c "import ops; print(ops.__file__)"', cwd=reader.clone)
    assert where.strip() == str(reader.clone / "ops" / "__init__.py"), "not the clone's own code ran"


def _file(page: str, name: str) -> str:
    """What a here-document of the page writes into ``experiments/NAME``."""
    [block] = [block for block in blocks(page) if f"> experiments/{name} <<" in block]
    return block.split(f"> experiments/{name} <<", 1)[1].split("\n", 1)[1].split("\nYAML\n")[0].split("\nJSONL\n")[0]


def test_the_files_of_the_tutorial_are_valid_and_the_rows_are_accepted(tmp_path):
    """What the long test finds late, found early: the experiment, and each row by the recipe that answers it."""
    for name in ("mine.yaml", "mine.jsonl", "mine-train.jsonl"):
        (tmp_path / name).write_text(_file("tutorial.md", name) + "\n")
    rows = [json.loads(line) for line in (tmp_path / "mine.jsonl").read_text().splitlines()]
    assert len(rows) == 10 and all(set(row) == {"problem", "answer"} for row in rows)
    evaluation, training = check_problem_files(load_experiment(tmp_path / "mine.yaml"))
    assert len(evaluation) == 10 and len(training) == 2


def test_the_second_part_iterates_what_the_first_part_wrote(tmp_path):
    """sed and the appended lines of section 6 give a valid experiment that shares the base model of ``first``."""
    reader = new_reader(tmp_path)
    folder = tmp_path / "clone" / "experiments"
    folder.mkdir(parents=True)
    (folder / "first.yaml").write_text(_file("tutorial.md", "first.yaml") + "\n")
    [block] = [block for block in blocks("tutorial-own-model.md") if "first-iterated.yaml" in block]
    script = "\n".join(line for line in block.splitlines() if "bin/mindgap" not in line)
    reader.run(script, cwd=folder.parent)
    read = [load_experiment(folder / name) for name in ("first.yaml", "first-iterated.yaml")]
    assert (read[1].name, read[1].iterations, read[1].filter.name) == ("first-iterated", 2, "threshold")
    assert find_experiments(folder, PROJECT / "studies")[1] == {}, "a name of the tutorial is taken by a study"
    first, iterate = (make_plan(experiment) for experiment in read)
    assert first.fingerprints["base_model"] == iterate.fingerprints["base_model"]
