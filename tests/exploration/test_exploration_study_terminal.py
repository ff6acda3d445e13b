"""What a study of exploration shows: its data, the talk's table on the terminal, and its asset in Dagster."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.study import exploration_comparison
from ops.exploration_bench import ExplorationBench
from ops.reporting.exploration_study_data import ExplorationData, read_exploration
from ops.reporting.exploration_study_table import terminal_exploration
from ops.stages.exploration_comparison import measure_exploration
from ops.stages.exploration_findings import measure_exploration_findings
from ops.storage.query import query
from ops.study_files import load_any_study
from tests.exploration.studies import SECOND_TASK, fabricate
from tests.exploration.test_exploration_study_findings import RIGHT, TWELVE
from tests.reporting.test_the_page_of_iterations import printed

LESS = {
    **TWELVE,
    "arms": {name: TWELVE["arms"][name] for name in ("vanilla", "wins", "poor")},
    "tasks__sums": SECOND_TASK,
}


def right(task: str, arm: str, seed: int, step: int) -> list[int]:
    """On sums nothing changes with training, except that seed 1 of the reference solves one problem less."""
    if task == "countdown":
        return RIGHT[arm]
    return [0, *RIGHT["base"][1:]] if (arm, seed) == ("vanilla", 1) else RIGHT["base"]


@pytest.fixture(scope="module")
def bench(write_shared_exploration) -> ExplorationBench:
    """Without the arm poor on sums: its cells are empty there."""
    missing = [("sums", "poor", 0), ("sums", "poor", 1), ("sums", "wins", 1)]
    found = fabricate(write_shared_exploration(**LESS), right, without=missing)
    measure_exploration(found)
    measure_exploration_findings(found)
    return found


@pytest.fixture(scope="module")
def data(bench) -> ExplorationData:
    return read_exploration(bench)


def shown(data: ExplorationData) -> str:
    return printed(terminal_exploration(data), 160)


def test_the_talks_table(data):
    text = shown(data)
    lines = {line.split()[0]: line.split()[1:] for line in text.split("What arXiv")[0].splitlines() if "±" in line}
    # countdown: pass@1 .5 of all but wins (6 + 3) / 12 and poor 3 / 12; pass@2 1, .5, 1, .5; ▲ ▼ against vanilla
    # sums: pass@1 .5 and pass@2 1; seed 1 of vanilla has one problem of twelve less: (12 + 11) / 24 = .479 ± 1/48 and
    # .958 ± 1/24, which no interval tells from the others
    assert lines["base"] == [".500", "±", ".000", "1.000", "±", ".000", "▲", ".500", "±", ".000", "1.000", "±", ".000"]
    assert lines["vanilla"] == [".500", "±", ".000", ".500", "±", ".000", ".479", "±", ".021", ".958", "±", ".042"]
    assert lines["wins"][:8] == [".750", "±", ".000", "▲", "1.000", "±", ".000", "▲"]
    assert lines["wins"][8:] == [".500", "(1", "of", "2", "seeds)", "1.000", "(1", "of", "2", "seeds)"]
    assert lines["poor"] == [".250", "±", ".000", "▼", ".500", "±", ".000", "–", "–"]
    assert text.index("base") < text.index("vanilla") < text.index("wins") < text.index("poor")
    assert "pass@1" in text and "pass@2" in text and "Mean of 2 seeds ± standard error over seeds" in text
    assert "both 95 % intervals of the difference to vanilla" in " ".join(text.split())
    # countdown: 7a, 7d and two each of wins and poor; sums without poor
    assert "10 decisions, not adjusted for their number" in text
    assert "sums: arithmetic/a, 2 steps, 12 problems × 2 responses." in " ".join(text.split())
    assert "Not complete: tiny-countdown" not in text and "tiny-sums-wins-s1" in text
    assert "model organisms" in text


def test_findings_follow(data):
    text = shown(data).split("What arXiv")[1]
    rows = [line.split() for line in text.splitlines() if line.strip().startswith("7")]
    assert [row[:2] for row in rows][:4] == [
        ["7a", "countdown"],
        ["7b.wins", "countdown"],
        ["7b.poor", "countdown"],
        ["7c.wins", "countdown"],
    ]
    assert "holds" in rows[0] and "−.500" in rows[0]


def test_the_data_of_the_page(data):
    task = data.task("countdown")
    assert (task.ks, task.shown_ks, task.steps, task.n_problems, task.n_responses) == ((1, 2), [1, 2], 2, 12, 2)
    assert task.arms == ("vanilla", "wins", "poor") and data.task("sums").arms == ("vanilla", "wins")
    assert data.arms["vanilla"] == "no bonus" and data.arms["wins"] == "bonus batch (coefficient 0.1)"
    curve = data.curve("countdown", "wins", "pass_at_k", 1)
    assert {step: cell.interval.value for step, cell in curve.items()} == pytest.approx({0: 0.5, 2: 0.75})
    lines = data.lines("sums", "vanilla", "pass_at_k", 2)
    assert {seed: found[2].value for seed, found in lines.items()} == pytest.approx({0: 1.0, 1: 11 / 12})
    assert set(data.lines("sums", "wins", "pass_at_k", 2)) == {0}
    assert data.by_seed("sums", "vanilla", "pass_at_k", 2)[1].value == pytest.approx(11 / 12)
    assert data.difference("countdown", "poor", "vanilla", "pass_at_k", 1).interval.value == pytest.approx(-0.25)
    assert data.difference("sums", "poor", "vanilla", "pass_at_k", 1) is None
    assert data.cell("countdown", "wins", "distinct_answers", questions="unsolved") is None
    assert data.experiments["tiny-sums-wins-s0"] == ("sums", "wins", 0) and data.seeds == [0, 1]
    assert {row.asset for row in data.provenance["tiny-sums-wins-s0"]} >= {"problems", "exploration/evaluation"}


def test_a_single_seed_has_no_standard_error(write_exploration):
    bench = fabricate(write_exploration(**{**TWELVE, "seeds": [0]}), right)
    measure_exploration(bench)
    measure_exploration_findings(bench)
    text = shown(read_exploration(bench))
    assert "±" not in text and "seeds" not in text.split("What arXiv")[0]
    assert "▲" not in text and "▼" not in text and "One seed says nothing of other trainings" in text
    assert not {"holds", "does not hold"} & {row["outcome"] for row in rows_of(bench)}


def rows_of(bench: ExplorationBench) -> list[dict]:
    return bench.store.read("findings", bench.fingerprints["findings"]).rows(named=True)


def test_marks_need_seeds_that_agree(write_exploration):
    # pass@2 of wins: 12 of 12 with seed 0, 7 of 12 with seed 1; vanilla 6 with both: +.5 and +1/12, 7/24 ± 12.7 * 5/24
    less = [2] * 6 + [1] + [0] * 5
    path = write_exploration(**TWELVE)
    bench = fabricate(path, lambda task, arm, seed, step: less if (arm, seed) == ("wins", 1) else RIGHT[arm])
    measure_exploration(bench)
    measure_exploration_findings(bench)
    data = read_exploration(bench)
    at = ("countdown", "wins", "vanilla", "pass_at_k", 2)
    assert data.difference(*at).interval.low > 0 and data.side(*at) == 0
    seeds = data.seed_interval(*at)
    assert (seeds.low, seeds.high) == pytest.approx((-2.3555, 2.9388), abs=1e-3)
    assert data.side("countdown", "vanilla", "base", "pass_at_k", 2) == -1
    assert data.side("countdown", "absent", "vanilla", "pass_at_k", 2) == 0
    [line] = [line for line in shown(data).splitlines() if line.split()[:1] == ["wins"]]
    assert "▲" not in line


def test_the_asset_measures_the_named_study_and_leaves_the_others(bench, tmp_path):
    """Also the arms' assets leave a study of exploration alone."""
    from assets.study import arm_comparison

    config = {"config": {"studies": ["tiny"]}}
    run_config = {"ops": {"exploration_comparison": config, "arm_comparison": config}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([exploration_comparison, arm_comparison], instance=instance, run_config=run_config)
    [event] = result.get_asset_materialization_events()
    assert event.asset_key == dg.AssetKey("exploration_comparison")
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert metadata["countdown 7a"] == "holds" and metadata["studies"] == "tiny"
    found = query(bench.store.home, "SELECT DISTINCT arm FROM exploration_metrics WHERE experiment = 'tiny'")
    assert set(found["arm"]) == {"base", "vanilla", "wins", "poor"}


def test_the_command_shows_it(bench, capsys):
    from orchestration.cli_study import show_study

    show_study(load_any_study(bench.loaded.where))
    text = capsys.readouterr().out
    assert "pass@k of the trained policies" in text and "7b.wins" in text
    assert "FROM findings WHERE experiment = 'tiny'" in text
