"""The page's section about verifiers: what is not known is a dash, and whose problems the numbers are is said."""

from __future__ import annotations

import re

from ops.reporting.page import html_page
from ops.reporting.summary import summarise
from tests.replay.rows import write_jsonl
from tests.replay.test_replay import ROWS, replay


def page_of(folder, **changes):
    write_jsonl(folder / "rows.jsonl", ROWS)
    lab = replay(folder, **changes)
    summary = summarise(lab.experiment, lab.plan, lab.store)
    return summary.verifiers, html_page(summary, ())


def cells(page: str, verifier: str) -> list[str]:
    """Of the verifier's row in the first table that has one."""
    row = re.search(rf'<td class="text">{verifier}</td>(.*?)</tr>', page, re.S)[1]
    return re.findall(r"<td>(.*?)</td>", row)


def test_costs_that_are_not_known_are_dashes(tmp_path):
    """Columns: AUROC, precision, recall, ECE, no verdict, tokens, seconds ..."""
    _, page = page_of(tmp_path)
    assert cells(page, "reward")[5:7] == ["–", "–"]
    assert cells(page, "majority")[5] == "0"
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S).lower().split()


def test_the_largest_n_is_of_the_problems_that_have_as_many(tmp_path):
    """Groups of 3, 2 and 1: two of three problems have 2 responses."""
    found, page = page_of(tmp_path)
    assert (found.n, found.n_problems, found.all_problems) == (2, 2, 3)
    assert "Of the 2 of 3 problems that have as many responses." in page


def test_a_vote_without_answers_is_a_dash(tmp_path):
    _, page = page_of(tmp_path, task={"name": "jsonl", "grader": "label"}, verifiers=[])
    assert "majority vote –, an oracle 1.000" in page
