"""The table of pretraining FLOPs, and a user's own."""

from __future__ import annotations

import csv

import pytest

from ops.errors import DatasetError
from ops.lab import Lab
from ops.study_flops import SHIPPED, read_flops


def test_every_row_is_six_n_d_with_a_source():
    with SHIPPED.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 20 and len({row["model"] for row in rows}) == len(rows)
    for row in rows:
        # 6 N D, as rounded to five digits in the file
        expected = 6 * float(row["n_parameters"]) * float(row["pretraining_tokens"])
        assert float(row["pretraining_flops"]) == pytest.approx(expected, rel=1e-4), row["model"]
        assert "arXiv" in row["source"] and "/" in row["model"]
    assert {row["family"] for row in rows} >= {"Qwen-2", "Qwen-2.5", "Llama-2", "Llama-3", "Llama-3.1", "Yi-1.5"}
    # Llama-3.1-405B: the report itself gives 3.8e25 FLOPs (arXiv 2407.21783)
    assert read_flops()["meta-llama/Llama-3.1-405B"].flops == pytest.approx(3.8e25, rel=0.01)


def test_a_users_table_replaces_rows_and_fills_in_flops(tmp_path):
    path = tmp_path / "flops.csv"
    path.write_text(
        "model,family,n_parameters,pretraining_tokens,pretraining_flops,source\n"
        "mine,own,1000,2000,,me\nQwen/Qwen2-7B,other,,,1e20,\n"
    )
    rows = read_flops(str(path))
    assert (rows["mine"].flops, rows["mine"].family) == (6 * 1000 * 2000, "own")
    assert (rows["Qwen/Qwen2-7B"].flops, rows["Qwen/Qwen2-7B"].n_parameters) == (1e20, None)
    assert "Qwen/Qwen2-72B" in rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model,family\n", "line 1: n_parameters: no column"),
        ("{head}\nm,f,1,2,many,s\n", "line 2: pretraining_flops: expected a number above 0, got 'many'"),
        ("{head}\nm,f,1,2,-1,s\n", "got '-1'"),
        ("{head}\nm,f,1,,,s\n", "expected a number, or both n_parameters and pretraining_tokens"),
        ("{head}\nm,,1,2,3,s\n", "line 2: family: expected text, got nothing"),
    ],
)
def test_a_wrong_table_is_named_by_line(tmp_path, text, expected):
    path = tmp_path / "flops.csv"
    path.write_text(text.replace("{head}", "model,family,n_parameters,pretraining_tokens,pretraining_flops,source"))
    with pytest.raises(DatasetError) as caught:
        read_flops(str(path))
    assert expected in str(caught.value)


def test_a_hub_model_of_any_revision_is_found_by_its_id(write_study):
    from ops.models import HubModel
    from ops.study_plan import name_in_table

    model = HubModel(kind="hub", id="Qwen/Qwen2-7B", revision="a1b2c3")
    assert model.shown == "Qwen/Qwen2-7B@a1b2c3"
    assert read_flops()[name_in_table(model)].family == "Qwen-2"


def test_everything_that_a_row_of_the_table_says_is_in_the_fingerprint(write_study, tmp_path):
    """Of a folder model called as the row: its N is a column of ``scaling_points``, so another N is another table."""
    from ops.builtin.model import new_model, new_tokenizer
    from ops.study_files import load_study
    from ops.study_plan import StudyBench, _fingerprints

    folder = tmp_path / "mine"
    new_model("a", 0).save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    path = write_study(models={"own": {"kind": "folder", "path": "../mine"}}, cross=[])
    loaded = load_study(path)
    member = loaded.members[0]
    name = member.experiment.name
    found = []
    for n_parameters in ("1000", "1001"):
        table = tmp_path / "flops.csv"
        head = "model,family,n_parameters,pretraining_tokens,pretraining_flops,source\n"
        table.write_text(f"{head}mine,own,{n_parameters},,1e20,me\n")
        labs = {name: Lab.open(member.experiment)}
        found.append(_fingerprints(loaded.study, labs, {name: member}, read_flops(str(table)))["scaling_points"])
    assert found[0] != found[1]
    assert StudyBench.open("tiny").missing == (name,)
