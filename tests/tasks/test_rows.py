"""JSONL problem files: read whole or refused with one error that names line, field and remedy."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ops.tasks.rows as rows
from ops.errors import DatasetError
from ops.tasks.rows import MAX_LINE_BYTES, problem_file_digest, read_problem_file
from ops.tasks.sudoku import Sudoku

GOOD = b'{"puzzle": "1...3.12.14343.1"}'
OTHER = b'{"puzzle": "2.4.41..3.14.423"}'


@pytest.fixture
def write(tmp_path):
    def write(content: bytes):
        path = tmp_path / "problems.jsonl"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    "content", [GOOD + b"\n" + OTHER + b"\n", GOOD + b"\r\n" + OTHER, GOOD.replace(b".", b"0") + b"\n" + OTHER]
)
def test_a_good_file(write, content):
    problems = read_problem_file(Sudoku(), write(content), "eval")
    assert [p.problem_id for p in problems] == ["sudoku-1...3.12.14343.1", "sudoku-2.4.41..3.14.423"]
    assert [p.answer for p in problems] == ["1234341221434321", "2341413232141423"]
    assert {p.split for p in problems} == {"eval"}


BAD = {
    "invalid UTF-8": (b'{"puzzle": "\xff"}', None, "not UTF-8 text (byte 13"),
    "UTF-16": ('{"puzzle": 1}'.encode("utf-16-le"), None, "NUL byte at byte 2"),
    "byte order mark": (b"\xef\xbb\xbf" + OTHER, None, "byte order mark"),
    "NUL": (b'{"puzzle": "1\x00"}', None, "NUL byte at byte 14"),
    "blank line": (b"   ", None, "blank line"),
    "cut": (b'{"puzzle": "1...3', None, "not valid JSON: Unterminated string"),
    "two rows in a line": (GOOD + OTHER, None, "not valid JSON: Extra data"),
    "array": (b"[1, 2]", None, "found an array"),
    "text": (b'"1...3.12.14343.1"', None, "found a text"),
    "number": (b"7", None, "found a number"),
    "null": (b"null", None, "found null"),
    "true": (b"true", None, "found true or false"),
    "duplicate key": (b'{"puzzle": "1...3.12.14343.1", "puzzle": "2"}', "puzzle", "appears twice"),
    "NaN": (b'{"puzzle": NaN}', None, "expected a finite number, found NaN"),
    "minus infinity": (b'{"puzzle": -Infinity}', None, "expected a finite number, found -Infinity"),
    "huge integer": (b'{"puzzle": ' + b"9" * 5000 + b"}", None, "not usable JSON"),
    "lone surrogate": (b'{"puzzle": "\\ud800"}', None, "lone surrogate"),
    "deep nesting": (b"[" * 200_000, None, "nested too deeply"),
    "long line": (b'{"puzzle": "' + b"1" * MAX_LINE_BYTES + b'"}', None, "at most 1,000,000 bytes"),
    "same problem twice": (GOOD.replace(b".", b"_"), "problem_id", "stands in line 1 too (this is line 2)"),
    "unknown key": (b'{"puzzle": "2.4.41..3.14.423", "answr": 1}', "answr", "unknown key"),
    "missing key": (b"{}", "puzzle", "required, but missing"),
    "not a text": (b'{"puzzle": 1234341221434321}', "puzzle", "expected a text of 16 characters"),
    "too short": (b'{"puzzle": "1..."}', "puzzle", "got '1...'"),
    "a 5": (b'{"puzzle": "5...3.12.14343.1"}', "puzzle", "characters 1-4"),
    "no solution": (b'{"puzzle": "11..3.12.14343.1"}', "puzzle", "has none"),
    "many solutions": (b'{"puzzle": "................"}', "puzzle", "has 288"),
    "complete already": (b'{"puzzle": "1234341221434321"}', "puzzle", "no empty cell"),
}


@pytest.mark.parametrize(("line", "field", "problem"), BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_refused_with_one_clear_error(write, line, field, problem):
    path = write(GOOD + b"\n" + line + b"\n")
    with pytest.raises(DatasetError) as caught:
        read_problem_file(Sudoku(), path, "train")
    error = caught.value
    assert error.where == f"{path}:2"
    assert error.field == field
    assert problem in error.problem
    assert error.remedy
    assert len(str(error)) < 600


def test_an_empty_missing_or_unreadable_file(write, tmp_path):
    with pytest.raises(DatasetError, match="found an empty file"):
        read_problem_file(Sudoku(), write(b""), "train")
    with pytest.raises(DatasetError, match="No such file"):
        read_problem_file(Sudoku(), tmp_path / "absent.jsonl", "train")
    with pytest.raises(DatasetError, match="Is a directory"):
        read_problem_file(Sudoku(), tmp_path, "train")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.just("puzzle"), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(line=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_stands_in_a_file_is_read_or_refused_as_a_dataset_error(tmp_path_factory, line):
    path = tmp_path_factory.mktemp("rows") / "problems.jsonl"
    path.write_bytes(line)
    refused = None
    try:
        read = read_problem_file(Sudoku(), path, "train")
    except DatasetError as error:
        refused = error
    assert refused.where.startswith(str(path)) if refused else len(read) == 1


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read to be hashed, in order."""
    found, whole = [], rows.file_digest
    monkeypatch.setattr(rows, "file_digest", lambda path: found.append(path.name) or whole(path))
    return found


def test_a_file_is_hashed_once_while_it_stays_as_it_is(write, hashed):
    path = write(GOOD)
    os.utime(path, (1_000, 1_000))
    first = problem_file_digest(str(path))
    assert problem_file_digest(str(path)) == first
    path.write_bytes(OTHER)  # as many bytes, at another time
    os.utime(path, (2_000, 2_000))
    assert problem_file_digest(str(path)) != first
    assert len(hashed) == 2
    path.write_bytes(GOOD)
    os.utime(path, (1_000, 1_000))
    assert problem_file_digest(str(path)) == first


def test_a_file_that_has_just_changed_is_hashed_anew(write, hashed):
    """Two writes within one tick of the file system's clock leave the same time and, here, the same size."""
    path = write(GOOD)
    stat = path.stat()
    first = problem_file_digest(str(path))
    path.write_bytes(OTHER)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert problem_file_digest(str(path)) != first
    assert len(hashed) == 2


def test_a_file_that_is_not_there_has_no_digest(tmp_path):
    with pytest.raises(DatasetError, match=r"none.jsonl: cannot be read: No such file or directory"):
        problem_file_digest(str(tmp_path / "none.jsonl"))
