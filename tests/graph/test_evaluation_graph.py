"""Win rates through Dagster: their assets, what is skipped beside them, what new labels cost, what MLflow shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from ops.lab import named_experiment
from ops.plan import CODE_VERSIONS, EVALUATION_ASSETS, evaluation_asset, make_plan
from ops.storage.query import query
from ops.storage.tracking import Tracker
from orchestration.definitions import build_definitions
from orchestration.instance import prepare_environment
from orchestration.partitions import PARTITIONS_NAME
from orchestration.run_tags import tags_of
from orchestration.sensors import stale_results
from orchestration.stale import stale_results_of, why
from tests.evaluation.evaluated import write_rows
from tests.graph.conftest import TINY

MODEL = TINY["model"]
LABELLED = 20
"""Of 32 pairs of each model."""
COMPARING = {
    "name": "compares",
    "hypothesis": "tiny models compared by few labels and many judgements, for tests only",
    "model": MODEL,
    "task": TINY["task"],
    "problems": {"seed": 0, "eval": 16},
    "sampling": {"n_eval": 2, "max_tokens": 16, "seed": 5},
    "statistics": {"resamples": 200},
    "evaluation": {
        "models": [{"model": {**MODEL, "seed": 1}, "label": "b"}, {"model": {**MODEL, "steps": 30}, "label": "c"}],
        "judges": [
            {"name": "bradley_terry", "verifier": {"name": "logit"}, "label": "logit"},
            {"name": "pairwise", "max_tokens": 24},
            {"name": "tuned", "of": "logit", "learning_rate": 1e-3},
        ],
        "labels": {"source": "gold", "count": LABELLED, "seed": 0},
        "missing_judgements": "mean",
    },
}
ASSETS = {evaluation_asset(asset) for asset in EVALUATION_ASSETS}
CHECKS = {
    "evaluation/pairs:pairs_complete",
    "evaluation/pairs:sides_balanced",
    "evaluation/human_labels:annotators_agree",
    "evaluation/human_labels:drawn_at_random",
    "evaluation/synthetic_judgements:unparseable_fraction",
    "evaluation/win_rates:position_bias",
    "evaluation/win_rates:labels_represent_pairs",
    "evaluation/win_rates:judges_save_labels",
}

pytestmark = pytest.mark.slow  # a whole run stands behind them


def write_comparing(folder: Path, *, name: str = "compares", **changes: Any) -> Path:
    """The tiny evaluation with fields below ``evaluation`` replaced."""
    path = folder / f"{name}.yaml"
    fields = {**COMPARING, "name": name, "evaluation": {**COMPARING["evaluation"], **changes}}
    path.write_text(yaml.safe_dump(fields))
    return path


def run(name: str, selection: list[str] | None = None, iterations: int = 1) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("experiment", [name])
        job = build_definitions(iterations).resolve_job_def("experiment_job")
        keys = None if selection is None else [dg.AssetKey(item.split("/")) for item in selection]
        return job.execute_in_process(instance=instance, partition_key=name, asset_selection=keys, raise_on_error=False)


def reused(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Whether it was there already, by materialized asset."""
    events = result.get_asset_materialization_events()
    return {event.asset_key.to_user_string(): bool(event.materialization.metadata["reused"].value) for event in events}


