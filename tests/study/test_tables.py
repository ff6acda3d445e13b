"""Scaling, cross-verification and findings against numbers computed by hand, and the report that shows them."""

from __future__ import annotations

import re

import polars as pl
import pytest

from ops.stages.study_scaling import measure_cross, measure_scaling
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.storage.schemas import COLUMNS
from tests.study.fabricated import CHANGES, fabricate
from tests.study.run import measure_study, run_study_stages


@pytest.fixture
def bench(write_study):
    return fabricate(write_study(**CHANGES))


def read(bench, table: str, asset: str) -> pl.DataFrame:
    return bench.store.read(table, bench.fingerprints[asset])


def test_scaling_rows_are_those_computed_by_hand(bench):
    assert [result.asset for result in measure_scaling(bench)] == ["scaling_points", "scaling_law"]
    points = read(bench, "scaling_points", "scaling_points").filter(verifier="logit").sort("pretraining_flops")
    # J(x) = 1/2 on both problems. Kept by small: all; by middle: the right one of problem 1; by large: of both.
    # gap: 0, (1/2 + 0) / 2, 1/2; relative gap (by 1 - 1/2): 0, (1 + 0) / 2, 1
    assert points["model"].to_list() == ["small", "middle", "large"]
    assert points["gap"].to_list() == pytest.approx([0.0, 0.25, 0.5])
    assert points["relative_gap"].to_list() == pytest.approx([0.0, 0.5, 1.0])
    assert points["family"].unique().to_list() == ["built-in"]
    laws = read(bench, "scaling_laws", "scaling_law").filter(verifier="logit")
    gap, relative = laws.filter(metric="gap").row(0, named=True), laws.filter(metric="relative_gap").row(0, named=True)
    # x = 10, 11, 12: slope = (0.5 - 0) / 2, intercept = 0 - 10 * slope; the line goes through all points
    assert (gap["slope"], gap["intercept"], gap["r_squared"]) == pytest.approx((0.25, -2.5, 1.0))
    assert (relative["slope"], relative["intercept"], relative["n_models"]) == pytest.approx((0.5, -5.0, 3))
    # Resamples: problem 1 twice gives relative gaps 0, 1, 1 and problem 2 twice 0, 0, 1: slope 1/2 each time,
    # R² = 1 - (1/6) / (2/3) = 3/4; both once gives 1.
    assert (relative["slope_low"], relative["slope_high"]) == pytest.approx((0.5, 0.5))
    assert (relative["r_squared_low"], relative["r_squared_high"]) == pytest.approx((0.75, 1.0))


def test_the_cross_matrix_depends_on_the_verifier_only(bench):
    measure_cross(bench)
    cells = read(bench, "cross_verification", "cross_verification")
    assert cells.height == 9 and cells["rule"].unique().to_list() == ["logit ≥ 0"]
    for model, gap in (("small", 0.0), ("middle", 0.25), ("large", 0.5)):
        column = cells.filter(verifier_model=model)
        assert column["generator"].to_list() == ["small", "middle", "large"]
        assert column["gap"].to_list() == pytest.approx([gap] * 3)
    one = cells.filter(generator="small", verifier_model="large").row(0, named=True)
    assert (one["generator_flops"], one["verifier_flops"], one["kept_fraction"]) == (1e10, 1e12, 0.5)


