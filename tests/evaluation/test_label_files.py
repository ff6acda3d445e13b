"""The file of labels and what comes into it: every kind of wrong row, merging, several writers, a writer that dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from ops.errors import DatasetError
from ops.evaluation.answers import Answers, PairSides, parse_label, read_answers
from ops.evaluation.label_files import LabelRow, locked, merge_labels, read_labels_file, write_labels_file
from ops.evaluation.requests import (
    Request,
    by_pair,
    next_wave,
    read_requests,
    requests_path,
    skipped,
    ties_drawn,
    write_requests,
)

PAIRS = {
    "p0": PairSides("one", True, False),
    "p1": PairSides("one", False, False),
    "p2": PairSides("two", True, False),
    "p3": PairSides("two", True, False),
    "same": PairSides("two", True, True),
}


def request(pair_id: str, wave: int = 0, model: str = "one", asked: bool = True, stratum: str | None = None) -> Request:
    return Request(wave, pair_id, model, "uniform", stratum, 0, "abc", asked)


REQUESTS = by_pair(
    [request("p0"), request("p1"), request("p2", model="two"), request("same", model="two", asked=False)]
)


def answers(folder: Path, rows: list[dict], **options) -> Answers:
    """What is read of a filled-in template."""
    path = folder / "filled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_answers(path, PAIRS, REQUESTS, options.pop("estimand", "win_rate"), **options)


def test_labels_become_the_models(tmp_path: Path):
    """p0 shows the model's response as A, p1 the reference's: B preferred there is 1 for the model."""
    rows = [
        {"pair_id": "p0", "label": "A", "annotator": "ada", "comment": "clearer"},
        {"pair_id": "p1", "label": " b "},
        {"pair_id": "p2", "label": ""},
    ]
    found = answers(tmp_path, rows, annotator="bob")
    assert found.rows == [LabelRow("p0", 1.0, "ada", 0, None, "clearer"), LabelRow("p1", 1.0, "bob", 0, None, None)]
    assert found.sources == [f"{tmp_path}/filled.jsonl:1", f"{tmp_path}/filled.jsonl:2"]
    assert (found.empty, found.repeated, found.excluded) == (1, 0, {})


def test_a_number_is_of_a(tmp_path: Path):
    found = answers(tmp_path, [{"pair_id": "p0", "label": 0.25}, {"pair_id": "p1", "label": "0,25"}], annotator="bob")
    assert [row.label for row in found.rows] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("value", "compared", "single"),
    [
        ("a", 1.0, None),
        ("B", 0.0, None),
        ("Tie", 0.5, None),
        ("correct", None, 1.0),
        ("NO", None, 0.0),
        (True, None, 1.0),
        ("1", 1.0, 1.0),
        (0, 0.0, 0.0),
        ("0.5", 0.5, 0.5),
        ("1.01", None, None),
        (-0.1, None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("1_0", None, None),
        ("\u0661", None, None),  # a digit, but not one of ours
        ("c", None, None),
        ([1], None, None),
    ],
)
def test_labels_in_words_and_numbers(value: object, compared: float | None, single: float | None):
    assert parse_label(value, "win_rate") == compared
    assert parse_label(value, "accuracy") == single


WRONG = [
    {"pair_id": "nobody", "label": "a"},
    {"pair_id": "p0", "label": "7"},
    {"pair_id": "p1", "label": "a"},
    {"pair_id": "p1", "label": "b"},
    {"pair_id": "p3", "label": "b"},
]


def test_everything_wrong_is_told_at_once(tmp_path: Path):
    with pytest.raises(DatasetError) as error:
        answers(tmp_path, WRONG, annotator="ada")
    told = str(error.value)
    for line, field, words in (
        (1, "pair_id", "no such pair: 'nobody'"),
        (2, "label", "expected a, b, tie or a number from 0 to 1, got '7'"),
        (4, "label", f"ada labels the pair otherwise in {tmp_path}/filled.jsonl:3"),
        (5, "pair_id", "no export drew the pair"),
    ):
        assert f"filled.jsonl:{line}: {field}: {words}" in told
    assert "4 problems, nothing was changed" in told
    assert "--allow duplicate,out-of-range,unknown,unrequested" in told


def test_allowed_rows_are_counted(tmp_path: Path):
    found = answers(tmp_path, WRONG, annotator="ada", allow=["unknown", "out-of-range", "duplicate", "unrequested"])
    assert found.excluded == {"unknown": 1, "out-of-range": 1, "duplicate": 1, "unrequested": 1}
    # of the two labels of p1 the later one counts: B is the model's there; p3 was drawn by no export
    assert found.rows == [LabelRow("p1", 1.0, "ada", 0, None, None), LabelRow("p3", 0.0, "ada", None, None, None)]


@pytest.mark.parametrize("left_out", ["unknown", "out-of-range", "duplicate", "unrequested"])
def test_what_is_not_allowed_is_refused(tmp_path: Path, left_out: str):
    allow = {"unknown", "out-of-range", "duplicate", "unrequested"} - {left_out}
    with pytest.raises(DatasetError, match=f"--allow {left_out} counts such rows"):
        answers(tmp_path, WRONG, annotator="ada", allow=allow)


def test_the_same_label_twice_is_counted(tmp_path: Path):
    found = answers(tmp_path, [{"pair_id": "p0", "label": "a"}, {"pair_id": "p0", "label": 1}], annotator="ada")
    assert (len(found.rows), found.repeated) == (1, 1)


def test_another_experiments_file(tmp_path: Path):
    with pytest.raises(DatasetError, match="none of its 2 labelled pairs belongs to this experiment"):
        answers(tmp_path, [{"pair_id": f"x{i}", "label": "a"} for i in range(2)], annotator="ada")


def test_a_pair_that_changed_since_its_export(tmp_path: Path):
    """It came from this experiment's export, so that is no remedy, however few pairs there still are."""
    rows = [{"pair_id": "gone", "label": "a"}]
    gone = {"gone": request("gone", wave=2)}
    (tmp_path / "filled.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DatasetError, match=r"has changed, or is gone, since it was exported \(wave 2\)") as error:
        read_answers(tmp_path / "filled.jsonl", PAIRS, gone, "win_rate", annotator="ada")
    assert "--allow unknown" in error.value.remedy
    found = read_answers(tmp_path / "filled.jsonl", PAIRS, gone, "win_rate", annotator="ada", allow=["unknown"])
    assert (found.rows, found.excluded) == ([], {"unknown": 1})


@pytest.mark.parametrize("name", ["gold", "identical"])
def test_a_taken_name_wants_another(tmp_path: Path, name: str):
    with pytest.raises(DatasetError, match=f"got {name}, which stands for labels that no person gave") as error:
        answers(tmp_path, [{"pair_id": "p0", "label": "a"}], annotator=name)
    assert error.value.remedy == "give another name, in the column or with --annotator"


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ({"pair_id": "p0", "label": "a"}, "annotator", "required, but missing"),
        ({"pair_id": "p0", "label": "a", "annotator": "gold"}, "annotator", "got gold, which stands for"),
        ({"pair_id": "p0", "label": "a", "annotator": "x" * 101}, "annotator", "at most 100 characters"),
        ({"pair_id": "same", "label": "a", "annotator": "ada"}, "pair_id", "its responses are equal"),
        ({"pair_id": "p0", "label": "a", "annotator": "ada", "comment": "x" * 10_001}, "comment", "at most 10,000"),
    ],
)
def test_what_no_permission_helps(tmp_path: Path, row: dict, field: str, words: str):
    with pytest.raises(DatasetError, match=words) as error:
        answers(tmp_path, [row], allow=["unknown", "out-of-range", "duplicate", "unrequested"])
    assert (error.value.field, error.value.where) == (field, f"{tmp_path}/filled.jsonl:1")
    assert error.value.remedy