def numbers_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Metadata of one materialization."""
    [found] = [
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key.to_user_string() == asset
    ]
    return {key: item.value for key, item in found.items()}


@dataclass(frozen=True)
class Compared:
    """A complete run with gold labels."""

    home: Path
    result: dg.ExecuteInProcessResult

    @property
    def experiments(self) -> Path:
        return self.home.parent / "experiments"

    @property
    def labels(self) -> Path:
        return self.home.parent / "labels"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    folder = tmp_path_factory.mktemp("compared")
    (folder / "experiments").mkdir()
    (folder / "labels").mkdir()
    write_comparing(folder / "experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDGAP_HOME", str(folder / "home"))
        patch.setenv("MINDGAP_EXPERIMENTS", str(folder / "experiments"))
        patch.delenv("MINDGAP_LABELS", raising=False)
        prepare_environment()
        yield Compared(folder / "home", run("compares"))


def test_a_run_makes_win_rates_and_the_report_and_skips_the_rest(compared) -> None:
    assert compared.result.success
    assert set(reused(compared.result)) == {"problems", "base_model", "report", *ASSETS}
    skipped = {event.step_key for event in compared.result.all_events if event.is_step_skipped}
    assert {
        "iteration_0__generations.grade_responses_0",
        "exploration__policy.register_policy",
        "exploration__rollouts",
        "saturation.fit_curves",
    } <= skipped
    evaluated = {item.asset_check_key.to_user_string() for item in compared.result.get_asset_check_evaluations()}
    assert evaluated == {"problems:train_eval_disjoint", "base_model:finite_loss", *CHECKS}


def test_checks_say_what_they_found(compared) -> None:
    """Hardly trained models prefer a position, if they name one at all."""
    found = {item.asset_check_key.to_user_string(): item for item in compared.result.get_asset_check_evaluations()}
    unreadable = found["evaluation/synthetic_judgements:unparseable_fraction"]
    assert not unreadable.passed and "pairwise" in unreadable.description
    for name in CHECKS - {unreadable.asset_check_key.to_user_string(), "evaluation/win_rates:position_bias"}:
        assert found[name].passed, (name, found[name].description)
    assert "all of 40 labelled pairs" in found["evaluation/human_labels:drawn_at_random"].description


def test_sql_shows_what_is_current(compared) -> None:
    where = "FROM materializations WHERE experiment = 'compares' AND is_current"
    rows = query(compared.home, f"SELECT asset, table_name, resource {where} AND asset LIKE 'evaluation/%'")
    assert {(row["asset"], row["table_name"], row["resource"]) for row in rows.iter_rows(named=True)} == {
        ("evaluation/pairs", "pairs", "gpu"),
        ("evaluation/human_labels", "human_labels", "cpu"),
        ("evaluation/synthetic_judgements", "synthetic_judgements", "gpu"),
        ("evaluation/tuned_judgements", "synthetic_judgements", "gpu"),
        ("evaluation/win_rates", "win_rates", "cpu"),
        ("evaluation/win_rates", "judge_metrics", "cpu"),
        ("evaluation/win_rates", "label_curves", "cpu"),
    }
    counts = query(compared.home, "SELECT judge, count(*) AS n FROM synthetic_judgements GROUP BY judge ORDER BY judge")
    assert counts.rows() == [("logit", 64), ("logit+tuned", 64), ("pairwise", 64)]  # both assets, 2 models of 32 pairs
    labelled = query(compared.home, "SELECT model, count(*) AS n FROM human_labels GROUP BY model ORDER BY model")
    assert labelled.rows() == [("b", LABELLED), ("c", LABELLED)]


def test_the_human_estimate_is_the_mean_of_the_labels(compared) -> None:
    labels = query(compared.home, "SELECT model, avg(label) AS mean FROM human_labels GROUP BY model ORDER BY model")
    rates = query(compared.home, "SELECT model, value FROM win_rates WHERE estimator = 'human' ORDER BY model")
    assert rates["value"].to_list() == pytest.approx(labels["mean"].to_list())


def test_materializations_carry_fingerprints_and_numbers(compared) -> None:
    plan = make_plan(named_experiment("compares"))
    events = {item.asset_key.to_user_string(): item for item in compared.result.get_asset_materialization_events()}
    for name in ASSETS:
        tags = events[name].materialization.tags
        assert tags["dagster/data_version"] == plan.fingerprints[name]
        assert tags["dagster/code_version"] == CODE_VERSIONS[name.rpartition("/")[2]]
    assert numbers_of(compared.result, "evaluation/pairs")["drawn"] == 16 * 2 * 3
    assert numbers_of(compared.result, "evaluation/tuned_judgements")["trained"] >= 2
    for asset in ("pairs", "human_labels", "synthetic_judgements", "tuned_judgements", "win_rates"):
        assert "plot" in numbers_of(compared.result, f"evaluation/{asset}"), asset


def logged(home: Path, experiment: str) -> tuple[Any, Any]:
    """MLflow's latest run of estimates, and its parent."""
    with Tracker(home)._locked() as client:
        place = client.get_experiment_by_name(experiment)
        wanted = "tags.`mindgap.kind` = 'evaluation'"
        child = client.search_runs([place.experiment_id], wanted, order_by=["attributes.start_time DESC"])[0]
        return child, client.get_run(child.data.tags["mlflow.parentRunId"])


def test_estimates_are_in_mlflow_against_the_number_of_labels(compared) -> None:
    where = "model = 'b' AND estimator = 'control_variate' AND judge = 'logit'"
    row = query(compared.home, f"SELECT * FROM win_rates WHERE {where}").row(0, named=True)
    child, parent = logged(compared.home, "compares")
    name = "win_rate/b/control_variate/logit"
    with Tracker(compared.home)._locked() as client:
        [point] = client.get_metric_history(child.info.run_id, name)
    assert point.value == pytest.approx(row["value"]) and point.step == 2 * LABELLED
    assert child.data.metrics[f"{name}_low"] == pytest.approx(row["low"])
    assert "win_rate/b/human" in child.data.metrics and name in parent.data.metrics
    assert child.info.status == parent.info.status == "FINISHED"


