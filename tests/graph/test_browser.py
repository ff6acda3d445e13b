"""What a reader meets who clicks: a partition is materialized, metadata and plot are seen, a failing check explains."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from assets.metadata import interval_text

pytest.importorskip("playwright", reason='playwright is not installed: pip install -e ".[dev]"')

from playwright.sync_api import Page, expect

from tests.graph import browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(browser.chromium() is None, reason=browser.NO_BROWSER),
]


@pytest.fixture
def page(write_experiment, tmp_path: Path):
    """The front page of ``mindgap ui`` in a fresh home with two experiments; tmp_path keeps what was seen last."""
    write_experiment("tiny")
    write_experiment("another")
    with browser.ui(tmp_path / "ui.log") as url, browser.browser() as chrome:
        page = browser.new_page(chrome)
        page.goto(url)
        try:
            yield page
        finally:
            page.screenshot(path=tmp_path / "last.png")


def test_one_partition_by_clicking(page: Page, lab_home: Path, tmp_path: Path) -> None:
    def keep(name: str) -> None:
        page.screenshot(path=tmp_path / f"{name}.png")

    browser.open_graph(page)
    for group in ("base_model", "iteration_0", "iteration_1", "report", "study"):
        expect(page.get_by_role("button", name=f"asset_group {group}")).to_be_visible()
    keep("1-graph")

    dialogue = browser.choose_partition(page, "tiny")
    keep("2-dialogue")
    browser.launch(page, dialogue)
    expect(page.get_by_text("partition: tiny")).to_be_visible()
    browser.wait_for_success(page, seconds=500)
    keep("3-run")

    table = browser.open_metadata(page, "iteration_0/selection_metrics", "tiny")
    row = table.get_by_role("row").filter(has_text="kept_problem_fraction")
    expect(row).to_contain_text(_stored_interval(lab_home))
    keep("4-metadata")
    plot = browser.open_plot(page).get_by_role("img", name="plot")
    assert plot.evaluate("image => image.complete && image.naturalWidth") > 200
    keep("5-plot")
    page.get_by_role("button", name="Close").click()

    browser.open_check(page, "iteration_0/generations", "unparseable_fraction")
    sentence = page.get_by_text(
        re.compile(r"^\d+\.\d% of the responses are unparseable, the limit is \d+\.\d%: they count as not correct")
    ).first
    expect(sentence).to_be_visible()
    expect(sentence).to_contain_text("a larger sampling.max_tokens helps where they were cut")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    keep("6-check")

    browser.open_asset(page, "iteration_0/generations", "Partitions")  # the other experiment was not run
    expect(page.get_by_text("Materialized (1)")).to_be_visible()
    expect(page.get_by_text("Missing (1)")).to_be_visible()


def _stored_interval(home: Path) -> str:
    """``kept_problem_fraction`` of iteration 0 as the table has it."""
    with duckdb.connect(str(home / "mindgap.duckdb"), read_only=True) as catalog:
        rows = catalog.execute(
            "SELECT value, low, high FROM selection_metrics "
            "WHERE experiment = 'tiny' AND iteration = 0 AND metric = 'kept_problem_fraction'"
        ).fetchall()
    [(value, low, high)] = rows
    return interval_text(value, low, high)
