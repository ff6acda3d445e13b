"""The table of human labels: from a filled-in export and from the truth, whatever happened to pairs and file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars as pl
import pytest

from ops.errors import DatasetError, ExperimentError, StorageError
from ops.evaluation.requests import read_requests, requests_path
from ops.stages.human_labels import label_file, read_labels, stored_pairs
from ops.stages.label_imports import import_labels
from ops.stages.label_waves import export_again, export_wave
from ops.stages.problems import make_problems
from ops.stages.win_rate_data import read_pairs
from tests.evaluation.labelling import fill, open_lab, paired_lab, prefers_the_model, write_workspace

NO_FILE = {"labels": {"source": "file"}}


def table(lab) -> pl.DataFrame:
    result = read_labels(lab)
    return lab.store.read("human_labels", result.fingerprint)


def numbers(lab) -> dict:
    return read_labels(lab).metadata


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_round_trip(tmp_path: Path, ending: str):
    """Export, label, import, read: a label is the model's, wherever its response was shown."""
    lab = paired_lab(tmp_path, 20, ties=5)
    file = tmp_path / f"wave.{ending}"
    done = export_wave(lab, file, n=12, design="uniform")
    assert done.wave == 0
    assert [sum(item.model == model for item in done.requests) for model in ("one", "two")] == [12, 12]
    assert done.left == {"one": 8, "two": 8}
    ties = sum(not item.asked for item in done.requests)
    assert fill(file, prefers_the_model) == done.rows == 24 - ties
    assert "'=base says" in file.read_text() if ending == "csv" else '"=base says' in file.read_text()
    assert import_labels(lab, file, annotator="ada").merged.new == done.rows
    rows = table(open_lab(tmp_path))
    assert rows.filter(annotator="ada")["label"].to_list() == [1.0] * done.rows
    assert rows.filter(annotator="identical")["label"].to_list() == [0.5] * ties
    assert ties > 0
    assert set(rows["wave"]) == {0}
    assert set(rows["pair_id"]) == {item.pair_id for item in done.requests}
    pairs = stored_pairs(lab)
    assert rows.join(pairs, on=["pair_id", "model"]).height == rows.height
    assert rows.filter(annotator="ada")["source"][0] == "win-rates.jsonl:1"
    assert {item.pair_id for item in done.requests if not item.asked} <= set(pairs.filter("is_identical")["pair_id"])


def test_the_template_is_blind(tmp_path: Path):
    lab = paired_lab(tmp_path, 40)
    done = export_wave(lab, tmp_path / "a.jsonl", n=40, design="uniform")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"pair_id", "problem", "response_a", "response_b", "label", "annotator", "comment"}
    assert [row["pair_id"] for row in rows] == [item.pair_id for item in done.requests]
    base_first = sum("base says" in row["response_a"] for row in rows)
    assert 20 < base_first < 60  # of 80: a fair coin
    models = [item.model for item in done.requests]
    assert models != sorted(models)  # mixed


def test_waves_draw_other_pairs(tmp_path: Path):
    lab = paired_lab(tmp_path, 20)
    first = export_wave(lab, tmp_path / "a.csv", n=15, design="uniform", model="one")
    second = export_wave(lab, tmp_path / "b.csv", n=15, design="uniform", model="one")
    assert (second.wave, len(second.requests), second.left) == (1, 5, {"one": 0})  # all that is left
    drawn = [item.pair_id for item in (*first.requests, *second.requests)]
    assert len(set(drawn)) == 20
    before = requests_path(label_file(lab)).read_bytes()
    with pytest.raises(DatasetError, match="every pair has been drawn already"):
        export_wave(lab, tmp_path / "c.csv", n=1, design="uniform", model="one")
    with pytest.raises(DatasetError, match="is there already"):
        export_wave(lab, tmp_path / "b.csv", n=1, design="uniform")
    with pytest.raises(ExperimentError, match="expected one of one, two, got three"):
        export_wave(lab, tmp_path / "c.csv", n=1, design="uniform", model="three")
    assert requests_path(label_file(lab)).read_bytes() == before


def test_a_draw_is_a_function_of_its_seed(tmp_path: Path):
    drawn = []
    for seed in (0, 0, 1):
        lab = paired_lab(tmp_path / str(len(drawn)), 30)
        drawn.append(
            [
                item.pair_id
                for item in export_wave(lab, tmp_path / f"{len(drawn)}.csv", n=9, design="uniform", seed=seed).requests
            ]
        )
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_template_that_cannot_be_written_is_no_wave(tmp_path: Path):
    lab = paired_lab(tmp_path, 6)
    with pytest.raises(DatasetError, match="cannot be written"):
        export_wave(lab, tmp_path / f"{'a' * 240}.csv", n=2, design="uniform")  # too long with what staging adds
    assert read_requests(requests_path(label_file(lab))) == []


