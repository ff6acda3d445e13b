"""docs/notebooks/catalog.ipynb: it runs on a catalog, and its answers are what the data says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ops

NOTEBOOK = Path(ops.__file__).resolve().parent.parent / "docs" / "notebooks" / "catalog.ipynb"
ASKED = """
import json
print(json.dumps([share.rows(), experiment, gaps.filter(verifier="binary_cot")["gap"].to_list(), len(figure.axes)]))
"""


def test_it_runs_on_a_catalog(fabricated, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("MINDGAP_HOME", str(fabricated.home))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(ASKED))
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources=place).execute()
    kinds = {kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert "image/png" in kinds and "text/html" in kinds
    share, experiment, gaps, panels = json.loads(notebook.cells[-1].outputs[0]["text"])
    assert (experiment, panels) == ("demo", 3) and gaps == pytest.approx([0.2, 0.2])
    # Eval at iteration 0 (see test_sql_docs): binary CoT accepts 1 right and 2 wrong ones; logit accepts all 8, of
    # which 2 are right, 5 wrong and 1 unparseable. At iteration 1 (p + s) % 4 <= 1 is right: e0 s0, s1 (s3
    # unparseable), e1 s0, s3; binary CoT says nothing parseable of sample 3, and accepts sample 2, wrong in both.
    found = {(verifier, iteration): (accepted, wrong) for verifier, iteration, accepted, wrong, _ in share}
    assert found["binary_cot", 0] == (3, 2) and found["logit", 0] == (8, 5)
    assert found["binary_cot", 1] == (5, 2) and found["logit", 1] == (8, 3)
    assert {tuple(row[:2]): row[4] for row in share}["binary_cot", 0] == pytest.approx(2 / 3)


def test_what_is_committed_was_run_and_is_small():
    content = NOTEBOOK.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(content)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])
    assert len(content) < 200_000 and "/home/" not in content and "/tmp/" not in content and "/work/" not in content
