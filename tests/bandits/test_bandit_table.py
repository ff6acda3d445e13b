"""The table, its intervals, the page, the command and the asset."""

from __future__ import annotations

import inspect
import re

import dagster as dg
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from assets.bandits import BanditConfig, bandit_regret
from ops.bandits import LEARNERS
from ops.bandits.settings import Bandits, bandit_settings
from ops.bandits.simulate import Curves
from ops.errors import ExperimentError
from ops.estimation.bootstrap import resample_counts
from ops.stages.bandits import bandit_fingerprint, bandit_page_path, measure_bandits, regret_rows, simulate_bandits
from ops.storage.catalog import rebuild_catalog
from ops.storage.query import query
from ops.storage.schemas import COLUMNS
from ops.storage.store import Store
from orchestration.cli import main

SMALL = dict(arms=(4, 12), outcomes=3, gaps=(0.2, 0.4), rounds=200, runs=10, batch=2, resamples=200)
FLAGS = ["-k", "4", "-k", "12", "-m", "3", "--gap", ".2", "--gap", ".4", "-t", "200", "-r", "10", "--batch", "2"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINDGAP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINDGAP_EXPERIMENTS", str(tmp_path / "experiments"))
    monkeypatch.setenv("MINDGAP_STUDIES", str(tmp_path / "studies"))
    (tmp_path / "experiments").mkdir()
    return tmp_path / "home"


def rows_of(regret: np.ndarray | list[list[list[float]]], **settings) -> pl.DataFrame:
    """``regret_rows`` of [G, R, Q] numbers; Q data sets side by side where there are more than two rounds."""
    values = np.array(regret, dtype=float)
    n_gaps, n_runs, n_rounds = values.shape
    chosen = Bandits(runs=n_runs, gaps=(0.1, 0.2, 0.4)[:n_gaps], **settings)
    distinct = np.full(values.shape, 2) + np.arange(n_gaps)[:, None, None]
    distinct[:, : chosen.choosing_runs] = 99  # must not count
    round_q = np.array([10, 100]) if n_rounds == 2 else np.arange(10, 10 + n_rounds)
    return regret_rows("outcome_ucb", LEARNERS["outcome_ucb"], Curves(round_q, values, distinct), 50, chosen)


def coverage(rows: pl.DataFrame, expected: float) -> float:
    """Share of the rows whose interval holds the number."""
    return rows.select((pl.col("regret_low") <= expected) & (pl.col("regret_high") >= expected)).to_series().mean()


def largest_mean(regret: np.ndarray) -> pl.DataFrame:
    """The plain way, for comparison: the largest mean of all runs, and the percentiles of the largest resampled one."""
    mean_gq = regret.mean(axis=1)
    counts = resample_counts(regret.shape[1], 1000, 0)
    draws_bq = np.stack([counts @ regret_rq / len(regret_rq) for regret_rq in regret]).max(axis=0)
    low_q, high_q = np.quantile(draws_bq, [0.025, 0.975], axis=0)
    return pl.DataFrame({"regret": mean_gq.max(axis=0), "regret_low": low_q, "regret_high": high_q})


def test_half_of_the_runs_choose_the_worst_gap_and_the_others_are_measured_by_hand():
    # Four runs, the first two choose: means 2 and 1 at round 10, 3 and 6 at round 100. So gap .1, then .2, though the
    # other two runs would say the opposite: 5 and 7 at round 10, 9 and 2 at round 100. Those give 5 and 2.
    rows = rows_of([[[1, 2], [3, 4], [4, 9], [6, 9]], [[1, 5], [1, 7], [7, 1], [7, 3]]])
    first, second = rows.iter_rows(named=True)
    assert (first["round"], first["gap"], first["regret"], first["distinct_outcomes"]) == (10, 0.1, 5.0, 2.0)
    assert (second["round"], second["gap"], second["regret"], second["distinct_outcomes"]) == (100, 0.2, 2.0, 3.0)
    assert first["n_runs"] == second["n_runs"] == 2
    # Two runs give the resampled means 4, 5 and 6 of the first gap, 1, 2 and 3 of the second.
    assert (first["regret_low"], first["regret_high"], second["regret_low"], second["regret_high"]) == (4, 6, 1, 3)
    assert first["bound"] == pytest.approx(np.sqrt(10 * 10 * np.log(10))) and first["n_arms"] == 50


def test_one_gap_needs_no_choice_so_every_run_counts():
    [row, _] = rows_of([[[1, 2], [3, 4], [8, 9]]]).iter_rows(named=True)
    assert (row["gap"], row["n_runs"], row["regret"], row["distinct_outcomes"]) == (0.1, 3, 4.0, 2.0)


@pytest.mark.parametrize(("ties", "plain_coverage", "plain_excess"), [(2, 0.92, 0.04), (3, 0.8, 0.07)])
def test_intervals_cover_where_gaps_tie(ties, plain_coverage, plain_excess):
    # Expected regret 5 at every gap; 600 data sets of 100 runs of exponential numbers, skewed as regret is. Standard
    # errors: of a coverage 1.1 %; of the mean of 600 regrets of 50 runs, 5 / sqrt(50) / sqrt(600) = .029.
    regret = np.random.default_rng(ties).exponential(5.0, (ties, 100, 600))
    rows, plain = rows_of(regret), largest_mean(regret)
    assert 0.89 <= coverage(rows, 5.0) <= 0.98  # 95 % asked; percentiles of 50 skewed runs give a little less
    assert rows["regret"].mean() == pytest.approx(5.0, abs=0.1)
    assert set(rows["gap"]) == {0.1, 0.2, 0.4} - ({0.4} if ties == 2 else set())
    # The data would show the fault: the largest of the means is too large, and its percentiles cover too rarely.
    assert coverage(plain, 5.0) < plain_coverage and plain["regret"].mean() > (1 + plain_excess) * 5.0


@pytest.mark.parametrize("means", [(5.0, 2.0, 1.0), (5.0, 4.5, 4.0)])
def test_intervals_cover_the_regret_of_the_gap_that_was_chosen(means):
    # Clear and not so clear: where the choice is sometimes wrong, the row says of which gap it speaks.
    noise = np.random.default_rng(7).exponential(1.0, (3, 100, 600))
    rows = rows_of(noise * np.array(means)[:, None, None])
    expected = rows["gap"].replace_strict(dict(zip((0.1, 0.2, 0.4), means, strict=True)), return_dtype=pl.Float64)
    covered = (rows["regret_low"] <= expected) & (rows["regret_high"] >= expected)
    assert 0.89 <= covered.mean() <= 0.98
    assert (rows["regret"] - expected).mean() == pytest.approx(0.0, abs=0.1)
    right = (rows["gap"] == 0.1).mean()
    assert right == 1.0 if means[1] < 4 else 0.5 < right < 1.0


def test_the_table_has_every_algorithm_at_every_k():
    frame = measure_bandits(Bandits(**SMALL))
    assert frame.columns == list(COLUMNS["bandit_regret"])
    assert set(frame.select("algorithm", "n_arms").rows()) == {(name, k) for name in LEARNERS for k in (4, 12)}
    assert frame["round"].max() == 200 and (frame["regret_low"] <= frame["regret"]).all()
    assert (frame["regret"] <= frame["regret_high"]).all() and (frame["regret"] <= 0.4 * frame["round"]).all()
    missing = frame.filter(pl.col("bound").is_null())["algorithm"].unique().to_list()
    assert sorted(missing) == ["batch", "greedy"]
    assert frame.equals(measure_bandits(Bandits(**SMALL)))


@pytest.mark.slow
def test_it_is_computed_once_and_a_removed_page_comes_back(home):
    settings, store = Bandits(**SMALL), Store(home)
    first = simulate_bandits(settings, store)
    page = bandit_page_path(home, "bandits")
    text = page.read_text(encoding="utf-8")
    assert not first.reused and first.n_rows == store.read("bandit_regret", first.fingerprint).height
    assert first.metadata["path"] == "reports/bandits/bandits.html" and (home / first.metadata["plot"]).is_file()
    assert first.fingerprint in text and text.count("<svg") == 2 and "NaN" not in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)  # names of XML, nothing that is fetched
    assert "color-scheme" in text and all(f"{name}</td>" in text for name in LEARNERS)
    page.unlink()
    again = simulate_bandits(settings, store, progress=lambda *_: pytest.fail("computed again"))
    assert again.reused and page.read_text(encoding="utf-8") == text
    other = simulate_bandits(settings.model_copy(update={"name": "other"}), store)
    assert other.reused and bandit_page_path(home, "other").is_file()  # the name is no part of the identity
    rebuild_catalog(home)
    found = query(home, "SELECT experiment, count(*) AS n FROM bandit_regret GROUP BY ALL ORDER BY ALL")
    assert found["experiment"].to_list() == ["bandits", "other"] and found["n"].n_unique() == 1