def test_a_second_run_reuses_everything(compared) -> None:
    result = run("compares")
    assert result.success and all(reused(result).values())
    assert set(reused(result)) == set(reused(compared.result))
    assert stale_results_of(named_experiment("compares"), compared.home) is None


def test_what_is_announced_is_on_the_page(compared) -> None:
    from click.testing import CliRunner

    from orchestration.cli import main

    said = CliRunner().invoke(main, ["report", "compares"]).output
    assert "the page: plots, where each number comes from" in said
    assert 'id="examples"' not in (compared.home / "reports" / "compares.html").read_text()


def test_list_says_what_kind_it_is_and_what_was_estimated(compared) -> None:
    from click.testing import CliRunner

    from orchestration.cli import main

    header, _, row, *_ = CliRunner().invoke(main, ["list"]).output.splitlines()
    assert "win rates" in header
    assert row.split()[0] == "compares" and " evaluation " in row and "5 of 5 assets" in row
    where = "model = 'b' AND estimator = 'control_variate' AND value IS NOT NULL"
    values = query(compared.home, f"SELECT value FROM win_rates WHERE {where}")["value"]
    assert any(f"b {value:.2f} [" in row for value in values) and "; c " in row


def test_its_runs_are_found_by_estimand_and_seed(compared) -> None:
    tags = {"mindgap/experiment": "compares", "mindgap/estimand": "win_rate", "mindgap/seed": "5"}
    assert tags_of("compares") == tags


