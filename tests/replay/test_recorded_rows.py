"""Responses recorded elsewhere, row by row: good ones are read, bad ones are named by file, line, field and remedy."""

from __future__ import annotations

import datetime
import os
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

import ops.recorded as recorded
from ops.engines.replay import ReplaySettings
from ops.errors import DatasetError
from ops.recorded import score_columns, split_of
from ops.tasks.countdown import Countdown
from ops.tasks.gsm8k import Gsm8k
from ops.tasks.jsonl import Jsonl
from tests.replay.rows import LEFT_OUT, OTHER, ROW, line, read, row, write_jsonl, write_parquet

LABELLED = Jsonl(name="jsonl", grader="label")
COUNTDOWN = Jsonl(name="jsonl", grader="countdown")
HUGE = 10**400  # JSON knows it, no double does

BAD: dict[str, tuple[Any, str | None, str]] = {
    "no answer": (row(answer=LEFT_OUT), "answer", "required, but missing"),
    "null answer": (row(answer=None), "answer", "required, but missing"),
    "answer of another kind": (row(answer=["18"]), "answer", "expected a text, got an array"),
    "answer that is no number": (row(answer="eighteen"), "answer", "expected a number, got 'eighteen'"),
    "no problem": (row(problem=LEFT_OUT), "problem", "required, but missing"),
    "empty problem": (row(problem=" "), "problem", "an empty one"),
    "problem of another kind": (row(problem=7), "problem", "expected a text, got a number"),
    "no response": (row(response=LEFT_OUT), "response", "required, but missing"),
    "response of another kind": (row(response=["#### 18"]), "response", "expected text, got list"),
    "response of 100 KB": (row(response="x" * 100_000), "response", "100,000 bytes, at most 65,536 are taken"),
    "response of 40,000 letters, 80 KB": (row(response="é" * 40_000), "response", "80,000 bytes, at most 65,536"),
    "no id": (row(problem_id=LEFT_OUT), "problem_id", "required, but missing"),
    "number as id": (row(problem_id=1), "problem_id", "expected text, got int '1'"),
    "true as id": (row(problem_id=True), "problem_id", "expected text, got bool"),
    "empty id": (row(problem_id=""), "problem_id", "an empty id"),
    "white space around the id": (row(problem_id="p2 "), "problem_id", "without white space around it"),
    "long id": (row(problem_id="p" * 201), "problem_id", "201 bytes, at most 200 are taken"),
    "same sample twice": (row(sample_index=0), "sample_index", "sample 0 of 'p1' stands in the file already"),
    "index of the row's own place": (row(sample_index=0), "sample_index", "stands in the file already"),
    "negative index": (row(sample_index=-1), "sample_index", "expected a whole number from 0"),
    "fraction as index": (row(sample_index=1.0), "sample_index", "expected a whole number from 0"),
    "true as index": (row(sample_index=True), "sample_index", "expected a whole number from 0"),
    "text as index": (row(sample_index="1"), "sample_index", "expected a whole number from 0"),
    "index of 32 bits": (row(sample_index=2**31), "sample_index", "expected a whole number from 0"),
    "another problem": (row(problem="What is 6 * 4?"), "problem", "'p1' has another problem in line 1"),
    "another answer": (row(answer="24"), "answer", "'p1' has another answer in line 1"),
    "the answer as number": (row(answer=18), "answer", "'p1' has another answer in line 1"),
    "other aliases": (row(aliases=["18.0"]), "aliases", "'p1' has another aliases in line 1"),
    "other data": (row(data={"level": 1}), "data", "'p1' has another data in line 1"),
    "data of another kind": (row(problem_id="p2", data=[1]), "data", "expected an object"),
    "aliases of another kind": (row(problem_id="p2", aliases="18.0"), "aliases", "expected a list of texts"),
    "data with NUL": (row(problem_id="p2", data={"a": ["\0"]}), "data", "a NUL character"),
    "number as label": (row(label=1), "label", "expected true, false, correct or incorrect, got 1"),
    "text as label": (row(label="right"), "label", "expected true, false, correct or incorrect, got 'right'"),
    "list as label": (row(label=["correct"]), "label", "expected true, false, correct or incorrect"),
    "list of scores": (row(scores=[0.7]), "scores", "expected a mapping of numbers by name"),
    "text as score": (row(scores={"reward": "0.7"}), "scores.reward", "expected a finite number or null, got '0.7'"),
    "true as score": (row(scores={"reward": True}), "scores.reward", "expected a finite number or null, got True"),
    "huge score": (row(scores={"reward": HUGE}), "scores.reward", "expected a finite number or null, got 1000"),
    "score beyond doubles": (
        line(row(scores={"reward": 7})).strip().replace(b"7", b"1e999"),
        "scores.reward",
        "expected a finite number or null, got inf",
    ),
    "no score here": (row(), "scores", "expected the scores reward as in the first row, got (none)"),
    "another score": (row(scores={"other": 1.0}), "scores", "scores reward as in the first row, got other"),
    "one more score": (row(scores={"reward": 1.0, "b": 1.0}), "scores", "as in the first row, got reward, b"),
    "score without a name": (row(scores={"": 1.0}), "scores", "a score cannot be called ''"),
    "score with a space": (row(scores={"my reward": 1.0}), "scores", "a score cannot be called 'my reward'"),
    "score with NUL": (row(scores={"a\0": 1.0}), "scores", "a score cannot be called 'a\\x00'"),
    "NaN": ('{"problem_id": "p1", "scores": {"reward": NaN}}', None, "expected a finite number, found NaN"),
    "infinity": ('{"problem_id": "p1", "logprob": -Infinity}', None, "expected a finite number, found -Infinity"),
    "text as log-probability": (row(logprob="-1.5"), "logprob", "expected a finite number or null, got '-1.5'"),
    "huge log-probability": (row(logprob=-HUGE), "logprob", "expected a finite number or null"),
    "fraction of tokens": (row(n_tokens=7.5), "n_tokens", "expected a whole number from 0"),
    "unknown finish reason": (row(finish_reason="eos"), "finish_reason", "expected stop or length, got 'eos'"),
    "list as finish reason": (row(finish_reason=[]), "finish_reason", "expected stop or length, got []"),
    "unknown field": (row(reward=0.7), "reward", "unknown field"),
    "field twice": ('{"problem_id": "p1", "problem_id": "p2"}', "problem_id", "appears twice"),
    "NUL as byte": (line(row(response="a@b")).strip().replace(b"@", b"\0"), None, "a NUL byte at byte"),
    "NUL as escape": (row(response="a\0b"), "response", "a NUL character"),
    "invalid UTF-8": (line(row(response="a@b")).strip().replace(b"@", b"\xff"), None, "not UTF-8 text (byte"),
    "lone surrogate": (row(response="\ud800"), None, "lone surrogate"),
    "lone surrogate as bytes": (line(row(response="@")).strip().replace(b"@", b"\xed\xa0\x80"), None, "not UTF-8"),
    "blank line": (b"", None, "found a blank line"),
    "byte order mark": (b"\xef\xbb\xbf" + line(OTHER).strip(), None, "byte order mark"),
    "not JSON": ("{", None, "not valid JSON"),
    "half a line": (line(ROW).strip()[:-5], None, "not valid JSON"),
    "a list": ([1], None, "expected a JSON object, found an array"),
    "deep nesting": ("[" * 100_000, None, "nested too deeply"),
    "a megabyte": (row(response="x" * 1_000_000), None, "expected at most 1,000,000 bytes in a line"),
}


