"""Templates of labels: what was written is read back, whatever the responses hold."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.errors import DatasetError
from ops.evaluation.template import PAIR_COLUMNS, SINGLE_COLUMNS, guarded, read_template, unguarded, write_template

ANY = st.text(max_size=40)  # every character but halves of surrogate pairs, which no file holds
NASTY = st.text(alphabet="=+-@'\t\r\n\",; aé\uff1d\x00\u2028\ufeff", max_size=8)
CELLS = st.one_of(ANY, NASTY)


def row(number: int, problem: str, first: str, second: str) -> dict[str, str]:
    return {"pair_id": f"p{number}", "problem": problem, "response_a": first, "response_b": second}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4))
def test_round_trip(tmp_path: Path, ending: str, texts: list[tuple[str, str, str]]):
    path = tmp_path / f"labels.{ending}"
    path.unlink(missing_ok=True)
    rows = [row(i, *item) for i, item in enumerate(texts)]
    assert write_template(path, rows, PAIR_COLUMNS) == len(rows)
    empty = {"label": "", "annotator": "", "comment": ""}
    assert [cells for _, cells in read_template(path)] == [{**one, **empty} for one in rows]


@given(CELLS)
def test_guarding_is_undone(text: str):
    assert unguarded(guarded(text)) == text


@given(st.text(alphabet=" \t'", max_size=3), st.sampled_from("=+-@"), ANY)
def test_no_cell_is_a_formula(before: str, sign: str, rest: str):
    """Whatever white space and apostrophes stand in front."""
    cell = guarded(f"{before}{sign}{rest}")
    assert cell.startswith("'")
    assert cell != f"{before}{sign}{rest}"


def test_only_risky_cells_change():
    assert guarded("=1+1") == "'=1+1"
    assert guarded("\t=1") == "'\t=1"
    assert guarded("'=1") == "''=1"
    assert guarded("'tis") == "'tis"
    assert guarded("2 + 2 = 4") == "2 + 2 = 4"


@pytest.mark.parametrize("pair_id", ["9599462214730314", "25582e5639111396", "0000000000000012"])
def test_ids_that_look_like_numbers_survive_a_spreadsheet(tmp_path: Path, pair_id: str):
    """It writes cells that are numbers for it anew, rounded."""
    path = tmp_path / "a.csv"
    write_template(path, [{**row(0, "q", "a", "b"), "pair_id": pair_id}], PAIR_COLUMNS)
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells = list(csv.reader(file))
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([resaved(cell) for cell in line] for line in cells)
    assert read_template(path)[0][1]["pair_id"] == pair_id


def resaved(cell: str) -> str:
    """As a spreadsheet saves it."""
    try:
        return f"{float(cell):.2G}"
    except ValueError:
        return cell


def test_lines_are_those_of_the_file(tmp_path: Path):
    """A response of several lines moves the rows behind it: errors name the line that an editor shows, and the row that
    a spreadsheet shows."""
    path = tmp_path / "a.csv"
    write_template(path, [row(0, "q", "one\ntwo\nthree", "b"), row(1, "q", "a", "b")], PAIR_COLUMNS)
    # line 1: the header; 2-4: the first row; 5: the second
    assert [place for place, _ in read_template(path)] == ["2 (row 2, pair p0)", "5 (row 3, pair p1)"]
    path.write_text('pair_id,label\n"p\n0",a\n\np1,a,b\n')  # 2-3: the first row; 4: an empty one; 5: too many cells
    with pytest.raises(DatasetError, match=r"a\.csv:5 \(row 4\): expected 2 cells, found 3"):
        read_template(path)


def test_other_spreadsheets(tmp_path: Path):
    """Semicolons, no byte order mark, a column of the user's own, empty cells at the end left out, an empty line."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'pair_id;Label;who;comment\r\np1;a;x;"a;b"\r\n\r\np2\r\n')
    assert read_template(path) == [
        ("2 (row 2, pair p1)", {"pair_id": "p1", "label": "a", "who": "x", "comment": "a;b"}),
        ("4 (row 4, pair p2)", {"pair_id": "p2", "label": "", "who": "", "comment": ""}),
    ]


def test_long_responses(tmp_path: Path):
    """Longer than what the csv module reads by default, whose limit stays as it was."""
    before, path = csv.field_size_limit(), tmp_path / "a.csv"
    write_template(path, [row(0, "q", "x" * 300_000, "b")], PAIR_COLUMNS)
    assert len(read_template(path)[0][1]["response_a"]) == 300_000
    assert csv.field_size_limit() == before


def test_nothing_is_overwritten(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("somebody's labels")
    with pytest.raises(DatasetError, match="is there already"):
        write_template(path, [], SINGLE_COLUMNS)
    assert path.read_text() == "somebody's labels"
    assert list(tmp_path.iterdir()) == [path]


BAD = {
    "another ending": ("a.xlsx", b"", "ends in .jsonl or .csv"),
    "no label": ("a.csv", b"pair_id,problem\np,q\n", "the column label once in the first line, found it 0 times"),
    "label twice": ("a.csv", b"pair_id,label,label\np,a,b\n", "found it 2 times"),
    "empty": ("a.csv", b"", "the column pair_id once"),
    "Latin-1": ("a.csv", b"pair_id,label,comment\np,a,caf\xe9\n", "not UTF-8 text"),
    "a quote": ("a.csv", b'pair_id,label\np,"a"b\n', "not CSV"),
    "too many cells": ("a.csv", b"pair_id,label\np,a,b\n", r"a.csv:2 \(row 2\): expected 2 cells, found 3"),
    "a misspelt label": (
        "a.jsonl",
        b'{"pair_id": "p", "label": ""}\n{"pair_id": "q", "lable": "a", "comment": ""}\n',
        r"a.jsonl:2: label: required, but missing \(unknown keys: lable\)",
    ),
    "no pair": ("a.jsonl", b'{"label": "a"}\n', r"a.jsonl:1: pair_id: required"),
    "not JSON": ("a.jsonl", b'{"pair_id": \n', r"a.jsonl:1: not valid JSON"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        read_template(tmp_path / name)
    assert error.value.remedy


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path):
    with pytest.raises(DatasetError, match=f"there is no folder {tmp_path}/typo"):
        write_template(tmp_path / "typo" / "a.csv", [], SINGLE_COLUMNS)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file(tmp_path: Path):
    for name in ("no.csv", "no.jsonl"):
        with pytest.raises(DatasetError, match="cannot be read"):
            read_template(tmp_path / name)
