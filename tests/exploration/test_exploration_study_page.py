"""The page of a hand-written study of exploration: every section with its numbers, the files beside it, and what is
said of what is missing. Responses are those of ``test_exploration_study_tables``; training is written here.
"""

from __future__ import annotations

import html
import re

import dagster as dg
import polars as pl
import pytest

from ops.exploration_bench import ExplorationBench
from ops.reporting.dynamics_plots import PER_QUESTION, STEPS
from ops.reporting.exploration_study_curves import read_training, seed_curve
from ops.reporting.exploration_study_data import read_exploration
from ops.reporting.exploration_study_page import css_color
from ops.reporting.exploration_study_settings import read_settings
from ops.reporting.exploration_study_words import study_answer
from ops.stages.exploration_comparison import measure_exploration
from ops.stages.exploration_findings import measure_exploration_findings
from ops.stages.exploration_report import write_exploration_report
from ops.types import StageResult
from tests.exploration.studies import SECOND_TASK, fabricate, of_dynamics
from tests.exploration.test_exploration_study_tables import RESAMPLES, by_hand

HYPOTHESIS = "a bonus for <b>rare</b> answers & many seeds wins pass@k back, for tests only"
NOT_KNOWN = (None, None, None)


def known(value: float) -> tuple[float, float, float]:
    return value, value - 0.1, value + 0.2


def at(
    step: int, metric: str, questions: str, **samplers: tuple[float | None, float | None, float | None]
) -> list[dict]:
    """Rows of one step, at which 8 responses to each of the 4 questions more have been drawn."""
    rows = of_dynamics(metric, questions, **samplers)
    return [{**row, "step": step, "n_responses": 32 * step} for row in rows]


def trained(seed: int) -> list[dict]:
    """Two steps. Of seed 1 no question is unsolved after the second one."""
    both = [(0.25, 0.5, 2.0, 3.0), (0.25, 1.0, 1.0, None)][seed]
    rows = []
    for step, solved, distinct in ((1, both[0], both[2]), (2, both[1], both[3])):
        rows += at(step, "solved_questions", "all", policy=known(solved), base=known(0.25))
        rows += at(step, "distinct_answers", "all", policy=known(3.0), base=known(4.0), policy_minus_base=known(-1.0))
        unsolved = NOT_KNOWN if distinct is None else known(distinct)
        rows += at(step, "distinct_answers", "unsolved", policy=unsolved, base=unsolved)
        for questions, value in (("all", 1.5), ("solved", 1.25), ("unsolved", 1.75)):
            group = {"policy": known(value + seed), "base": known(2.0)}
            rows += at(step, "distinct_answers_per_group", questions, **group)
        rows += at(step, "entropy_nats_correct", "all", policy=known(0.5))
        rows += at(step, "entropy_nats_incorrect", "all", policy=known(0.75))
    return rows


def run_stages(bench: ExplorationBench) -> list[StageResult]:
    return [*measure_exploration(bench), measure_exploration_findings(bench), write_exploration_report(bench)]


@pytest.fixture(scope="module")
def reported(write_shared_exploration) -> ExplorationBench:
    """Written once: figures take seconds."""
    dynamics = {("countdown", arm, seed): trained(seed) for arm in ("vanilla", "ucb") for seed in (0, 1)}
    bench = fabricate(write_shared_exploration(hypothesis=HYPOTHESIS, **RESAMPLES), by_hand, dynamics=dynamics)
    assert not any(result.reused for result in run_stages(bench))
    return bench


@pytest.fixture(scope="module")
def page(reported) -> str:
    return (reported.folder / "index.html").read_text()


def text_of(page: str) -> str:
    """What a reader sees, without figures."""
    words = re.sub(r"<svg.*?</svg>|<style.*?</style>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", words)).split())


def row_of(page: str, table: str, first: str) -> list[str]:
    """Cells of the row that begins with these words, in the first table behind an id."""
    part = page[page.index(f'id="{table}"') :]
    rows = (re.findall(r"<td.*?</td>", row, flags=re.S) for row in re.findall(r"<tr.*?</tr>", part, flags=re.S))
    cells = ([text_of(cell) for cell in row] for row in rows)
    return next(row for row in cells if row and row[0].removeprefix("● ") == first)


def test_one_self_contained_page(page):
    assert "Content-Security-Policy" in page and "default-src 'none'" in page
    allowed = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not set(re.findall(r"https?://[^\"'\s<>)]+", page)) - allowed
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page and "var(--series-1, #d55e00)" in page
    assert "&lt;b&gt;rare&lt;/b&gt; answers &amp; many" in page and "<b>rare" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("<svg") == page.count("<figure") == 4