def test_a_wave_written_again_and_annotators_who_disagree(tmp_path: Path):
    lab = paired_lab(tmp_path, 10)
    done = export_wave(lab, tmp_path / "a.csv", n=10, design="uniform", model="one")
    again = export_again(lab, tmp_path / "b.csv", 0)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert again.requests == done.requests
    fill(tmp_path / "a.csv", prefers_the_model, "ada")
    other = done.requests[0].pair_id
    fill(tmp_path / "b.csv", lambda row: "tie" if row["pair_id"] == other else prefers_the_model(row), "bob")
    import_labels(lab, tmp_path / "a.csv")
    found = import_labels(lab, tmp_path / "b.csv")
    assert (found.agreement.n_conflicts, found.agreement.percent.value, found.merged.total) == (1, 0.9, 20)
    told = numbers(open_lab(tmp_path))
    assert (told["conflicts"], told["agreement"], told["labels"], told["labelled_pairs"]) == (1, 0.9, 20, 10)
    assert told["alpha_low"] is not None or math.isclose(told["alpha"], 0.0, abs_tol=0.2)
    rows = table(open_lab(tmp_path)).filter(pair_id=other)
    assert sorted(rows["label"]) == [0.5, 1.0]
    with pytest.raises(DatasetError, match=r"no wave 7 with pairs that there still are \(waves: 0\)"):
        export_again(lab, tmp_path / "c.csv", 7)


def test_a_partial_file(tmp_path: Path):
    """From the top nothing is passed over; of picked rows the ones before the last are told."""
    lab = paired_lab(tmp_path, 10)
    done = export_wave(lab, tmp_path / "a.jsonl", n=10, design="uniform", model="one")
    top = {item.pair_id for item in done.requests[:4]}
    fill(tmp_path / "a.jsonl", lambda row: prefers_the_model(row) if row["pair_id"] in top else None)
    found = import_labels(lab, tmp_path / "a.jsonl", annotator="ada")
    assert (found.answers.empty, found.passed_over, found.merged.new) == (6, 0, 4)
    last = done.requests[9].pair_id
    fill(tmp_path / "a.jsonl", lambda row: "tie" if row["pair_id"] == last else None)
    assert import_labels(lab, tmp_path / "a.jsonl", annotator="ada").passed_over == 5
    assert numbers(open_lab(tmp_path))["pairs_passed_over"] == 5


def test_no_labels_yet(tmp_path: Path):
    lab = paired_lab(tmp_path, 4)
    assert table(lab).height == 0
    assert numbers(lab)["labels"] == 0


def test_pairs_come_first(tmp_path: Path):
    write_workspace(tmp_path, 4)
    lab = open_lab(tmp_path)
    make_problems(lab)
    for act in (read_labels, lambda lab: export_wave(lab, tmp_path / "a.csv", n=1, design="uniform")):
        with pytest.raises(StorageError, match=r"evaluation/pairs is not there yet") as error:
            act(lab)
        assert "mindgap run win-rates" in error.value.remedy
    assert not (tmp_path / "a.csv").exists()


def test_ties_of_a_wave_that_asks_nobody_are_labels(tmp_path: Path):
    """Where all responses are equal an export has nothing to ask, and labels all that it draws."""
    lab = paired_lab(tmp_path, 12, ties=12)
    before = read_labels(lab)
    done = export_wave(lab, tmp_path / "a.csv", n=10, design="uniform", model="one")
    assert (done.rows, len(done.requests)) == (0, 10)
    after = read_labels(open_lab(tmp_path))
    assert (before.n_rows, after.n_rows) == (0, 10)


def test_labels_that_change_after_planning(tmp_path: Path):
    lab = paired_lab(tmp_path, 10)
    export_wave(lab, tmp_path / "a.csv", n=10, design="uniform")
    fill(tmp_path / "a.csv", prefers_the_model)
    import_labels(lab, tmp_path / "a.csv", annotator="ada")
    with pytest.raises(DatasetError, match="changed while it was read") as error:
        read_labels(lab)  # planned without labels
    assert "run again" in error.value.remedy
    later = open_lab(tmp_path)
    label_file(lab).unlink()
    with pytest.raises(DatasetError, match="changed while it was read"):
        read_labels(later)


EDITS = {
    "a pair of nobody": ({"pair_id": "nobody", "wave": None}, "pair_id", "no pair of win-rates"),
    "another wave": ({"wave": 3}, "wave", "wave 3, stratum None, but it was drawn in wave 0"),
    "out of range": ({"label": 2}, "label", "expected a number from 0 to 1"),
}