def test_identity_is_made_of_every_setting_but_the_name():
    base = Bandits(**SMALL)
    assert bandit_fingerprint(base) == bandit_fingerprint(base.model_copy(update={"name": "x"}))
    changes = dict(
        arms=(4,), outcomes=4, class_sizes="zipf", gaps=(0.2,), rounds=300, runs=11,
        batch=3, batch_weight=0.5, confidence=0.9, resamples=300, seed=1,
    )  # fmt: skip
    assert set(changes) | {"name"} == set(Bandits.model_fields)
    prints = {bandit_fingerprint(base.model_copy(update={field: value})) for field, value in changes.items()}
    assert len(prints | {bandit_fingerprint(base)}) == len(changes) + 1


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"arms": [5], "outcomes": 8}, "arms", "expected at least one for each of 8 outcomes, got 5"),
        ({"gaps": [0.7]}, "gaps[0]", "at most 0.5"),
        ({"gaps": [0.2, 0.2]}, "gaps", "twice"),
        ({"class_sizes": "even"}, "class_sizes", "needle"),
        ({"runs": 3}, "runs", "at least 4, as half of them choose the worst gap, got 3"),
        ({"round": 100}, "round", "rounds"),
    ],
)
def test_wrong_settings_are_told_by_field(values, field, words):
    with pytest.raises(ExperimentError) as caught:
        bandit_settings(values)
    assert caught.value.field == field and words in caught.value.problem and caught.value.remedy