def test_sections_in_their_order(page):
    wanted = ["findings", "passed", "curves", "sampling", "groups", "entropy", "settings", "provenance"]
    assert re.findall(r'<h2 id="([^"]+)"', page) == wanted
    assert all(f'href="#{name}"' in page for name in wanted)
    text = text_of(page)
    assert text.index("Hypothesis.") < text.index("On countdown, against the base model") < text.index("finding task")


def test_the_answer_has_its_numbers(reported, page):
    # by problem, mean of the seeds: vanilla minus base pass@1 1/2, 0, 1/4, pass@2 0; ucb minus vanilla pass@2 0, 1, 0
    answer = study_answer(read_exploration(reported))
    assert answer == (
        "On countdown, against the base model, pass@1 did not change measurably (+.250 [.000, +.500]) and pass@2 did "
        "not change measurably (.000 [.000, .000]) with vanilla, and ucb does not lie measurably above it at pass@2 "
        "(+.333 [.000, +1.000]) (95 % intervals over problems, paired, means over 2 seeds; what rose, fell or lies "
        "above does so by the intervals over problems and over seeds alike)."
    )
    assert answer in text_of(page)


def test_the_talks_table_and_its_differences(page):
    # base (1/2 + 0 + 1/2) / 3; vanilla 1/2 and 2/3; ucb 2/3 and 1/2
    assert row_of(page, "passed", "base")[1:3] == [".333 ± .000", ".667 ± .000"]
    assert row_of(page, "passed", "vanilla")[1:] == [".583 ± .083", ".667 ± .000", "no bonus"]
    assert row_of(page, "passed", "ucb")[1:] == [".583 ± .083", "1.000 ± .000", "bonus ucb (coefficient 0.2)"]
    differences = page[page.index("<h3>Differences") :].replace("<h3>Differences", '<h3 id="here">Differences', 1)
    vanilla, ucb = (row_of(differences, "here", arm) for arm in ("vanilla", "ucb"))
    # t of one degree of freedom: .25 ± 12.706 · .083
    seeds = "seeds [−.809, +1.309], SE .083, 2 seeds", "seeds [.000, .000], SE .000, 2 seeds"
    assert vanilla[1:] == [f"+.250 [.000, +.500] {seeds[0]}", f".000 [.000, .000] {seeds[1]}", "–", "–"]
    # ucb minus vanilla at k = 1: seed 0 gains 1/6, seed 1 loses 1/6
    assert ucb[3].startswith(".000 [") and ucb[3].endswith("SE .167, 2 seeds")
    assert ucb[4] == "+.333 [.000, +1.000] seeds [+.333, +.333], SE .000, 2 seeds"


def test_published_numbers_are_marked_as_others(page):
    part = text_of(page[page.index("Published, of other models") : page.index('<h2 id="curves"')])
    assert "Not measured here." in part and "Llama-3.1-8B-Instruct on MATH" in part
    for words in ("vanilla (GRPO) .215 .395 2.279 4.805 2.883", "OBE / UCB .233 .425 – – –", "Mean .233 .414 – – –"):
        assert words in part
    for words in ("Con .228 .417 2.272 4.855 2.926", "Batch .238 .426 2.284 5.390 3.230"):
        assert words in part


def test_findings_with_outcome_and_evidence(page):
    rows = {name: row_of(page, "findings", name) for name in ("7a", "7b.ucb", "7c.ucb", "7d")}
    assert all(row[3] in ("holds", "does not hold", "undecided") and "vanilla" in row[4] for row in rows.values())
    assert rows["7b.ucb"][3] == "undecided" and "+.333 [.000, +1.000]" in rows["7b.ucb"][4]


def test_training_against_the_base_model(page):
    # solved questions of the seeds: .5 and 1.0; standard error sqrt(2 (.25)^2 / 1) / sqrt(2) = .25
    row = row_of(page, "sampling", "vanilla")
    assert row[1:4] == [".750 ± .250", ".250 ± .000", "–"]
    assert row[4:7] == ["3.000 ± .000", "4.000 ± .000", "−1.000 ± .000"]
    assert row[7] == "3.000 [2.900, 3.200]"  # of seed 0 alone
    # distinct answers per group: 1.5 and 2.5
    assert row_of(page, "groups", "vanilla")[1:3] == ["2.000 ± .500", "2.000 ± .000"]