ADA, BOB = LabelRow("p0", 1.0, "ada", 0, None, None), LabelRow("p0", 0.0, "bob", 0, "x", "no: ☃")


def merge(path: Path, *rows: LabelRow, replace: bool = False):
    with locked(path):
        return merge_labels(path, rows, replace=replace, sources=[f"f:{i}" for i in range(len(rows))])


def test_merging(tmp_path: Path):
    path = tmp_path / "labels" / "demo.jsonl"
    assert merge(path, ADA, BOB).new == 2  # annotators who disagree keep a row each
    again = merge(path, ADA)
    assert (again.new, again.same, again.total) == (0, 1, 2)
    other = LabelRow("p0", 0.5, "ada", 0, None, None)
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="gave the model's response 1 before") as error:
        merge(path, LabelRow("p1", 1.0, "ada", 0, None, None), other)
    assert "--replace" in error.value.remedy
    assert path.read_bytes() == before
    assert merge(path, other, replace=True).replaced == 1
    assert read_labels_file(path) == [other, BOB]


BAD_LINES = {
    "label": {"label": 1.5},
    "a label in words": {"label": "a"},
    "true": {"label": True},
    "wave": {"wave": -1},
    "annotator": {"annotator": " "},
    "taken": {"annotator": "identical"},
    "comment": {"comment": 3},
}


@pytest.mark.parametrize("change", BAD_LINES.values(), ids=BAD_LINES)
def test_a_file_edited_by_hand(tmp_path: Path, change: dict):
    path = tmp_path / "demo.jsonl"
    write_labels_file(path, [ADA, BOB])
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError) as error:
        read_labels_file(path)
    assert (error.value.where, error.value.field) == (f"{path}:2", next(iter(change)))


