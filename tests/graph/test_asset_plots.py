"""Every table has a plot of a few kilobytes; it is drawn once, reads little, and never fails a step."""

from __future__ import annotations

import io
import time
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from PIL import Image

from assets.metadata import SMALL_PLOT_BYTES, shown
from ops.reporting import asset_plots
from ops.reporting.asset_plots import PLOTS, Source, asset_plot, draw, read_spread
from ops.storage.schemas import COLUMNS, polars_schema
from ops.storage.store import Provenance, Store
from ops.types import StageResult

HOW = Provenance("run", "1", 0.0, False, {})
WITHOUT = {
    "reports": "the report has its own",
    "findings": "words",
    "scaling_points": "part of scaling_law",
    "training_steps": "drawn for the model",
    "exploration_metrics": "the study's report has its own",
    "exploration_differences": "the study's report has its own",
    "bandit_regret": "the page of its own",
    "arm_differences": "beside arm_metrics, which is drawn",
    "judge_metrics": "beside win_rates, which is drawn",
    "label_curves": "beside win_rates, which is drawn",
}


def made_up(table: str) -> pl.DataFrame:
    """Rows of the table's own types: two verifiers (rules, metrics ...), ten of each."""
    columns = {}
    for name, dtype in polars_schema(table).items():
        if dtype == pl.String:
            values = [f"{name}-{i % 2}" for i in range(20)]
        elif dtype == pl.Boolean:
            values = [i % 3 == 0 for i in range(20)]
        elif dtype == pl.Float64:
            values = [round(0.05 * i, 2) for i in range(20)]
        else:
            values = list(range(20))
        columns[name] = pl.Series(name, values).cast(dtype)
    known = {
        "split": "eval",
        "reference": "base",
        "verdict": "correct",
        "filter": "quantile",
        "metric": {
            "diversity_metrics": "pass_at_k",
            "scaling_laws": "relative_gap",
            "selection_metrics": "precision",
            "arm_metrics": "accuracy",
            "policy_evaluation": "pass_at_k",
            "training_dynamics": "solved_questions",
        },
        "estimator": "control_variate",
        "sampler": "policy",
        "questions": "all",
    }
    frame = pl.DataFrame(columns)
    for name, value in known.items():
        chosen = value.get(table) if isinstance(value, dict) else value
        if name in frame.columns and chosen is not None:
            frame = frame.with_columns(pl.lit(chosen).alias(name))
    if "problem_id" in frame.columns:
        frame = frame.with_columns(problem_id=pl.lit("p"))
    if table == "arm_metrics":  # over all seeds
        frame = frame.with_columns(seed=pl.lit(None, pl.Int64), low=pl.col("value") - 0.1, high=pl.col("value") + 0.1)
    return frame


def commit(home: Path, table: str, asset: str, frame: pl.DataFrame, fingerprint: str = "f" * 16) -> StageResult:
    Store(home).commit_table(
        table, frame, experiment="demo", asset=asset, iteration=0, fingerprint=fingerprint, provenance=HOW
    )
    return StageResult(f"iteration_0/{asset}", "demo", fingerprint, False, frame.height, 0.0)


@pytest.fixture
def home(lab_home: Path) -> Path:
    return lab_home


def test_every_table_has_a_plot_or_a_reason() -> None:
    assert set(PLOTS) | set(WITHOUT) == set(COLUMNS)
    assert not set(PLOTS) & set(WITHOUT)


@pytest.mark.parametrize("table", PLOTS)
def test_each_plot_is_a_small_picture(home, table: str, caplog) -> None:
    asset = {"models": "model", "scaling_laws": "scaling_law"}.get(table, table)
    asset = "finetune_data" if table == "preference_pairs" else asset
    if table == "verification_scores":
        commit(home, "generations", "generations", made_up("generations"), "a" * 16)
    result = commit(home, table, asset, made_up(table))
    path = asset_plot(home, result)
    assert path is not None, caplog.text
    assert path.stat().st_size < SMALL_PLOT_BYTES
    with Image.open(path) as image:
        assert image.size == (440, 270)
        assert len(set(image.convert("L").getdata())) > 5  # something is drawn
    assert "plot" in shown(result)


@pytest.mark.parametrize("table", PLOTS)
def test_an_empty_or_undefined_table_is_no_error(home, table: str) -> None:
    kinds = polars_schema(table)
    undefined = made_up(table).with_columns(
        pl.lit(None).cast(kind).alias(name) for name, kind in kinds.items() if kind == pl.Float64
    )
    for fingerprint, frame in {"e" * 16: pl.DataFrame(schema=kinds), "n" * 16: undefined}.items():
        commit(home, table, table, frame, fingerprint)
        picture = draw(Source(home, "demo", table, fingerprint, 0))
        assert picture is None or picture.startswith(b"\x89PNG")


def test_the_loss_curve_of_a_model_is_drawn(home) -> None:
    result = commit(home, "models", "model", made_up("models"))
    sizes_only = asset_plot(home, result).read_bytes()
    steps = made_up("training_steps")
    commit(home, "training_steps", "training_steps", steps)
    assert draw(Source(home, "demo", "models", result.fingerprint, 0)) != sizes_only


def test_a_reused_result_draws_nothing(home, monkeypatch) -> None:
    result = commit(home, "gap_metrics", "gap_metrics", made_up("gap_metrics"))
    first = asset_plot(home, result)
    monkeypatch.setattr(asset_plots, "draw", lambda source: pytest.fail("drawn again"))
    start = time.perf_counter()
    assert asset_plot(home, result) == first
    assert time.perf_counter() - start < 0.05


def test_a_plot_that_fails_is_a_warning(home, monkeypatch, caplog) -> None:
    result = commit(home, "gap_metrics", "gap_metrics", made_up("gap_metrics"))

    def broken(*_: object) -> bool:
        raise ZeroDivisionError("no bins")

    monkeypatch.setitem(PLOTS, "gap_metrics", broken)
    assert "plot" not in shown(result)
    assert "no plot of iteration_0/gap_metrics of demo: ZeroDivisionError: no bins" in caplog.text


def test_a_large_table_is_read_in_part(tmp_path) -> None:
    path = tmp_path / "data.parquet"
    frame = pl.DataFrame({"row": range(100_000), "text": ["x" * 20] * 100_000})
    pq.write_table(frame.to_arrow(), path, row_group_size=1000)
    some = read_spread(path, ["row", "missing"], limit=5000)
    assert some.columns == ["row"]
    # 100 groups of 1,000 rows; 5,000 of 100,000 rows are every 20th group: 0, 20, 40, 60, 80.
    assert some["row"].to_list() == [start + i for start in range(0, 100_000, 20_000) for i in range(1000)]
    assert read_spread(path, ["row"], limit=200_000).height == 100_000


def test_the_picture_is_embedded_as_it_is(home) -> None:
    import base64

    result = commit(home, "gap_metrics", "gap_metrics", made_up("gap_metrics"))
    text = shown(result)["plot"].md_str
    data = base64.b64decode(text.removeprefix("![plot](data:image/png;base64,").removesuffix(")"))
    assert data == asset_plot(home, result).read_bytes()
    assert Image.open(io.BytesIO(data)).format == "PNG"


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"no picture", lambda data: data[: len(data) // 2]])
def test_a_damaged_plot_is_drawn_anew(home, damage) -> None:
    result = commit(home, "gap_metrics", "gap_metrics", made_up("gap_metrics"))
    path = asset_plot(home, result)
    whole = path.read_bytes()
    before = shown(result)["plot"]
    path.write_bytes(damage(whole))
    assert shown(result)["plot"] == before
    assert path.read_bytes() == whole