@pytest.mark.parametrize(("change", "field", "words"), EDITS.values(), ids=EDITS)
def test_a_file_edited_by_hand(tmp_path: Path, change: dict, field: str, words: str):
    lab = paired_lab(tmp_path, 4)
    export_wave(lab, tmp_path / "a.csv", n=4, design="uniform")
    fill(tmp_path / "a.csv", prefers_the_model)
    import_labels(lab, tmp_path / "a.csv", annotator="ada")
    path = label_file(lab)
    lines = path.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match=words) as error:
        read_labels(open_lab(tmp_path))
    assert (error.value.where, error.value.field) == (f"{path}:3", field)


def test_labels_without_their_requests(tmp_path: Path):
    """Only the labels were copied: another wave 0 would be drawn, with which the labels there are would be mixed."""
    lab = paired_lab(tmp_path, 8)
    file = tmp_path / "a.csv"
    export_wave(lab, file, n=4, design="uniform")
    fill(file, prefers_the_model)
    import_labels(lab, file, annotator="ada")
    requests, labels = requests_path(label_file(lab)), label_file(lab).read_bytes()
    requests.unlink()
    steps = (
        lambda: export_wave(lab, tmp_path / "b.csv", n=2, design="uniform"),
        lambda: export_again(lab, tmp_path / "b.csv", 0),
        lambda: import_labels(lab, file, annotator="bob", allow=["unrequested"]),
        lambda: read_labels(open_lab(tmp_path)),
    )
    for step in steps:
        with pytest.raises(DatasetError, match="is not there, and 8 labels of") as error:
            step()
        assert error.value.where == str(requests) and "restore it" in error.value.remedy
    assert not requests.exists() and not (tmp_path / "b.csv").exists()
    assert label_file(lab).read_bytes() == labels


def test_labels_that_nobody_asked_for(tmp_path: Path):
    """They are kept without a wave; drawn and labelled afterwards they get one."""
    lab = paired_lab(tmp_path, 4)
    pair_id, first = stored_pairs(lab).filter(model="one").select("pair_id", "shown_first").row(0)
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"pair_id": pair_id, "label": "a" if first == "model" else "b"}))
    with pytest.raises(DatasetError, match="no export drew the pair"):
        import_labels(lab, own, annotator="ada")
    found = import_labels(lab, own, annotator="ada", allow=["unrequested"])
    assert found.answers.excluded == {"unrequested": 1}
    rows = table(open_lab(tmp_path))
    assert rows.select("label", "wave").rows() == [(1.0, None)]
    assert numbers(open_lab(tmp_path))["labels_not_drawn_at_random"] == 1
    export_wave(lab, tmp_path / "a.csv", n=4, design="uniform", model="one")
    assert import_labels(lab, own, annotator="ada").merged.replaced == 1
    assert table(open_lab(tmp_path))["wave"].to_list() == [0]


def test_fewer_and_more_pairs_afterwards(tmp_path: Path):
    """Of fewer problems the drawn ones are still random; added ones had no chance, so their wave is no random draw."""
    lab = paired_lab(tmp_path, 12)
    done = export_wave(lab, tmp_path / "a.csv", n=6, design="uniform", model="one")
    fill(tmp_path / "a.csv", prefers_the_model)
    import_labels(lab, tmp_path / "a.csv", annotator="ada")
    fewer = paired_lab(tmp_path, 8)
    gone = {item.pair_id for item in done.requests} - set(stored_pairs(fewer)["pair_id"])
    rows = table(fewer)
    assert (rows.height, rows["wave"].to_list()) == (6 - len(gone), [0] * (6 - len(gone)))
    assert numbers(fewer)["labels_of_pairs_that_changed"] == len(gone) > 0
    more = paired_lab(tmp_path, 16)
    assert table(more)["wave"].to_list() == [None] * 6
    assert numbers(more)["labels_drawn_from_fewer_pairs"] == 6


def test_the_stratum_of_a_draw_from_fewer_pairs_stays(tmp_path: Path):
    """Drawn by Neyman with shares of their own: they may never pass for one draw among all pairs."""
    lab = paired_lab(tmp_path, 40, strata="category")
    for design, name in (("uniform", "a.csv"), ("neyman", "b.csv")):
        export_wave(open_lab(tmp_path), tmp_path / name, n=10, design=design, model="one")
        fill(tmp_path / name, prefers_the_model)
        import_labels(open_lab(tmp_path), tmp_path / name, annotator="ada")
    drawn = [item.stratum for item in read_requests(requests_path(label_file(lab)))]
    more = paired_lab(tmp_path, 44, strata="category")
    rows = table(more)
    assert rows["wave"].null_count() == rows.height == 20
    assert sorted(rows["stratum"].drop_nulls()) == sorted(name for name in drawn if name)
    assert rows["stratum"].null_count() == 10
    with pytest.raises(ExperimentError, match="labels were drawn within strata"):
        read_pairs(paired_lab(tmp_path, 44))