@pytest.mark.parametrize(("bad", "field", "problem"), BAD.values(), ids=BAD.keys())
def test_a_bad_row_is_named_and_nothing_is_read(tmp_path, bad, field, problem):
    """The first row is good, and so are those after the bad one."""
    first = row(scores={"reward": 0.5}) if field == "scores" else ROW
    path = write_jsonl(tmp_path / "rows.jsonl", [first, bad, OTHER])
    with pytest.raises(DatasetError) as caught:
        read(path)
    error = caught.value
    assert (error.where, error.field) == (f"{path}:2", field)
    assert problem in error.problem
    assert error.remedy
    assert len(str(error)) < 700
    assert "\n" not in error.problem


def test_a_first_row_with_a_byte_order_mark(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [b"\xef\xbb\xbf" + line(ROW).strip(), OTHER])
    for reads in (read, lambda path: score_columns(str(path))):
        with pytest.raises(DatasetError, match=r"rows.jsonl:1: starts with a byte order mark"):
            reads(path)


def test_files_that_hold_no_rows(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    write_parquet(tmp_path / "empty.parquet", [ROW])
    pl.read_parquet(tmp_path / "empty.parquet").clear().write_parquet(tmp_path / "empty.parquet")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "folder.parquet").mkdir()
    expected = {
        "empty.jsonl": "found an empty file",
        "empty.parquet": "found an empty file",
        "folder.jsonl": "cannot be read: Is a directory",
        "folder.parquet": "not readable as Parquet",
        "absent.jsonl": "cannot be read: No such file",
        "absent.parquet": "not readable as Parquet",
    }
    for name, problem in expected.items():
        with pytest.raises(DatasetError, match=problem) as caught:
            read(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)
        assert caught.value.remedy
    with pytest.raises(DatasetError, match="No such file"):
        score_columns(str(tmp_path / "absent.jsonl"))
    assert score_columns(str(tmp_path / "empty.jsonl")) == ()


