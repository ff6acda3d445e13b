"""Responses written elsewhere: every row is checked before any is used, and none may be missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.errors import DatasetError
from ops.evaluation.responses import MAX_RESPONSE_BYTES, read_responses
from ops.lab import Lab
from ops.stages.pairs import commit_pairs, draw_pairs, model_responses
from ops.stages.problems import check_problem_files, make_problems
from ops.tasks.open import Open
from tests.evaluation.evaluated import write_rows, written

TASK = Open()
PROBLEMS = [TASK.read_row({"problem_id": name, "problem": f"Write about {name}."}, "here", "eval") for name in "xy"]
GOOD = [
    {"problem_id": "y", "model": "base", "response": " An answer.\n"},
    {"problem_id": "x", "model": "new", "response": "", "finish_reason": "length"},
    {"problem_id": "x", "model": "base", "response": "Another."},
    {"problem_id": "y", "model": "new", "response": "A third.", "sample_index": 0},
]


def read(tmp_path, rows, problems=PROBLEMS, models=("base", "new")):
    return read_responses(str(write_rows(tmp_path / "responses.jsonl", rows)), problems, models)


def rows_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_texts_stay_as_they_are_and_stand_in_the_order_of_the_problems(tmp_path):
    found = read(tmp_path, GOOD)
    assert {label: list(of) for label, of in found.items()} == {
        "base": [("x", 0), ("y", 0)],
        "new": [("x", 0), ("y", 0)],
    }
    assert found["base"]["y", 0].response == " An answer.\n"
    assert (found["new"]["x", 0].response, found["new"]["x", 0].finish_reason) == ("", "length")


def test_samples_are_numbered_in_the_order_of_the_file(tmp_path):
    rows = [row for row in GOOD if row["problem_id"] == "x"]
    again = [{**row, "response": f"{row['response']}!"} for row in rows]
    found = read(tmp_path, rows + again, PROBLEMS[:1])
    assert [found["new"]["x", j].response for j in (0, 1)] == ["", "!"]


def test_integers_name_problems_as_in_the_file_of_problems(tmp_path):
    problem = TASK.read_row({"problem_id": 7, "problem": "Write."}, "here", "eval")
    assert list(read(tmp_path, [{"problem_id": 7, "model": "a", "response": "r"}], [problem], ["a"])["a"]) == [("7", 0)]


BAD = {
    "unknown problem": ({"problem_id": "z"}, "problem_id", "no problem 'z' among the 2"),
    "problem that is a list": ({"problem_id": ["x"]}, "problem_id", "no problem ['x']"),
    "no problem": ({"problem_id": None}, "problem_id", "required, but missing"),
    "unknown model": ({"model": "old"}, "model", "'old' is neither the reference (base) nor one of evaluation.models"),
    "no model": ({"model": None}, "model", "required"),
    "no response": ({"response": None}, "response", "required"),
    "a number": ({"response": 3}, "response", "expected a text, got 3"),
    "NUL": ({"response": "a\0b"}, "response", "NUL"),
    "too long": ({"response": "ä" * (MAX_RESPONSE_BYTES // 2 + 1)}, "response", "65,538 bytes, at most 65,536"),
    "negative index": ({"sample_index": -1}, "sample_index", "whole number from 0 on, got -1"),
    "index true": ({"sample_index": True}, "sample_index", "got True"),
    "unknown finish": ({"finish_reason": "eos"}, "finish_reason", "expected stop or length, got 'eos'"),
    "unknown key": ({"score": 1}, "score", "unknown key"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named(tmp_path, name):
    change, field, said = BAD[name]
    rows = [*GOOD[:2], {**GOOD[2], **change}, *GOOD[3:]]
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, rows)
    assert caught.value.where.endswith("responses.jsonl:3")
    assert caught.value.field == field and said in caught.value.problem and caught.value.remedy


def test_the_same_sample_twice(tmp_path):
    with pytest.raises(DatasetError, match="sample 0 of new to 'y' stands in line 4 too"):
        read(tmp_path, [*GOOD, GOOD[3]])


def test_a_row_twice_is_no_further_sample(tmp_path):
    """A file that is appended to itself would pass as two samples of everything."""
    rows = [{name: value for name, value in row.items() if name != "sample_index"} for row in GOOD]
    with pytest.raises(DatasetError, match="the same response of base to 'y' stands in line 1 too") as caught:
        read(tmp_path, rows + rows)
    assert caught.value.where.endswith("responses.jsonl:5") and caught.value.field == "sample_index"
    assert "give every response its sample_index" in caught.value.remedy
    said_twice = [{**row, "sample_index": j} for j in (0, 1) for row in rows]
    assert len(read(tmp_path, said_twice)["new"]) == 4


def test_a_missing_response_is_no_pair_left_out(tmp_path):
    with pytest.raises(DatasetError, match=r"1 responses of new are missing that base has, e\.g\. sample 0 to 'y'"):
        read(tmp_path, GOOD[:3])
    with pytest.raises(DatasetError, match=r"no response of base to 1 of 2 problems, e\.g\. 'x'"):
        read(tmp_path, [GOOD[0], GOOD[1], GOOD[3]])
    more = {**GOOD[3], "sample_index": 1}
    with pytest.raises(DatasetError, match=r"1 responses of new that base has none for, e\.g\. sample 1 to 'y'"):
        read(tmp_path, [*GOOD, more])


def test_the_file_is_checked_with_the_problems_before_anything_runs(tmp_path):
    experiment = written(tmp_path, 4, ["base", "new"])
    problems, training = check_problem_files(experiment)
    assert ([problem.problem_id for problem in problems], training) == (["p0", "p1", "p2", "p3"], [])
    with open(experiment.evaluation.responses, "a") as file:
        file.write(json.dumps({"problem_id": "p9", "model": "new", "response": "r"}) + "\n")
    with pytest.raises(DatasetError, match="no problem 'p9' among the 4"):
        check_problem_files(experiment)


def test_too_few_problems(tmp_path):
    """There are no problems to train on, and no iterations to lower."""
    experiment = written(tmp_path, 4, ["base", "new"])
    wanted = experiment.model_copy(update={"problems": experiment.problems.model_copy(update={"eval": 5})})
    with pytest.raises(DatasetError, match="4 problems, 5 needed") as caught:
        check_problem_files(wanted)
    assert caught.value.remedy == "add rows, or lower problems.eval"


def test_recorded_responses_become_pairs_without_a_model(tmp_path):
    experiment = written(tmp_path, 3, ["base", "new", "old"], samples=2)
    lab = Lab.open(experiment, home=tmp_path / "home")
    make_problems(lab)
    assert draw_pairs(lab) == {"drawn": 0, "reused": False}
    assert commit_pairs(lab).metadata["pairs"] == 12
    assert draw_pairs(lab) == {"drawn": 0, "reused": True}
    frame = lab.store.read("pairs", lab.plan.fingerprints["evaluation/pairs"])
    assert lab.engines == {}
    for row in frame.iter_rows(named=True):
        place = f"wrote {row['sample_index']} to {row['problem_id'][1:]}"
        assert (row["response"], row["reference_response"]) == (f"{row['model']} {place}", f"base {place}")
        assert row["category"] == "ab"[int(row["problem_id"][1:]) % 2]
    assert list(zip(frame["model"], frame["problem_id"], frame["sample_index"], strict=True))[:7] == [
        ("new", "p0", 0),
        ("new", "p0", 1),
        ("new", "p1", 0),
        ("new", "p1", 1),
        ("new", "p2", 0),
        ("new", "p2", 1),
        ("old", "p0", 0),
    ]
    graded = dict(model_responses(lab))
    assert list(graded) == ["base", "new", "old"]
    assert set(graded["new"]["verdict"]) == {"unparseable"}  # nothing is right or wrong, and nothing is 0
    assert set(graded["new"]["reason"]) == {"an open-ended prompt has no right answer"}
    for label, responses in graded.items():
        of = "reference_response_id" if label == "base" else "response_id"
        assert set(responses["response_id"]) == set(frame.filter(model="new" if label == "base" else label)[of])


def test_a_file_that_changes_after_planning_is_not_committed(tmp_path):
    experiment = written(tmp_path, 3, ["base", "new"])
    lab = Lab.open(experiment, home=tmp_path / "home")
    make_problems(lab)
    rows = rows_of(experiment.evaluation.responses)
    write_rows(tmp_path / "responses.jsonl", [{**rows[0], "response": "Something else."}, *rows[1:]])
    with pytest.raises(DatasetError, match="changed while it was read") as error:
        commit_pairs(lab)
    assert "run again" in error.value.remedy
    assert not lab.store.has("pairs", lab.plan.fingerprints["evaluation/pairs"])
    assert commit_pairs(Lab.open(experiment, home=tmp_path / "home")).n_rows == 3


def test_identities_of_other_rows_stay_when_a_row_changes(tmp_path):
    def frame(name, **changes):
        folder = tmp_path / name
        folder.mkdir()
        experiment = written(folder, 3, ["base", "new"])
        rows = rows_of(experiment.evaluation.responses)
        rows = [{**row, **changes} if (row["problem_id"], row["model"]) == ("p1", "new") else row for row in rows]
        write_rows(folder / "responses.jsonl", rows)
        lab = Lab.open(experiment, home=folder / "home")
        make_problems(lab)
        commit_pairs(lab)
        return lab.store.read("pairs", lab.plan.fingerprints["evaluation/pairs"])

    before, same, after = frame("before"), frame("same"), frame("after", response="Something else.")
    assert before.equals(same)
    for column in ("pair_id", "response_id"):
        assert (before[column] == after[column]).to_list() == [True, False, True]
    assert before["reference_response_id"].equals(after["reference_response_id"])


def test_a_rewritten_prompt_makes_another_pair_and_a_category_does_not(tmp_path):
    def identities(name, change):
        folder = tmp_path / name
        folder.mkdir()
        experiment = written(folder, 3, ["base", "new"])
        rows = rows_of(experiment.problems.eval_file)
        write_rows(folder / "prompts.jsonl", [rows[0], {**rows[1], **change}, rows[2]])
        lab = Lab.open(experiment, home=folder / "home")
        make_problems(lab)
        commit_pairs(lab)
        return lab.store.read("pairs", lab.plan.fingerprints["evaluation/pairs"])["pair_id"].to_list()

    before = identities("before", {})
    assert identities("category", {"category": "c"}) == before
    rewritten = identities("rewritten", {"problem": "Write about something else."})
    assert [old == new for old, new in zip(before, rewritten, strict=True)] == [True, False, True]


def test_strata_need_categories(tmp_path):
    experiment = written(tmp_path, 4, ["base", "new"], evaluation={"strata": "category"})
    assert len(check_problem_files(experiment)[0]) == 4
    rows = rows_of(experiment.problems.eval_file)
    write_rows(tmp_path / "prompts.jsonl", [{k: v for k, v in row.items() if k != "category"} for row in rows])
    with pytest.raises(DatasetError, match=r"4 of 4 problems have no category, e\.g\. p0") as caught:
        check_problem_files(experiment)
    assert caught.value.field == "evaluation.strata"