def test_neyman_needs_strata_and_a_first_wave(tmp_path: Path):
    lab = paired_lab(tmp_path / "none", 40)
    with pytest.raises(ExperimentError, match="the experiment has none") as error:
        export_wave(lab, tmp_path / "a.csv", n=10, design="neyman")
    assert error.value.remedy
    lab = paired_lab(tmp_path, 40, strata="category")
    with pytest.raises(DatasetError, match="0 labels"):
        export_wave(lab, tmp_path / "a.csv", n=10, design="neyman")
    assert read_requests(requests_path(label_file(lab))) == []
    export_wave(lab, tmp_path / "a.csv", n=12, design="uniform")
    fill(tmp_path / "a.csv", lambda row: "a" if row["problem"].startswith(("1", "2")) else "b")
    import_labels(lab, tmp_path / "a.csv", annotator="ada")
    done = export_wave(open_lab(tmp_path), tmp_path / "b.csv", n=10, design="neyman")
    category = dict(stored_pairs(lab).select("pair_id", "category").iter_rows())
    assert {item.stratum for item in done.requests} == {"a", "b"}
    assert all(item.stratum == category[item.pair_id] for item in done.requests)
    drawn = [item.pair_id for item in read_requests(requests_path(label_file(lab)))]
    assert len(set(drawn)) == len(drawn) == 2 * 12 + 2 * 10


def expected_gold(problem_id: str, model: str) -> float:
    """From what ``write_workspace`` says: the reference is right every 4th time, one every 2nd, two every 3rd."""
    i = int(problem_id[1:])
    right, reference = i % {"one": 2, "two": 3}[model] == 0, i % 4 == 0
    return 0.5 + 0.5 * (right - reference)


def test_gold_labels(tmp_path: Path):
    lab = paired_lab(tmp_path, 24, ties=4, labels={"source": "gold"})
    pairs = stored_pairs(lab).select("pair_id", "problem_id", "is_identical")
    rows = table(lab).join(pairs, on="pair_id")
    assert rows.height == 48
    for row in rows.iter_rows(named=True):
        own = 0.5 if row["is_identical"] else expected_gold(row["problem_id"], row["model"])
        assert row["label"] == own
        assert row["annotator"] == ("identical" if row["is_identical"] else "gold")
    assert {0.0, 0.5, 1.0} == set(rows["label"])


def test_gold_labels_of_a_part(tmp_path: Path):
    """``count`` of each model, by the seed; too many are refused."""
    drawn = []
    for seed in (0, 0, 1):
        lab = paired_lab(tmp_path / str(len(drawn)), 24, labels={"source": "gold", "count": 7, "seed": seed})
        rows = table(lab)
        assert dict(rows.group_by("model").len().iter_rows()) == {"one": 7, "two": 7}
        drawn.append(rows["pair_id"].to_list())
    assert drawn[0] == drawn[1] != drawn[2]
    lab = paired_lab(tmp_path / "many", 4, labels={"source": "gold", "count": 5})
    with pytest.raises(DatasetError, match="5 labels of one asked for, but it has 4 pairs"):
        read_labels(lab)
    with pytest.raises(DatasetError, match="the labels are gold: nobody is asked"):
        export_wave(lab, tmp_path / "a.csv", n=1, design="uniform")


def test_gold_labels_of_accuracy(tmp_path: Path):
    lab = paired_lab(tmp_path, 12, estimand="accuracy", labels={"source": "gold"}, judges=[])
    rows = table(lab).join(stored_pairs(lab).select("pair_id", "problem_id"), on="pair_id")
    for row in rows.iter_rows(named=True):
        assert row["label"] == (int(row["problem_id"][1:]) % {"base": 4, "one": 2, "two": 3}[row["model"]] == 0)
    assert set(rows["model"]) == {"base", "one", "two"}


def test_labels_of_single_responses(tmp_path: Path):
    lab = paired_lab(tmp_path, 12, estimand="accuracy", judges=[])
    export_wave(lab, tmp_path / "a.csv", n=12, design="uniform", model="one")
    fill(tmp_path / "a.csv", lambda row: "incorrect" if "#### -" in row["response"] else "Correct")
    import_labels(lab, tmp_path / "a.csv", annotator="ada")
    rows = table(open_lab(tmp_path)).join(stored_pairs(lab).select("pair_id", "problem_id"), on="pair_id")
    assert [row["label"] for row in rows.iter_rows(named=True)] == [
        float(int(row["problem_id"][1:]) % 2 == 0) for row in rows.iter_rows(named=True)
    ]