def test_findings_are_decided_from_the_tables(bench):
    measure_study(bench)
    rows = read(bench, "findings", "findings")
    found = {row["finding"]: row for row in rows.filter(~pl.col("evidence").str.contains("tournament")).to_dicts()}
    assert list(dict.fromkeys(rows["finding"])) == ["1a", "1b", "2a", "2b", "3a", "3b", "3c", "3d", "4a", "4b"]
    outcomes = {name: row["outcome"] for name, row in found.items()}
    # The relative gap rises by 1/2 per factor of ten, on a line; so does the absolute gap, by 1/4.
    assert (outcomes["1a"], outcomes["1b"]) == ("holds", "does not hold")
    # Gap = 1/4 (log10 verifier FLOPs - 10), whatever the generator: its slope is 0 in every resample.
    assert (outcomes["2a"], outcomes["2b"]) == ("holds", "undecided")
    assert found["2a"]["value"] == pytest.approx(0.25) and found["2b"]["value"] == pytest.approx(0.0, abs=1e-12)
    # The AND accepts what both members accept, and they agree: no difference.
    assert outcomes["4a"] == "undecided" and found["4a"]["value"] == 0.0
    # score_cot = 5 (logit + 1): correlation 1
    assert outcomes["4b"] == "does not hold" and found["4b"]["value"] == pytest.approx(1.0)
    assert outcomes["3d"] == "undecided" and "other task" in found["3d"]["evidence"]


def test_everything_is_reused_and_current_in_sql(bench):
    from ops.study_plan import StudyBench

    assert not any(result.reused for result in run_study_stages(bench))
    again = run_study_stages(StudyBench.open("tiny"))
    assert [result.asset for result in again if not result.reused] == []
    rebuild_catalog(bench.store.home)
    found = query(bench.store.home, "SELECT experiment, iteration, count(*) AS n FROM scaling_laws GROUP BY ALL")
    assert found.rows() == [("tiny", None, 6)]
    matrix = "SELECT generator, gap FROM cross_verification WHERE verifier_model = 'large' AND task = 'countdown'"
    assert query(bench.store.home, matrix)["gap"].to_list() == [0.5] * 3


def test_given_flops_replace_the_measured_ones(write_study):
    models = {label: {**model, "family": "mine"} for label, model in CHANGES["models"].items()}
    models["large"]["pretraining_flops"] = 1e14
    bench = fabricate(write_study(**{**CHANGES, "models": models}))
    measure_scaling(bench)
    points = read(bench, "scaling_points", "scaling_points").filter(verifier="logit").sort("pretraining_flops")
    assert points["pretraining_flops"].to_list() == [1e10, 1e11, 1e14] and set(points["family"]) == {"mine"}


def test_an_incomplete_study_is_reported_as_such(write_study):
    path = write_study(**CHANGES)
    bench = fabricate(path)
    more = {**CHANGES["models"], "next": {"kind": "builtin", "size": "s", "steps": 12}}
    write_study(**{**CHANGES, "models": more, "cross": []})
    from ops.study_plan import StudyBench

    partial = StudyBench.open("tiny")
    # without cross-verifiers the experiments are other ones, none of which is measured
    assert set(partial.missing) == {f"tiny-countdown-{label}" for label in more}
    assert partial.fingerprints["findings"] != bench.fingerprints["findings"]


def test_the_report_is_one_self_contained_page_with_its_tables(bench):
    run_study_stages(bench)
    page = (bench.folder / "index.html").read_text()
    assert "Content-Security-Policy" in page and "default-src 'none'" in page
    addresses = set(re.findall(r"https?://[^\"'\s<>)]+", page)) - {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not addresses
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)", page)
    for text in ("does not hold", "The gap grows with the verifier", "logit ≥ 0", "+.500 [+.500, +.500]"):
        assert text in page
    tables = {path.stem for path in bench.folder.glob("*.csv")}
    assert tables == {path.stem for path in bench.folder.glob("*.parquet")}
    assert {
        "findings",
        "scaling_laws",
        "scaling_points",
        "cross_verification",
        "gap_metrics",
        "verifier_pairs",
    } <= tables
    assert pl.read_parquet(bench.folder / "findings.parquet").columns == list(COLUMNS["findings"])
    assert (
        pl.read_csv(bench.folder / "gap_metrics.csv").height
        == pl.read_parquet(bench.folder / "gap_metrics.parquet").height
    )
    assert {path.stem for path in bench.folder.glob("*.png")} >= {"scaling", "cross", "thresholds", "weighted_vote"}
    assert "not adjusted for the number of decisions" in page and "Every check at the largest n" in page
    # small checked by large, in the table of the matrix
    rows = re.findall(r"<tr[^>]*>(?:(?!</tr>).)*</tr>", page, re.S)
    cell = [row for row in rows if '">small</td><td class="text">large</td>' in row]
    assert len(cell) == 1 and "+.500" in cell[0] and "+1.000" in cell[0] and "1.0 × 10¹²" in cell[0]


