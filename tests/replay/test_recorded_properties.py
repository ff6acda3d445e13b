"""Whatever a recorded file holds, it is read or refused by a DatasetError; JSONL and Parquet say the same."""

from __future__ import annotations

import json
import string
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.errors import DatasetError
from ops.recorded import OPTIONAL, REQUIRED, RecordedResponse
from ops.tasks.countdown import Countdown
from ops.tasks.jsonl import Jsonl
from tests.replay.rows import NUMERIC, OTHER, ROW, line, read, write_jsonl, write_parquet

TASKS = [
    NUMERIC,
    *(Jsonl(name="jsonl", grader=name) for name in ("label", "exact", "countdown", "sudoku")),
    Countdown(),
]
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**300, 10**330),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["correct", "incorrect", "stop", "length", "p1", "18", "#### 18"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
)
FIELDS = st.sampled_from([*REQUIRED, *OPTIONAL])
CHANGES = st.dictionaries(st.one_of(FIELDS, FIELDS, st.text(max_size=5)), VALUES, max_size=4)


def outcome(path: Path, task: Any) -> list[RecordedResponse] | DatasetError:
    found = _outcome(path, task)
    if isinstance(found, DatasetError):
        assert found.where.startswith(str(path))
        assert found.remedy
        assert "\n" not in found.problem
    return found


def _outcome(path: Path, task: Any) -> list[RecordedResponse] | DatasetError:
    try:
        return read(path, task)
    except DatasetError as error:
        return error


@SETTINGS
@given(st.lists(CHANGES, max_size=4), st.sampled_from(TASKS))
def test_arbitrary_rows_are_read_or_refused(changes, task):
    with tempfile.TemporaryDirectory() as folder:
        found = outcome(write_jsonl(Path(folder) / "rows.jsonl", [ROW, OTHER, *(ROW | one for one in changes)]), task)
    if isinstance(found, DatasetError):
        return
    assert len(found) == 2 + len(changes)
    for item in found:
        assert "\0" not in item.response
        json.dumps(dict(item.problem.data), allow_nan=False)
        assert all(value is None or abs(value) < float("inf") for value in item.scores.values())
    places = [(item.problem.problem_id, item.sample_index) for item in found]
    assert len(set(places)) == len(places)


@SETTINGS
@given(st.binary(max_size=200), st.integers(0, 300))
def test_arbitrary_bytes_are_read_or_refused(noise, place):
    good = line(ROW) + line(OTHER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(good[:place] + noise + good[place:])
        outcome(path, NUMERIC)


@SETTINGS
@given(st.integers(0, 10**9), st.binary(min_size=1, max_size=8))
def test_parquet_with_other_bytes_is_read_or_refused(place, noise):
    with tempfile.TemporaryDirectory() as folder:
        path = write_parquet(
            Path(folder) / "rows.parquet", [ROW | {"scores": {"a": 0.5}}, OTHER | {"scores": {"a": 1.0}}]
        )
        whole = path.read_bytes()
        place %= len(whole)
        path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
        outcome(path, NUMERIC)


IDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=3)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def good_rows(draw: Any) -> list[dict[str, Any]]:
    """Two or more problems with ragged groups; every row has every field, so that Parquet's columns have one type."""
    labels = draw(st.one_of(st.just(st.booleans()), st.just(st.sampled_from(["correct", "incorrect"]))))
    rows = []
    for identity in draw(st.lists(IDS, min_size=2, max_size=4, unique=True)):
        answer, level = str(draw(st.integers(-(10**6), 10**6))), draw(st.integers(0, 9))
        rows += [
            {
                "problem_id": identity,
                "problem": f"{identity}?",
                "answer": answer,
                "response": draw(TEXTS),
                "sample_index": index,
                "label": draw(st.one_of(st.none(), labels)),
                "scores": {"a": draw(st.one_of(st.none(), FINITE)), "b": draw(FINITE)},
                "n_tokens": draw(st.one_of(st.none(), st.integers(0, 1000))),
                "logprob": draw(st.one_of(st.none(), FINITE)),
                "finish_reason": draw(st.sampled_from([None, "stop", "length"])),
                "aliases": [answer],
                "data": {"level": level, "tags": ["x"]},
            }
            for index in draw(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
        ]
    return draw(st.permutations(rows))


@SETTINGS
@given(good_rows())
def test_jsonl_and_parquet_of_the_same_rows_are_equal(rows):
    import polars as pl

    types = {"logprob": pl.Float64, "n_tokens": pl.Int64, "finish_reason": pl.String}
    types["scores"] = pl.Struct({"a": pl.Float64, "b": pl.Float64})
    with tempfile.TemporaryDirectory() as folder:
        first = read(write_jsonl(Path(folder) / "rows.jsonl", rows))
        second = read(write_parquet(Path(folder) / "rows.parquet", rows, **types))
    assert first == second
    assert len(first) == len(rows)
    keys = {(item.problem.problem_id, item.sample_index): item for item in first}
    for row in rows:
        item = keys[row["problem_id"], row["sample_index"]]
        assert (item.response, item.logprob, item.n_tokens) == (row["response"], row["logprob"], row["n_tokens"])
        assert dict(item.scores) == row["scores"]


@SETTINGS
@given(good_rows(), st.data())
def test_one_bad_field_anywhere_is_named_by_its_line(rows, data):
    """A value that no field takes, put into one row of a good file."""
    place = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(FIELDS)
    rows[place] = rows[place] | {field: {"not": {"a": [True]}} if field != "data" else True}
    with tempfile.TemporaryDirectory() as folder:
        path = write_jsonl(Path(folder) / "rows.jsonl", rows)
        with pytest.raises(DatasetError) as caught:
            read(path)
    assert caught.value.where == f"{path}:{place + 1}"
    assert (caught.value.field or "").split(".")[0] in (field, "scores")
