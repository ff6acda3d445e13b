"""``mindgap evaluate``: what a user types, from the first plan to the estimate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from ops.stages.label_waves import export_wave
from orchestration.cli import main
from tests.conftest import tiny_experiment
from tests.evaluation.labelling import NAME, fill, open_lab, paired_lab, prefers_the_model, write_workspace


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINDGAP_EXPERIMENTS", str(tmp_path / "experiments"))
    monkeypatch.setenv("MINDGAP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MINDGAP_LABELS", raising=False)
    monkeypatch.delenv("MINDGAP_STUDIES", raising=False)
    return tmp_path


def run(*words: object) -> Result:
    """The command; an error that is no message of ours fails the test."""
    result = CliRunner().invoke(main, ["evaluate", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_from_the_first_plan_to_the_estimate(folder: Path):
    paired_lab(folder, 60, ties=6)
    plan = run("plan", NAME, "--width", "0.15")
    assert plan.exit_code == 0, plan.output
    assert "0.70 supposed" in plan.output
    assert "label a first wave, and plan again" in plan.output

    file = folder / "to-label.csv"
    export = run("export", NAME, file, "--n", 30)
    assert export.exit_code == 0, export.output
    assert f"mindgap evaluate import {NAME} {file}" in export.output
    assert "one: 30 pairs are left to draw" in export.output
    # even sums are won, odd ones lost, and every 7th is a tie: the judge prefers even ones, too
    rows = fill(file, lambda row: "tie" if int(row["problem"].split()[0]) % 7 == 0 else right_for_the_model(row))
    imported = run("import", NAME, file, "--annotator", "ada")
    assert imported.exit_code == 0, imported.output
    assert f"{rows} labels ({rows} new, 0 replaced, 0 known)" in imported.output
    assert (folder / "labels" / f"{NAME}.jsonl").is_file()

    estimate = run("estimate", NAME)
    assert estimate.exit_code == 0, estimate.output
    assert "control variate" in estimate.output
    again = run("plan", NAME, "--n", 40)
    assert "supposed" not in again.output
    assert "at n = 40" in again.output


def right_for_the_model(row: dict[str, str]) -> str:
    model = prefers_the_model(row)
    return model if int(row["problem"].split()[0]) % 2 == 0 else {"a": "b", "b": "a"}[model]


def test_estimate_writes_what_the_run_would(folder: Path):
    """The tables are current in the catalog, and follow new labels."""
    from ops.storage.query import query

    paired_lab(folder, 30)
    seen = []
    for n in (10, 12):
        file = folder / f"{n}.csv"
        run("export", NAME, file, "--n", n)
        fill(file, right_for_the_model)
        run("import", NAME, file, "--annotator", "ada")
        assert run("estimate", NAME).exit_code == 0
        found = query(
            folder / "home", "SELECT n_labelled, value FROM win_rates WHERE estimator = 'human' AND model = 'two'"
        )
        seen.append(found.rows()[0][0])
    assert seen == [10, 22]


def test_supposing_a_correlation(folder: Path):
    """With rho = .6 and N = 60: a saving of .36 (1 - 30/60) = .18 at n = 30."""
    paired_lab(folder, 60)
    found = run("plan", NAME, "--correlation", "0.6", "--n", 30)
    assert "0.60 supposed" in found.output
    assert "18 % at n = 30" in found.output
    wrong = run("plan", NAME, "--correlation", "1.5")
    assert (wrong.exit_code, "between -1 and 1" in wrong.output) == (2, True)
    for option, value in (("--width", "0"), ("--width", "nan"), ("--correlation", "1")):
        wrong = run("plan", NAME, option, value)
        assert (wrong.exit_code, f"Invalid value for '{option}'" in wrong.output) == (2, True)
    wrong = run("plan", NAME, "--n", 61)
    assert (wrong.exit_code, "between 1 and 60" in wrong.output) == (2, True)


def test_the_help_explains_the_statistics():
    words = " ".join(run("--help").output.split())
    assert "unbiased whatever the judge is worth" in words
    assert "rho^2 (1 - n/N)" in words
    assert "costs next to nothing (about one label for each judge)" in words
    about = words.partition("(2502.10563). ")[2].partition(" In turn:")[0]
    assert about.count(". ") + 1 == 3  # three sentences
    assert (
        words.index("plan Say") < words.index("export Draw") < words.index("import Take") < words.index("estimate Est")
    )


@pytest.mark.parametrize("command", ["plan", "export", "import", "estimate"])
def test_pairs_come_first(folder: Path, command: str):
    write_workspace(folder, 6)
    file = folder / "a.csv"
    if command == "import":
        file.write_text("pair_id,label\np,a\n")
    result = run(command, NAME, *([] if command in ("plan", "estimate") else [file]))
    assert result.exit_code == 2
    assert "evaluation/pairs is not there yet" in result.output
    assert f"mindgap run {NAME}" in result.output
    assert not (folder / "labels").exists() or command == "import"


@pytest.mark.parametrize("command", ["plan", "export", "import", "estimate"])
def test_an_experiment_without_evaluation(folder: Path, command: str):
    (folder / "experiments").mkdir()
    fields = tiny_experiment("tiny").model_dump(mode="json")
    (folder / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(fields))
    (folder / "a.csv").write_text("")
    file = folder / ("a.csv" if command == "import" else "new.csv")
    result = run(command, "tiny", *([] if command in ("plan", "estimate") else [file]))
    assert result.exit_code == 2
    assert "this experiment compares no models" in result.output


def test_every_wrong_row_in_one_message(folder: Path):
    lab = paired_lab(folder, 10)
    done = export_wave(lab, folder / "a.jsonl", n=4, design="uniform")
    known = [item.pair_id for item in done.requests]
    lines = [(known[0], "a"), (known[1], "maybe"), ("nobody", "b"), (known[2], "a"), (known[2], "b")]
    file = folder / "filled.jsonl"
    file.write_text("".join(json.dumps({"pair_id": pair_id, "label": label}) + "\n" for pair_id, label in lines))
    labels = folder / "labels" / f"{NAME}.jsonl"
    refused = run("import", NAME, file, "--annotator", "ada")
    assert refused.exit_code == 2
    assert "3 problems, nothing was changed" in refused.output
    assert not labels.exists()
    typo = run("import", NAME, file, "--annotator", "ada", "--allow", "unkown")
    assert (typo.exit_code, "'unkown' is none of" in typo.output) == (2, True)
    taken = run("import", NAME, file, "--annotator", "ada", "--allow", "unknown, out-of-range,duplicate")
    assert taken.exit_code == 0, taken.output
    assert "2 labels (2 new" in taken.output
    for words in ("unknown: 1 rows", "out-of-range: 1 rows", "duplicate: 1 rows"):
        assert words in taken.output
    changed = file.with_name("changed.jsonl")
    changed.write_text(json.dumps({"pair_id": known[0], "label": "b"}))
    refused = run("import", NAME, changed, "--annotator", "ada")
    assert (refused.exit_code, "--replace" in refused.output) == (2, True)
    assert "1 replaced" in run("import", NAME, changed, "--annotator", "ada", "--replace").output


def test_a_file_is_not_overwritten(folder: Path):
    paired_lab(folder, 6)
    file = folder / "a.csv"
    file.write_text("labels of an hour")
    result = run("export", NAME, file, "--n", 2)
    assert (result.exit_code, "is there already" in result.output) == (2, True)
    assert file.read_text() == "labels of an hour"


def test_a_wave_again(folder: Path):
    paired_lab(folder, 6)
    run("export", NAME, folder / "a.csv", "--n", 2)
    assert run("export", NAME, folder / "b.csv", "--wave", 0).exit_code == 0
    assert (folder / "a.csv").read_bytes() == (folder / "b.csv").read_bytes()
    for option, value in (("n", 5), ("design", "uniform"), ("model", "one"), ("seed", 1)):
        wrong = run("export", NAME, folder / "c.csv", "--wave", 0, f"--{option}", value)
        assert (wrong.exit_code, f"--{option} with --wave" in wrong.output) == (2, True)


def test_a_folder_that_is_not_there_is_not_made(folder: Path):
    paired_lab(folder, 6)
    wrong = run("export", NAME, folder / "typo" / "a.csv", "--n", 2)
    assert (wrong.exit_code, "there is no folder" in wrong.output) == (2, True)
    assert not (folder / "typo").exists() and not (folder / "labels").exists()


def test_judges_that_learn_are_run_before_estimates(folder: Path, tiny_model_folder: Path):
    """`mindgap evaluate estimate` would say so, too, but only when it is typed."""
    paired_lab(folder, 6)
    file, path = folder / "a.csv", folder / "experiments" / f"{NAME}.yaml"
    run("export", NAME, file, "--n", 2)
    fill(file, prefers_the_model)
    fields = yaml.safe_load(path.read_text())
    assert f"Now: mindgap evaluate estimate {NAME}" in run("import", NAME, file, "--annotator", "ada").output
    rewards = {"name": "reward_model", "path": str(tiny_model_folder), "label": "rewards"}
    fields["evaluation"]["judges"] += [rewards, {"name": "tuned", "of": "rewards"}]
    path.write_text(yaml.safe_dump(fields))
    imported = run("import", NAME, file, "--annotator", "ada")
    assert f"Now: mindgap run {NAME}   (judges learn" in imported.output, imported.output
    assert "evaluate estimate" not in imported.output


def test_labels_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINDGAP_LABELS", str(folder / "shared"))
    paired_lab(folder, 6)
    run("export", NAME, folder / "a.csv", "--n", 2)
    assert (folder / "shared" / f"{NAME}.requests.jsonl").is_file()
    assert open_lab(folder).evaluation.labels.path == str(folder / "shared" / f"{NAME}.jsonl")