@pytest.mark.slow
def test_a_removed_page_is_written_again(bench):
    run_study_stages(bench)
    (bench.folder / "index.html").unlink()
    assert all(result.reused for result in run_study_stages(bench))
    assert (bench.folder / "index.html").is_file()


def test_every_table_of_responses_is_read_once_per_bench(bench, monkeypatch):
    from ops.stages import study_values

    built = []
    real = study_values.Measured.__init__
    monkeypatch.setattr(
        study_values.Measured, "__init__", lambda self, bench, name: (built.append(name), real(self, bench, name))[1]
    )
    measure_study(bench)
    assert sorted(built) == sorted(bench.labs)


def test_the_best_check_is_chosen_on_train_and_reported_on_eval(bench):
    from dataclasses import replace

    from ops.reporting.study_data import read_study
    from ops.reporting.study_words import largest_gap

    measure_study(bench)
    data = read_study(bench)
    # make logit best on train and worst on eval: its own gap on eval is what has to be said
    gaps = data.tables["gap_metrics"]
    logit, train = pl.col("verifier") == "logit", pl.col("split") == "train"
    value = pl.when(logit & train).then(0.9).when(logit).then(0.125).otherwise(pl.col("gap"))
    changed = replace(data, tables={**data.tables, "gap_metrics": gaps.with_columns(value.alias("gap"))})
    text = largest_gap(changed, "countdown")
    assert "the model with the most compute, large," in text
    assert "“logit ≥ 0” has the largest gap on the training problems, and on the evaluation problems +.125" in text
    # a model of unknown FLOPs is not the largest
    unknown = replace(data, rows=tuple(replace(row, flops=None) if row.model == "large" else row for row in data.rows))
    assert "most compute, middle," in largest_gap(unknown, "countdown")
    no_train = replace(data, tables={**data.tables, "gap_metrics": gaps.filter(~train)})
    assert "no training problems to choose the best of its checks on" in largest_gap(no_train, "countdown")


def test_without_train_problems_no_peak_is_chosen(bench):
    from ops.stages.study_thresholds import _fall, threshold_findings
    from ops.stages.study_values import cohorts_of

    cohorts = cohorts_of(bench)
    for measured in cohorts[0].measured:
        verifier = measured.verifiers["score_cot"]
        has_spread = measured.member.model != "small"  # which gives every response the same score
        assert (_fall(cohorts[0], measured, verifier) is not None) == has_spread
        del measured.splits["train"]
        assert _fall(cohorts[0], measured, verifier) is None
    found = {row[0]: row for row in threshold_findings(cohorts[0], cohorts, 0.95)}
    assert found["3b"][3] == "undecided" and "no training problems to choose the peak on" in found["3b"][4]
    assert found["3c"][3] == "undecided"


def test_a_check_that_gains_nothing_has_no_shape(bench):
    """The small model accepts all, so its gap is 0 at every threshold; the large one gains .5 on both problems.

    The middle one gains .5 on the first problem only: half of the resamples that miss it end the interval at 0.
    """
    from ops.stages.study_thresholds import curve, gains
    from ops.stages.study_values import cohorts_of

    [cohort] = cohorts_of(bench)
    found = {each.member.model: gains(cohort, each, each.verifiers["logit"], 0.95) for each in cohort.measured}
    assert found == {"small": False, "middle": False, "large": True}
    large = next(each for each in cohort.measured if each.member.model == "large")
    x_T, gap_PT = curve(large, large.verifiers["logit"])
    # scores are -1 and 1: the lowest of the eleven thresholds keeps all, every other one what is right
    assert x_T.tolist() == [i / 10 for i in range(11)]
    assert gap_PT.tolist() == [[0.0] + [0.5] * 10] * 2