def write_labels(compared: Compared, name: str, n: int) -> None:
    """Labels of the first ``n`` pairs of each model, of which no export asked for any."""
    pairs = query(compared.home, f"SELECT * FROM pairs WHERE experiment = '{name}' AND NOT is_identical")
    rows = [
        {
            "pair_id": row["pair_id"],
            "label": float(i % 3 > 0),
            "annotator": "anna",
            "wave": None,
            "stratum": None,
            "comment": None,
        }
        for _, part in sorted(pairs.group_by("model"))
        for i, row in enumerate(part.sort("pair_id").head(n).iter_rows(named=True))
    ]
    (compared.labels / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_new_labels_ask_for_a_run_that_estimates_and_neither_samples_nor_judges_anew(compared) -> None:
    """Without labels there are judgements alone; then labels come, twice."""
    judges = COMPARING["evaluation"]["judges"][:2]
    write_comparing(compared.experiments, name="asks", labels={"source": "file"}, judges=judges)
    first = run("asks")
    assert first.success
    drawn = ("pairs", "synthetic_judgements")  # of the other experiment, that has the same models and judges
    assert {asset: reused(first)[f"evaluation/{asset}"] for asset in drawn} == dict.fromkeys(drawn, True)
    estimators = query(compared.home, "SELECT DISTINCT estimator FROM win_rates WHERE experiment = 'asks'")
    assert estimators["estimator"].to_list() == ["synthetic"]
    assert stale_results_of(named_experiment("asks"), compared.home) is None
    keys = []
    for n in (12, 14):
        write_labels(compared, "asks", n)
        stale = stale_results_of(named_experiment("asks"), compared.home)
        assert stale.assets == ("evaluation/human_labels", "evaluation/win_rates", "report")
        assert "evaluation/human_labels: the file of labels changed" in why(stale)
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(PARTITIONS_NAME, ["asks"])
            (request,) = stale_results(dg.build_sensor_context(instance=instance)).run_requests
        assert request.partition_key == "asks" and request.tags["mindgap/estimand"] == "win_rate"
        keys.append(request.run_key)
        result = run("asks")
        assert result.success
        assert {name for name, value in reused(result).items() if value} == {
            "problems",
            "base_model",
            "evaluation/pairs",
            "evaluation/synthetic_judgements",
            "evaluation/tuned_judgements",
        }
        [human] = query(
            compared.home,
            "SELECT value, n_labelled FROM win_rates WHERE experiment = 'asks' AND estimator = 'human' AND model = 'b'",
        ).rows()
        assert human == (pytest.approx(sum(i % 3 > 0 for i in range(n)) / n), n)
    assert len(set(keys)) == 2
    where = "experiment = 'asks' AND model = 'b' AND estimator = 'control_variate' AND judge = 'logit'"
    [saving] = query(compared.home, f"SELECT saving FROM win_rates WHERE {where}")["saving"]
    metrics = logged(compared.home, "asks")[0].data.metrics
    assert metrics["win_rate/b/control_variate/logit_saving"] == pytest.approx(saving)
    found = {item.asset_check_key.to_user_string(): item for item in result.get_asset_check_evaluations()}
    check = found["evaluation/human_labels:drawn_at_random"]
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN and "28 of 28" in check.description


def test_accuracies_of_the_same_models_are_those_of_their_responses(compared) -> None:
    """Nothing is drawn anew; the reference is one of the models; with all labels the mean is the accuracy itself."""
    write_comparing(
        compared.experiments,
        name="accurate",
        estimand="accuracy",
        judges=COMPARING["evaluation"]["judges"][:1],
        labels={"source": "gold"},
    )
    result = run("accurate")
    assert result.success
    assert numbers_of(result, "evaluation/pairs")["drawn"] == 0
    pairs = query(compared.home, "SELECT model, reference, reference_response FROM pairs WHERE experiment = 'accurate'")
    assert pairs["reference"].null_count() == pairs["reference_response"].null_count() == pairs.height == 3 * 32
    of_this = "WHERE experiment = 'accurate'"
    labels = query(
        compared.home, f"SELECT model, avg(label) AS mean, count(*) AS n FROM human_labels {of_this} GROUP BY model"
    )
    rates = query(compared.home, f"SELECT model, value FROM win_rates {of_this} AND estimator = 'human'")
    means = dict(zip(labels["model"], labels["mean"], strict=True))
    assert len(means) == 3 and set(labels["n"]) == {32}
    assert dict(zip(rates["model"], rates["value"], strict=True)) == pytest.approx(means)


def test_recorded_responses_and_judgements_need_no_model(compared) -> None:
    """Open-ended prompts, 12 of them, each labelled; the judge's scores are the labels but for one."""
    folder = compared.home.parent
    ids = [f"p{i}" for i in range(12)]
    write_rows(folder / "prompts.jsonl", [{"problem_id": name, "problem": f"Write about {name}."} for name in ids])
    wrote = [{"problem_id": i, "model": m, "response": f"{m} wrote of {i}"} for i in ids for m in ("base", "new")]
    write_rows(folder / "responses.jsonl", wrote)
    scores = [{"problem_id": name, "model": "new", "score": float(i % 4 > 0)} for i, name in enumerate(ids)]
    write_rows(folder / "judge.jsonl", scores)
    fields = {
        "name": "wrote",
        "hypothesis": "responses written elsewhere, for tests only",
        "model": {"kind": "recorded", "label": "base"},
        "task": {"name": "open"},
        "problems": {"eval": 12, "eval_file": str(folder / "prompts.jsonl")},
        "statistics": {"resamples": 200},
        "evaluation": {
            "models": [{"label": "new"}],
            "responses": str(folder / "responses.jsonl"),
            "judges": [{"name": "recorded", "path": str(folder / "judge.jsonl")}],
        },
    }
    (compared.experiments / "wrote.yaml").write_text(yaml.safe_dump(fields))
    assert run("wrote").success
    write_labels(compared, "wrote", 10)
    result = run("wrote")
    assert result.success
    assert numbers_of(result, "evaluation/pairs")["drawn"] == 0
    pairs = query(compared.home, "SELECT response, reference_response FROM pairs WHERE experiment = 'wrote'")
    assert set(pairs.rows()) == {(f"new wrote of {i}", f"base wrote of {i}") for i in ids}
    judged = query(compared.home, "SELECT avg(score) AS mean FROM synthetic_judgements WHERE experiment = 'wrote'")
    assert judged["mean"].item() == 9 / 12  # 3 of 12 are 0
    rates = query(compared.home, "SELECT estimator, value, n_labelled FROM win_rates WHERE experiment = 'wrote'")
    human = rates.filter(estimator="human").row(0, named=True)
    assert (human["value"], human["n_labelled"]) == (pytest.approx(6 / 10), 10)  # i % 3 > 0 for 6 of 0..9
    assert {"human", "synthetic", "control_variate"} <= set(rates["estimator"])


@pytest.mark.parametrize(
    "name", ["iteration_0/generations", "iteration_1/gap_metrics", "saturation", "exploration/policy"]
)
def test_an_asset_of_another_kind_alone_is_skipped(compared, name: str) -> None:
    result = run("compares", [name])
    assert result.success
    assert reused(result) == {}


def test_evaluation_is_skipped_in_a_loop_and_in_exploration(
    write_experiment: Callable[..., Path], lab_home: Path
) -> None:
    from tests.graph.test_exploration_graph import write_exploring

    write_experiment("tiny")
    write_exploring(lab_home.parent / "experiments")
    for experiment in ("tiny", "explores"):
        for name in sorted(ASSETS):
            result = run(experiment, [name])
            assert result.success, (experiment, name)
            assert reused(result) == {}, (experiment, name)