def test_a_name_that_an_experiment_has_is_refused(home, tmp_path):
    (tmp_path / "experiments" / "demo.yaml").write_text("name: demo\n")
    with pytest.raises(ExperimentError, match=r"demo\.yaml has that name already"):
        simulate_bandits(Bandits(**SMALL, name="demo"), Store(home))
    assert not home.exists()


def test_the_command_prints_a_table_and_where_the_page_is(home):
    done = CliRunner().invoke(main, ["bandits", *FLAGS])
    assert done.exit_code == 0, done.output
    page = bandit_page_path(home, "bandits")
    assert page.is_file() and str(page) in done.output and "(10 rows)" in done.output
    found = query(home, "SELECT DISTINCT algorithm FROM bandit_regret WHERE experiment = 'bandits'")
    assert set(found["algorithm"]) == set(LEARNERS) and all(name in done.output for name in LEARNERS)
    wrong = CliRunner().invoke(main, ["bandits", "--arms", "3", "--outcomes", "5"])
    assert wrong.exit_code == 2 and "bandits: arms: expected" in wrong.output


def test_the_help_of_the_command_says_the_defaults():
    text = " ".join(CliRunner().invoke(main, ["bandits", "--help"]).output.split())
    default = Bandits()
    assert f"default {default.arms[0]} to {default.arms[-1]}." in text
    assert f"m; default {default.outcomes}." in text and f"{default.class_sizes} (default;" in text
    assert f"default {' '.join(f'{gap:g}'.lstrip('0') for gap in default.gaps)}, the worst" in text
    assert f"run; default {default.rounds}." in text and f"Runs; default {default.runs}." in text
    assert f"batch; default {default.batch}." in text and f"penalty; default {default.batch_weight:g}." in text
    assert f"Default {default.seed}." in text and f"default {default.name}." in text


@pytest.mark.slow
def test_the_asset_writes_the_same_table(home):
    config = BanditConfig(**{key: list(value) if isinstance(value, tuple) else value for key, value in SMALL.items()})
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.RunConfig(ops={"bandit_regret": config})
        done = dg.materialize([bandit_regret], run_config=run, instance=instance)
        [event] = done.get_asset_materialization_events()
        metadata = event.materialization.metadata
        assert metadata["fingerprint"].value == bandit_fingerprint(Bandits(**SMALL))
        assert metadata["plot"].value.startswith("![") and "[" in metadata["regret of outcome_ucb"].value
        wrong = dg.RunConfig(ops={"bandit_regret": BanditConfig(outcomes=1)})
        failed = dg.materialize([bandit_regret], run_config=wrong, instance=instance, raise_on_error=False)
        assert not failed.success
    frame = query(home, "SELECT * FROM bandit_regret")
    assert frame.height == measure_bandits(Bandits(**SMALL)).height and set(frame["experiment"]) == {"bandits"}


def test_the_config_of_the_asset_has_the_settings_and_their_defaults():
    assert bandit_settings(BanditConfig().model_dump()) == Bandits()
    assert set(BanditConfig.model_fields) == set(Bandits.model_fields)


def test_every_algorithm_states_its_assumption_in_its_own_file():
    for name, kind in LEARNERS.items():
        assert inspect.getmodule(kind).__name__ == f"ops.bandits.{name}" and kind.__doc__