def test_one_annotator_twice_in_the_file(tmp_path: Path):
    path = tmp_path / "demo.jsonl"
    write_labels_file(path, [ADA, BOB, ADA])
    with pytest.raises(DatasetError, match="ada labels the pair in line 1 too"):
        read_labels_file(path)


def test_requests_round_trip(tmp_path: Path):
    path = requests_path(tmp_path / "demo.jsonl")
    assert path.name == "demo.requests.jsonl"
    assert next_wave(read_requests(path)) == 0
    items = [request("p0"), request("p1", wave=1, asked=False, stratum="algebra ☃")]
    write_requests(path, items)
    assert read_requests(path) == items
    assert next_wave(items) == 2
    write_requests(path, [items[0], items[0]])
    with pytest.raises(DatasetError, match="the pair stands in line 1 too"):
        read_requests(path)
    path.write_text('{"wave": true}\n')
    with pytest.raises(DatasetError, match="wave: expected what an export writes there"):
        read_requests(path)


def test_ties_count_in_the_share_of_what_is_answered():
    """10 pairs drawn, 4 of them ties; 3 of the 6 asked about are answered, so 3/6 of the ties count: 2 of 4."""
    items = [request(f"p{i}", asked=i % 5 not in (1, 3)) for i in range(10)]  # 1, 3, 6, 8 are ties
    assert [item.pair_id for item in ties_drawn(items, {"p0": 1, "p2": 1, "p4": 1})] == ["p1", "p3"]
    assert ties_drawn(items, {}) == []
    whole = {item.pair_id: 1 for item in items if item.asked}
    assert [item.pair_id for item in ties_drawn(items, whole)] == ["p1", "p3", "p6", "p8"]
    only = [request("p1", wave=1, asked=False)]  # a wave of nothing but ties is labelled as soon as it is drawn
    assert ties_drawn(only, {}) == only
    # stratum b has ties only: 1 of the 2 answers of its wave is there, so half of its 4 ties count
    strata = [request("p0", stratum="a"), request("p1", stratum="a")]
    strata += [request(f"t{i}", stratum="b", asked=False) for i in range(4)]
    assert [item.pair_id for item in ties_drawn(strata, {"p0": 1})] == ["t0", "t1"]


def test_an_unfinished_wave_has_ties_in_proportion():
    """20 of 100 pairs are ties (0.5), 30 of the others 0 and 50 of them 1: the mean is .6, however much is labelled.

    The standard deviation of the mean of about 15 labels is at most .11; of 4,000 means .0018.
    """
    rng = np.random.default_rng(0)
    label_N = np.array([0.5] * 20 + [0.0] * 30 + [1.0] * 50)
    means = []
    for _ in range(4000):
        drawn = rng.permutation(100)[:40]
        items = [request(f"p{row}", asked=label_N[row] != 0.5) for row in drawn]
        answered = [item.pair_id for item in items if item.asked][:12]
        counted = answered + [item.pair_id for item in ties_drawn(items, dict.fromkeys(answered))]
        means.append(label_N[[int(pair_id[1:]) for pair_id in counted]].mean())
    assert np.mean(means) == pytest.approx(0.6, abs=3 * 0.0018)


def test_pairs_passed_over():
    items = [request(f"p{i}", wave=i // 4) for i in range(8)]
    assert skipped(items, {"p0": 1, "p1": 1, "p4": 1}) == 0  # from the top of each wave
    assert skipped(items, {"p0": 1, "p3": 1, "p7": 1}) == 2 + 3  # p1, p2; p4, p5, p6


def _import_many(path: Path, who: str, count: int) -> None:
    for i in range(count):
        with locked(path):
            merge_labels(path, [LabelRow(f"p{i}", 1.0, who, 0, None, None)], replace=False, sources=["f:1"])


def test_imports_at_once_lose_nothing(tmp_path: Path):
    path = tmp_path / "labels" / "demo.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_import_many, args=(path, f"w{i}", 15)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert sorted(row.key for row in read_labels_file(path)) == sorted(
        (f"w{i}", f"p{j}") for i in range(4) for j in range(15)
    )


KILLED = """
    import sys
    from pathlib import Path
    from ops.evaluation.label_files import LabelRow, locked, write_labels_file

    path, round = Path(sys.argv[1]), 0
    while True:
        round += 1
        with locked(path):
            write_labels_file(path, [LabelRow(f"p{i}", 1.0, f"w{round}", 0, None, "c" * 50) for i in range(3000)])
        print(round, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path):
    """kill -9 at any moment: the file is one whole version, the lock is free, and a later write goes on."""
    path = tmp_path / "demo.jsonl"
    for attempt in range(4):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert writer.stdout is not None
        assert writer.stdout.readline() == "1\n"
        time.sleep(0.013 * attempt)  # somewhere inside of the next writes
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        rows = read_labels_file(path)
        assert len(rows) == 3000
        assert len({row.annotator for row in rows}) == 1
    merge(path, ADA)
    assert len(read_labels_file(path)) == 3001