def test_parquet_that_is_damaged(tmp_path):
    """Cut anywhere, or with a byte that is not what was written: one error, or the rows."""
    path = write_parquet(tmp_path / "rows.parquet", [ROW, OTHER])
    whole = path.read_bytes()
    for size in (0, 3, 4, 100, len(whole) // 2, len(whole) - 20, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DatasetError, match="not readable as Parquet"):
            read(path)
    path.write_text("problem_id,problem\n")
    with pytest.raises(DatasetError, match="not readable as Parquet"):
        read(path)


BAD_PARQUET: dict[str, tuple[dict[str, Any], str, str]] = {
    "number as id": ({"problem_id": 1}, "problem_id", "expected text, got int '1'"),
    "bytes as response": ({"response": b"a\xff"}, "response", "expected text, got bytes"),
    "bytes as answer": ({"answer": b"18"}, "answer", "cannot be kept as JSON: Object of type bytes"),
    "NUL": ({"response": "a\0b"}, "response", "a NUL character"),
    "NUL in the problem": ({"problem": "a\0b"}, "problem", "a NUL character"),
    "a list among the scores": ({"scores": {"a": [1.0]}}, "scores.a", "expected a finite number or null, got [1.0]"),
    "a struct among the scores": ({"scores": {"a": {"b": 1.0}}}, "scores.a", "expected a finite number or null"),
    "scores of another kind": ({"scores": 0.5}, "scores", "expected a mapping of numbers by name"),
    "NaN": ({"scores": {"a": float("nan")}}, "scores.a", "expected a finite number or null, got nan"),
    "infinity": ({"logprob": float("-inf")}, "logprob", "expected a finite number or null, got -inf"),
    "true as score": ({"scores": {"a": True}}, "scores.a", "expected a finite number or null, got True"),
    "indices as doubles": ({"sample_index": 0.0}, "sample_index", "expected a whole number from 0"),
    "number as label": ({"label": 1}, "label", "expected true, false, correct or incorrect, got 1"),
    "a time in data": ({"data": {"at": datetime.datetime(2026, 1, 1)}}, "data", "cannot be kept as JSON"),
    "NaN in data": ({"data": {"x": float("nan")}}, "data", "cannot be kept as JSON"),
    "a column of no meaning": ({"__index_level_0__": 0}, "__index_level_0__", "unknown field"),
    "100 KB": ({"response": "x" * 102_400}, "response", "102,400 bytes, at most 65,536 are taken"),
}


@pytest.mark.parametrize(("changes", "field", "problem"), BAD_PARQUET.values(), ids=BAD_PARQUET.keys())
def test_bad_columns_of_parquet(tmp_path, changes, field, problem):
    path = write_parquet(tmp_path / "rows.parquet", [row(**changes), OTHER | changes])
    with pytest.raises(DatasetError) as caught:
        read(path)
    assert (caught.value.where, caught.value.field) == (f"{path}:1", field)
    assert problem in caught.value.problem
    assert caught.value.remedy


def test_a_bad_row_of_parquet_is_named_by_its_number(tmp_path):
    path = write_parquet(tmp_path / "rows.parquet", [ROW, OTHER, row(answer=None, problem_id="p3")])
    with pytest.raises(DatasetError, match=r"rows.parquet:3: answer: required, but missing"):
        read(path)


def test_everything_that_a_row_may_hold(tmp_path):
    full = row(
        sample_index=3,
        label=True,
        scores={"reward": 1, "other": None},
        n_tokens=7,
        logprob=-2.5,
        finish_reason="length",
        aliases=["18.0"],
        data={"level": 2},
    )
    path = write_jsonl(tmp_path / "rows.jsonl", [full, OTHER | {"scores": {"other": -0.0, "reward": 0.25}}])
    first, second = read(path)
    assert first.problem.problem_id == "p1"
    assert (first.problem.answer, first.problem.split, first.problem.task) == ("18", "eval", "jsonl")
    assert first.problem.data == {"level": 2, "problem": "What is 6 * 3?", "aliases": ["18.0"]}
    assert (first.sample_index, first.response, first.label) == (3, "#### 18", "correct")
    assert dict(first.scores) == {"reward": 1.0, "other": None}
    assert (first.n_tokens, first.logprob, first.finish_reason) == (7, -2.5, "length")
    assert (second.sample_index, second.label, second.n_tokens, second.logprob) == (0, None, None, None)
    assert (second.finish_reason, dict(second.scores)) == ("stop", {"other": 0.0, "reward": 0.25})
    assert score_columns(str(path)) == ("reward", "other")


def test_rows_come_by_problem_and_sample_index(tmp_path):
    """Ragged groups in any order; an index that is not given is the row's place in its group."""
    rows = [row(sample_index=5), OTHER, row(sample_index=0), OTHER, row(sample_index=3)]
    found = read(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert [(item.problem.problem_id, item.sample_index) for item in found] == [
        ("p1", 0),
        ("p1", 3),
        ("p1", 5),
        ("p2", 0),
        ("p2", 1),
    ]


def test_an_index_given_and_one_counted_that_meet(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [row(sample_index=1), row(), OTHER])
    with pytest.raises(DatasetError, match=r"rows.jsonl:2: problem_id: sample 1 of 'p1' stands in the file already"):
        read(path)


@pytest.mark.parametrize("size", [65_536, 65_537])
def test_the_limit_on_responses_counts_bytes(tmp_path, size):
    path = write_jsonl(tmp_path / "rows.jsonl", [row(response="x" * size), OTHER])
    if size <= 65_536:
        assert len(read(path)) == 2
        return
    with pytest.raises(DatasetError, match=r"raise engine\.max_response_bytes"):
        read(path)
    assert len(read(path, max_response_bytes=70_000)) == 2


def test_an_empty_response_is_a_response(tmp_path):
    assert read(write_jsonl(tmp_path / "rows.jsonl", [row(response=""), OTHER]))[0].response == ""


def test_given_labels_as_the_truth(tmp_path):
    good = [row(answer=LEFT_OUT, label="incorrect"), row(answer=LEFT_OUT, label=True)]
    other = OTHER | {"label": False}
    found = read(write_jsonl(tmp_path / "rows.jsonl", [*good, other]), LABELLED)
    assert [item.label for item in found] == ["incorrect", "correct", "incorrect"]
    path = write_jsonl(tmp_path / "rows.jsonl", [*good, OTHER | {"label": None}])
    with pytest.raises(DatasetError, match=r"rows.jsonl:3: label: the task is graded by given labels, and there is"):
        read(path, LABELLED)


def test_one_problem_alone_has_no_interval(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [ROW, ROW])
    with pytest.raises(DatasetError, match="1 of 1 problems to evaluate, at least 2 needed"):
        read(path)


def test_the_train_split_is_a_hash_of_the_id(tmp_path):
    ids = [f"p{i}" for i in range(2000)]
    share = sum(split_of(identity, 0.3) == "train" for identity in ids) / 2000
    assert abs(share - 0.3) < 0.04  # 4 standard errors of sqrt(.3 * .7 / 2000) = .010
    assert all(split_of(identity, 0.0) == "eval" for identity in ids)
    nested = {identity for identity in ids if split_of(identity, 0.1) == "train"}
    assert nested < {identity for identity in ids if split_of(identity, 0.3) == "train"}
    rows = [ROW | {"problem_id": identity, "problem": f"{identity}?"} for identity in ids[:50]]
    found = read(write_jsonl(tmp_path / "rows.jsonl", rows), train_fraction=0.3)
    assert [item.problem.split for item in found] == [split_of(identity, 0.3) for identity in ids[:50]]
    path = write_jsonl(tmp_path / "rows.jsonl", rows[:3])
    with pytest.raises(DatasetError, match="0 of 3 problems to evaluate, at least 2 needed"):
        read(path, train_fraction=0.999)
    with pytest.raises(DatasetError, match="none of 3 problems falls to the train split"):
        read(path, train_fraction=0.001)


def test_the_grader_of_a_jsonl_task_may_need_data(tmp_path):
    good = row(answer=LEFT_OUT, data={"numbers": [10, 8, 6], "target": 12}, response="10 + 8 = 18 ; 18 - 6 = 12")
    other = good | {"problem_id": "p2", "data": {"numbers": [10, 8, 6], "target": 24}}
    assert read(write_jsonl(tmp_path / "rows.jsonl", [good, other]), COUNTDOWN)[0].problem.data["target"] == 12
    path = write_jsonl(tmp_path / "rows.jsonl", [good, other | {"data": {"numbers": [10]}}])
    with pytest.raises(DatasetError, match=r"rows.jsonl:2: data: expected numbers"):
        read(path, COUNTDOWN)


def test_problems_of_another_task_stand_in_data(tmp_path):
    """The id is the recorded one, so that it stays with the responses; the rest is what the task itself reads."""
    data = {"numbers": [10, 8, 6], "target": 12}
    rows = [
        {"problem_id": f"mine-{i}", "response": "10 + 8 = 18", "data": data | {"target": 12 + 12 * i}} for i in range(2)
    ]
    first = read(write_jsonl(tmp_path / "rows.jsonl", rows), Countdown())[0]
    assert (first.problem.problem_id, first.problem.task, dict(first.problem.data)) == ("mine-0", "countdown", data)
    rows[1]["data"] = data | {"target": 100}
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DatasetError, match=r"rows.jsonl:2: data.target: expected an integer from 1 to 99, got 100"):
        read(path, Countdown())
    del rows[1]["data"]
    with pytest.raises(DatasetError, match=r"rows.jsonl:2: data: expected an object"):
        read(write_jsonl(path, rows), Countdown())
    questions = [
        {"problem_id": f"q{i}", "response": "", "data": {"question": f"{i} + 1?", "answer": f"#### {i + 1}"}}
        for i in range(2)
    ]
    assert [item.problem.answer for item in read(write_jsonl(path, questions), Gsm8k())] == ["1", "2"]


def test_text_of_every_script_stays_as_it_is(tmp_path):
    text = "a\tb\r\nc \u2028 é 漢字 🙂 \\u0000 \x7f"
    for path in (
        write_jsonl(tmp_path / "rows.jsonl", [row(response=text, data={"x": text}), OTHER]),
        write_parquet(tmp_path / "rows.parquet", [row(response=text, data={"x": text}), OTHER | {"data": {"x": ""}}]),
    ):
        first = read(path)[0]
        assert (first.response, first.problem.data["x"]) == (text, text)


def test_line_ends_of_another_system(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(line(ROW).replace(b"\n", b"\r\n") + line(OTHER).strip())
    assert len(read(path)) == 2


def test_the_settings_keep_a_row_within_a_line():
    with pytest.raises(ValidationError):
        ReplaySettings(name="replay", path="x", max_response_bytes=2_000_000)


def test_one_problem_under_two_ids_is_refused(tmp_path):
    """Its responses would count as independent, and a train split could hold one copy and the evaluation the other."""
    path = write_jsonl(tmp_path / "rows.jsonl", [ROW, OTHER, ROW | {"problem_id": "p3", "problem": "What  is 6 * 3?"}])
    with pytest.raises(DatasetError, match=r"rows.jsonl:3: problem_id: the same problem as 'p1' of line 1"):
        read(path)


@pytest.fixture
def reads(monkeypatch):
    """How often a file was read row by row."""
    found, whole = [], recorded._rows
    monkeypatch.setattr(recorded, "_rows", lambda path: found.append(path) or whole(path))
    recorded._last_read.cache_clear()
    return found


def test_the_last_file_is_read_once_while_it_stays_as_it_is(tmp_path, reads):
    path = write_jsonl(tmp_path / "rows.jsonl", [ROW, OTHER])
    os.utime(path, (1_000, 1_000))
    first = read(path)
    first.clear()  # a caller's list is its own
    assert [item.problem.problem_id for item in read(path)] == ["p1", "p2"]
    assert len(reads) == 1
    verifying = {"name": "transformers", "batch_size": 3}
    assert read(path, verifying=verifying) == read(path) and len(reads) == 1
    read(path, max_response_bytes=1_000)
    read(path, LABELLED.model_copy(update={"grader": "exact"}))
    assert len(reads) == 3
    write_jsonl(path, [ROW, OTHER | {"response": "#### 25"}])
    os.utime(path, (2_000, 2_000))
    assert read(path)[1].response == "#### 25" and len(reads) == 4


def test_a_file_that_has_just_changed_is_read_anew(tmp_path, reads):
    path = write_jsonl(tmp_path / "rows.jsonl", [ROW, OTHER])
    stat = path.stat()
    assert read(path)[1].response == "#### 18"
    write_jsonl(path, [ROW, OTHER | {"response": "#### 25"}])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert read(path)[1].response == "#### 25" and len(reads) == 2


def test_a_bad_file_is_refused_every_time(tmp_path, reads):
    path = write_jsonl(tmp_path / "rows.jsonl", [ROW])
    os.utime(path, (1_000, 1_000))
    for _ in range(2):
        with pytest.raises(DatasetError, match="1 of 1 problems to evaluate"):
            read(path)
    assert len(reads) == 2