def test_curves_over_seeds(reported):
    training = read_training(reported)
    of = (training, "countdown", "vanilla", "policy")
    curve = seed_curve(*of, "solved_questions", x=PER_QUESTION)
    assert curve.x == [8.0, 16.0] and curve.value == pytest.approx([0.25, 0.75]) and curve.label == "vanilla"
    assert curve.low == pytest.approx([0.25, 0.5]) and curve.high == pytest.approx([0.25, 1.0])
    unsolved = seed_curve(*of, "distinct_answers", "unsolved", x=STEPS)
    assert (unsolved.x, unsolved.value) == ([1.0], [1.5])  # at step 2 seed 1 has none: no mean of another set of seeds
    assert unsolved.low == pytest.approx([1.0]) and unsolved.high == pytest.approx([2.0])
    base = seed_curve(training, "countdown", "vanilla", "base", "solved_questions", x=STEPS)
    assert base.is_base and base.value == [0.25, 0.25]
    alone = seed_curve(training.filter(seed=0), "countdown", "vanilla", "policy", "solved_questions", x=STEPS)
    assert alone.low == pytest.approx([0.15, 0.4]) and alone.high == pytest.approx([0.45, 0.7])
    assert seed_curve(*of, "response_tokens", x=STEPS).value == []


def test_an_arm_has_one_colour_in_all_figures(reported, page):
    data = read_exploration(reported)
    colors = [css_color(data, arm) for arm in ("base", "vanilla", "ucb")]
    assert colors == ["#767677", "var(--series)", "var(--series-1, #d55e00)"]
    for figure in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        assert all(color in figure for color in colors[1:])


def test_settings_say_what_is_common_and_what_differs(reported, page):
    settings = read_settings(reported)
    assert settings.common["exploration.learning_rate"] == "0.001" and settings.tasks == {}
    assert settings.seeded == {"exploration.seed": ("0", "1"), "sampling.seed": ("0", "1")}
    assert settings.of_arm("ucb")["exploration.bonus.name"] == {"countdown": "ucb"}
    assert settings.of_arm("vanilla") == {"exploration.bonus.name": {"countdown": "none"}}
    text = text_of(page[page.index('<h2 id="settings"') :])
    assert "exploration.bonus.coefficient 0.2" in text and "exploration.seed differs by seed: 0, 1." in text


def test_provenance_and_every_table_beside_the_page(reported, page):
    for name in reported.labs:
        assert f"<summary>{name}: task countdown, arm {name.split('-')[2]}, seed {name[-1]}</summary>" in page
    assert all(fingerprint in page for fingerprint in reported.fingerprints.values())
    tables = {path.stem for path in reported.folder.glob("*.csv")}
    assert tables == {path.stem for path in reported.folder.glob("*.parquet")}
    assert tables == {"exploration_metrics", "exploration_differences", "findings", "training_dynamics"}
    for name in tables:
        frame = pl.read_parquet(reported.folder / f"{name}.parquet")
        assert pl.read_csv(reported.folder / f"{name}.csv").height == frame.height > 0
        assert f"{name} ({frame.height:,} rows)" in text_of(page)
    figures = {path.stem for path in reported.folder.glob("*.png")}
    assert figures == {"exploration", "pass_over_steps", "sampling_countdown", "token_entropy"}


@pytest.mark.slow
def test_the_same_study_gives_the_same_bytes_and_a_removed_page_comes_back(reported):
    names = ("index.html", "exploration.png", "exploration_metrics.csv")
    before = [(reported.folder / name).read_bytes() for name in names]
    (reported.folder / "index.html").unlink()
    again = write_exploration_report(ExplorationBench.open("tiny"))
    assert again.reused and [(reported.folder / name).read_bytes() for name in names] == before


def test_the_asset_shows_the_page(reported):
    from assets.study import exploration_report

    config = {"ops": {"exploration_report": {"config": {"studies": ["tiny"]}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([exploration_report], instance=instance, run_config=config)
    [event] = result.get_asset_materialization_events()
    metadata = {name: str(value.value) for name, value in event.materialization.metadata.items()}
    assert metadata["report"].startswith("file://") and metadata["report"].endswith("studies/tiny/index.html")
    assert metadata["answer"].startswith("On countdown") and "plot" in metadata


@pytest.mark.slow
def test_an_incomplete_study_says_what_is_missing(write_exploration):
    """Nothing of sums is measured but the reference arm, and no training at all is known."""
    missing = [("sums", "ucb", 0), ("sums", "ucb", 1), ("countdown", "ucb", 1)]
    bench = fabricate(write_exploration(tasks__sums=SECOND_TASK, **RESAMPLES), by_hand, without=missing)
    run_stages(bench)
    page = (bench.folder / "index.html").read_text()
    text = text_of(page)
    assert "5 experiments measured, 3 not complete" in text
    named = "tiny-countdown-ucb-s1, tiny-sums-ucb-s0, tiny-sums-ucb-s1"
    assert f"Not complete: {named}." in text and "3 experiments are not complete" in text
    assert row_of(page, "passed", "ucb")[1:5] == [".667 (1 of 2 seeds)", "1.000 (1 of 2 seeds)", "–", "–"]
    assert text.count("Not measured: no experiment has what this figure is made of yet.") == 3
    assert row_of(page, "sampling", "vanilla")[1:] == ["–"] * 9
    assert not (bench.folder / "token_entropy.png").exists()
