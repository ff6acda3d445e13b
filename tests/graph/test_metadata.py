"""What a person sees of a result in the UI."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from assets.metadata import MAX_PLOT_WIDTH, shown
from ops.types import StageResult


def _result(asset: str = "iteration_0/gap_metrics", **metadata: object) -> StageResult:
    return StageResult(asset, "tiny", "f" * 16, False, 3, 1.5, metadata)


def test_a_gap_and_its_interval_are_one_text() -> None:
    seen = shown(_result(logit_gap=0.2041, logit_gap_low=0.1712, logit_gap_high=0.24, logit_kept_fraction=0.123456))
    assert seen["logit_gap"] == "+0.204 [+0.171, +0.240]"
    assert "logit_gap_low" not in seen
    assert seen["logit_kept_fraction"] == 0.1235


@pytest.mark.parametrize("value", [None, float("nan")])
def test_an_undefined_gap_is_called_so(value: float | None) -> None:
    assert shown(_result(logit_gap=value, logit_gap_low=value, logit_gap_high=value))["logit_gap"] == "undefined"


def test_seconds_of_both_ops_are_added() -> None:
    assert shown(_result(), {"seconds": 2.0, "tokens_per_second": 123456.7})["seconds"] == 3.5
    assert shown(_result(), {"tokens_per_second": 123456.7})["tokens_per_second"] == 123457


def test_a_plot_fits_the_dialogue(tmp_path: Path) -> None:
    Image.new("RGB", (2160, 800), "white").save(tmp_path / "plot.png")
    text = shown(_result("report", plot=str(tmp_path / "plot.png"), path=str(tmp_path / "a.html")))["plot"].md_str
    data = base64.b64decode(text.removeprefix("![plot](data:image/png;base64,").removesuffix(")"))
    assert Image.open(io.BytesIO(data)).size[0] == MAX_PLOT_WIDTH


def test_paths_of_a_report_follow_the_home(lab_home: Path, tmp_path: Path, monkeypatch) -> None:
    reports = lab_home / "reports"
    reports.mkdir(parents=True)
    Image.new("RGB", (20, 10), "white").save(reports / "tiny.png")
    result = _result("report", plot="reports/tiny.png", path="reports/tiny.html")
    assert shown(result)["report"].url == (reports / "tiny.html").as_uri()
    before = shown(result)["plot"]
    moved = tmp_path / "moved"
    lab_home.rename(moved)
    monkeypatch.setenv("MINDGAP_HOME", str(moved))
    seen = shown(result)
    assert seen["plot"] == before
    assert seen["report"].url == (moved / "reports" / "tiny.html").as_uri()


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_report_whose_plot_cannot_be_read_is_a_warning(lab_home: Path, tmp_path: Path, caplog, content) -> None:
    if content is not None:
        (tmp_path / "tiny.png").write_bytes(content)
    seen = shown(_result("report", plot=str(tmp_path / "tiny.png"), path=str(tmp_path / "tiny.html"), answer="yes"))
    assert "plot" not in seen and seen["answer"] == "yes" and "report" in seen
    assert "no plot of report of tiny" in caplog.text
