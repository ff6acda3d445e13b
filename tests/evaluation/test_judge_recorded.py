"""Recorded judgements: matched to pairs, every row checked, what belongs to no pair counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.errors import DatasetError
from ops.evaluation.judges.recorded import RecordedJudge
from ops.lab import Lab
from ops.stages.problems import problems_of
from ops.stages.synthetic_judgements import judge_pairs
from tests.evaluation.judged_lab import commit_pairs, judged, open_lab

ROW = {"problem_id": "p0", "model": "b", "score": 3}


def write(path: Path, rows: list[dict | str]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def about(lab):
    return lab.store.about("synthetic_judgements", lab.plan.fingerprints["evaluation/synthetic_judgements"])["metadata"]


def reopened(lab: Lab) -> Lab:
    """Planned anew, with its files as they are now."""
    return Lab.open(lab.experiment, home=lab.store.home)


def test_rows_are_matched_to_pairs(tmp_path):
    file = write(tmp_path / "judge.jsonl", [{"problem_id": "later", "model": "b", "score": 1, "other": 2}])
    judges = [{"name": "recorded", "path": file}, {"name": "recorded", "path": file, "column": "other"}]
    lab = open_lab(tmp_path / "home", judges, evaluation={"missing_judgements": "mean"})
    commit_pairs(lab, [("b", "1", "2"), ("b", "3", "4"), ("b", "5", "5"), ("c", "1", "2")])
    ids = [problem.problem_id for problem in problems_of(lab, 0, "eval")]
    rows = [
        {"problem_id": ids[1], "model": "b", "score": 7, "score_shown_second": 4, "other": -1.5},
        {"problem_id": ids[0], "model": "b", "sample_index": 0, "score": None, "other": 2},
        {"problem_id": ids[0], "model": "c", "score": 2, "score_shown_second": None, "other": None},
        {"problem_id": ids[5], "model": "b", "score": 9, "other": 9},
        {"problem_id": "unknown", "model": "b", "score": 9, "other": 9},
    ]
    write(Path(file), rows)
    lab = reopened(lab)
    found = judged(lab)
    # (7 + 4) / 2; a null in either order is no judgement; the identical pair has no row here, and no scale is assumed
    assert found.filter(judge="recorded")["score"].to_list() == [None, 5.5, None, None]
    assert found.filter(judge="recorded")["score_shown_first"].to_list() == [None, 7.0, None, 2.0]
    assert found.filter(judge="other")["score"].to_list() == [2.0, -1.5, None, None]
    assert found["judge_model"].null_count() == 8
    shown = about(lab)
    assert shown["recorded_rows_of_no_pair"] == 2
    assert (shown["recorded_rows_of_unknown_problems"], shown["recorded_rows_of_unknown_models"]) == (2, 0)
    assert shown["recorded_unreadable_fraction"] == 3 / 4
    assert shown["other_unreadable_fraction"] == 2 / 4


def test_a_file_that_changes_after_planning_is_not_committed(tmp_path):
    file = tmp_path / "judge.jsonl"
    lab = open_lab(tmp_path / "home", [{"name": "recorded", "path": write(file, [ROW])}])
    commit_pairs(lab, [("b", "1", "2")])
    row = {**ROW, "problem_id": problems_of(lab, 0, "eval")[0].problem_id}
    write(file, [row])
    with pytest.raises(DatasetError, match="changed while it was read") as error:
        judged(lab)
    assert (error.value.where, "run again" in error.value.remedy) == (str(file), True)
    assert judged(reopened(lab))["score"].to_list() == [row["score"]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**ROW, "problem_id": None}, r"judge.jsonl:2: problem_id: expected text, got None"),
        ({**ROW, "problem_id": "p1", "model": 3}, r"judge.jsonl:2: model: expected text, got 3"),
        ({**ROW, "problem_id": "p1", "score": "good"}, r"score: expected a finite number, got 'good'"),
        ({**ROW, "problem_id": "p1", "score": True}, r"score: expected a finite number, got 'True'"),
        ({**ROW, "problem_id": "p1", "score": 10**400}, r"score: expected a finite number"),
        ({"problem_id": "p1", "model": "b", "rating": 3}, r"score: required, but missing \(there are: .*rating"),
        ({**ROW, "sample_index": -1}, r"sample_index: expected a whole number from 0, got -1"),
        ({**ROW, "sample_index": 0}, r"sample 0 of model b for problem p0 is judged in line 1 already"),
        ("{", r"judge.jsonl:2: not valid JSON"),
    ],
)
def test_bad_rows_are_refused(tmp_path, row, words):
    judge = RecordedJudge(path=write(tmp_path / "judge.jsonl", [ROW, row]))
    with pytest.raises(DatasetError, match=words):
        judge.read()


def test_integers_name_problems_as_in_the_file_of_problems(tmp_path):
    rows = [{**ROW, "problem_id": 7}, {**ROW, "problem_id": "8"}]
    assert list(RecordedJudge(path=write(tmp_path / "judge.jsonl", rows)).read()) == [("7", "b", 0), ("8", "b", 0)]


def test_where_a_pair_is_missing_a_name_that_nobody_has_is_a_hint(tmp_path):
    judge = RecordedJudge(path=write(tmp_path / "judge.jsonl", [ROW, {**ROW, "problem_id": "P1", "model": "B"}]))
    words = (
        "of problem p1, .*; 1 are of problems that no pair has, e.g. 'P1'; 1 are of models that no pair has, e.g. 'B'"
    )
    with pytest.raises(DatasetError, match=words):
        judge.check(judge.read(), [("p0", "b", 0), ("p1", "b", 0)], complete=True)


def test_an_empty_file_and_one_of_other_pairs_are_refused_before_any_model_is_asked(tmp_path):
    with pytest.raises(DatasetError, match="found an empty file"):
        RecordedJudge(path=write(tmp_path / "empty.jsonl", [])).read()
    file = write(tmp_path / "judge.jsonl", [ROW])
    lab = open_lab(tmp_path / "home", [{"name": "pairwise"}, {"name": "recorded", "path": file}])
    commit_pairs(lab, [("b", "1", "2")])
    with pytest.raises(DatasetError, match="none of its 1 judgements is of a pair of this experiment"):
        judge_pairs(lab)
    assert not lab.engines
