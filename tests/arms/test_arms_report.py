"""The report of hand-written arms: page, files beside it, terminal; and what is said of what is missing."""

from __future__ import annotations

import re

import polars as pl
import pytest

from ops.arms_plan import ArmsBench
from ops.reporting.arms_data import read_arms
from ops.reporting.arms_words import arms_answer, arms_summary, left_out
from ops.stages.arm_comparison import measure_arms
from ops.stages.arm_findings import measure_arm_findings
from ops.stages.arms_report import write_arms_report
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.storage.schemas import COLUMNS
from ops.types import StageResult
from tests.arms.fabricated import fabricate
from tests.arms.test_arms_findings import as_in_the_paper

CHANGES = {"experiment__iterations": 2, "experiment__problems": {"eval": 16, "train_per_iteration": 2}}


def run_stages(bench: ArmsBench) -> list[StageResult]:
    return [*measure_arms(bench), measure_arm_findings(bench), write_arms_report(bench)]


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Written once: figures take seconds."""
    import yaml

    from tests.arms.conftest import changed

    folder = tmp_path_factory.mktemp("arms")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("experiments", "studies"):
            (folder / name).mkdir()
        patch.setenv("MINDGAP_HOME", str(folder / "home"))
        patch.setenv("MINDGAP_EXPERIMENTS", str(folder / "experiments"))
        patch.delenv("MINDGAP_STUDIES", raising=False)
        path = folder / "studies" / "tiny.yaml"
        path.write_text(yaml.safe_dump(changed(**CHANGES), sort_keys=False))
        bench = fabricate(path, as_in_the_paper)
        assert not any(result.reused for result in run_stages(bench))
        yield bench


def test_one_self_contained_page(reported):
    page = (reported.folder / "index.html").read_text()
    assert "Content-Security-Policy" in page and "default-src 'none'" in page
    allowed = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not set(re.findall(r"https?://[^\"'\s<>)]+", page)) - allowed
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page and "var(--series-1, #d55e00)" in page
    for text in ("does not hold", "what gold labels accept", ".625 [.375, .8", "paired by seed and problem"):
        assert text in page, text
    assert page.count("<svg") == len(re.findall(r"<figure", page)) >= 12
    for name in reported.labs:
        assert f"<summary>{name}: arm {name.split('-')[1]}, seed {name[-1]}</summary>" in page
    assert all(fingerprint in page for fingerprint in reported.fingerprints.values())


def test_ids_of_figures_are_their_own(reported):
    page = (reported.folder / "index.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_every_table_lies_beside_the_page(reported):
    tables = {path.stem for path in reported.folder.glob("*.csv")}
    assert tables == {path.stem for path in reported.folder.glob("*.parquet")}
    assert tables == {"arm_metrics", "arm_differences", "findings"}
    for name in tables:
        frame = pl.read_parquet(reported.folder / f"{name}.parquet")
        assert frame.columns == list(COLUMNS[name])
        assert pl.read_csv(reported.folder / f"{name}.csv").height == frame.height > 0
    pngs = {path.stem for path in reported.folder.glob("*.png")}
    assert {"arms", "accuracy", "gap_of_training_filter", "gap_of_shared_filter", "pass_at_k_curves"} <= pngs


def test_the_answer_is_the_paired_difference(reported):
    answer = arms_answer(read_arms(reported))
    # self has 10/16 at iteration 2, without a filter 1/2: +.125; pass@4 10/16 against 1
    assert "accuracy went from .250 to .625 [.375, .8" in answer and "(SE .000); against training on all" in answer
    assert "its accuracy is not measurably different, +.125" in answer
    assert "its pass@4 is lower, −.375 [−.625, " in answer
    assert "Holds here: the gap goes to about 0 within two to three iterations (5a: self, cross)" in answer


def test_an_update_error_stands_at_the_iteration_after_which_the_update_was_made(reported):
    data = read_arms(reported)
    metric = data.metric("update_error", rule="training filter")
    # the first update of self gained .375 where the gap was .75, the second nothing where it was 0
    assert {k: cell.interval.value for k, cell in data.curve("self", metric).items()} == {0: 0.375, 1: 0.0}
    assert set(data.lines("self", metric)[1]) == {0, 1}
    page = (reported.folder / "index.html").read_text()
    assert "update after iteration" in page and "at the iteration after which it was made" in page


def test_each_arms_own_verifier_is_shown(reported):
    data = read_arms(reported)
    names = {(metric.name, metric.rule) for metric in data.metrics}
    assert {(name, rule) for name in ("auroc", "ece", "score_drift") for rule in ("logit", "training filter")} <= names
    assert {("relative_gap", "training filter"), ("learned", None), ("forgotten", None)} <= names
    own = data.metric("auroc", rule="training filter")
    assert data.curve("cross", own) and not data.curve("gold", own)


def test_a_difference_may_be_asked_either_way(reported):
    data = read_arms(reported)
    metric = data.metric("accuracy")
    one, other = data.difference("self", "gold", metric, 2), data.difference("gold", "self", metric, 2)
    assert one.interval.value == -other.interval.value == pytest.approx(-0.25)
    assert (one.interval.low, one.interval.high) == (-other.interval.high, -other.interval.low)


def test_the_terminal_shows_the_same(reported):
    from rich.console import Console

    from ops.reporting.arms_table import terminal_arms

    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_arms(read_arms(reported)))
    text = console.export_text()
    assert "minus unfiltered, paired by seed and problem" in text and ".625 ±.000" in text
    assert "5d   It falls least with gold labels." in text and "model organisms" in text


def test_current_in_sql(reported):
    rebuild_catalog(reported.store.home)
    counted = "SELECT experiment, iteration, count(DISTINCT arm) AS arms FROM arm_metrics GROUP BY ALL"
    assert query(reported.store.home, counted).rows() == [("tiny", None, 4)]
    found = "SELECT DISTINCT asset FROM materializations WHERE experiment = 'tiny' AND is_current"
    wanted = {"arm_metrics", "arm_differences", "findings", "arms_report"}
    assert set(query(reported.store.home, found)["asset"]) == wanted


@pytest.mark.slow
def test_a_removed_page_is_written_again(reported):
    (reported.folder / "index.html").unlink()
    assert all(result.reused for result in run_stages(ArmsBench.open("tiny")))
    assert (reported.folder / "index.html").is_file()


def test_what_is_left_out_is_said(write_arms):
    bench = fabricate(write_arms(**CHANGES), as_in_the_paper, reached={("cross", 1): 1})
    measure_arms(bench)
    measure_arm_findings(bench)
    data = read_arms(bench)
    [sentence] = left_out(data)
    assert sentence.startswith("cross: seed 1 has not run to its end (measured up to iteration 1 of 2)")
    assert "over all seeds it is shown up to iteration 1" in sentence
    assert "Not complete: tiny-cross-s1." in arms_summary(data)
    assert data.arm("cross").last == 1 and data.last == 2


def test_a_stop_is_said_with_its_reason(write_arms):
    changes = {**CHANGES, "experiment__stop": ["gap_closed"]}
    bench = fabricate(write_arms(**changes), as_in_the_paper, stops={("gold", 0): 1})
    measure_arms(bench)
    measure_arm_findings(bench)
    [sentence] = left_out(read_arms(bench))
    assert sentence.startswith("gold: seed 0 stopped after iteration 1: The gap is closed.")


def test_a_reference_that_is_not_trained_yet_is_no_comparison(write_arms):
    reached = {("unfiltered", 0): 0, ("unfiltered", 1): 0, ("gold", 0): 0, ("gold", 1): 0}
    bench = fabricate(write_arms(**CHANGES), as_in_the_paper, reached=reached)
    measure_arms(bench)
    measure_arm_findings(bench)
    summary = arms_summary(read_arms(bench))
    words = "; not comparable yet: of training on all of its own responses only iteration 0 is measured; 95 %"
    assert words in summary and "at iteration 0, its" not in summary
    assert summary.endswith("Not complete: 4 experiments.")


def test_one_arm_alone_is_compared_with_nothing(write_arms):
    arms = {"self": {"filter": {"name": "threshold", "verifier": "logit", "threshold": 0.0}}}
    bench = fabricate(write_arms(**CHANGES, arms=arms, reference=None), as_in_the_paper)
    measure_arms(bench)
    measure_arm_findings(bench)
    data = read_arms(bench)
    assert data.reference is None and data.tables["arm_differences"].is_empty()
    assert "against" not in arms_summary(data)


def test_the_assets_leave_the_other_kind_of_study_alone(reported):
    import dagster as dg

    from assets.study import ARM_STAGES, EXPLORATION_STAGES, STAGES, STUDY_ASSETS

    stages = (*STAGES, *ARM_STAGES, *EXPLORATION_STAGES)
    config = {"ops": {name: {"config": {"studies": ["tiny"]}} for name in stages}}
    result = dg.materialize(STUDY_ASSETS, run_config=config)
    assert result.success
    made = [event.asset_key.to_user_string() for event in result.get_asset_materialization_events()]
    assert sorted(made) == ["arm_comparison", "arms_report"]
    [shown] = result.asset_materializations_for_node("arm_comparison")
    assert shown.metadata["self_accuracy"].value.startswith("+0.625 [")
    assert shown.metadata["gold_pass_at_4"].value.startswith("+0.875 [")
    everything = dg.materialize(STUDY_ASSETS)  # none named: all complete ones of each kind
    assert {item.asset_key.to_user_string() for item in everything.get_asset_materialization_events()} == set(stages)
