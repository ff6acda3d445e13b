"""Reinforcement learning through Dagster: its assets, what is skipped beside them, what MLflow and SQL show of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

import assets.exploration
from ops.errors import EngineError
from ops.lab import Lab, named_experiment
from ops.plan import CODE_VERSIONS, EXPLORATION_ASSETS, exploration_asset, make_plan
from ops.stages.policy import train_policy
from ops.storage.query import query
from ops.storage.tracking import Tracker
from orchestration import live_metrics
from orchestration.definitions import build_definitions
from orchestration.instance import prepare_environment
from orchestration.run_tags import tags_of
from orchestration.stale import stale_results_of
from tests.graph.conftest import TINY

STEPS = 3
LOOP_ONLY = ("verifiers", "filter", "iterations", "training")
EXPLORING = {
    **{key: value for key, value in TINY.items() if key not in LOOP_ONLY},
    "name": "explores",
    "problems": {"seed": 0, "train_per_iteration": 4, "eval": 4},
    "sampling": {"n_eval": 4, "max_tokens": 12, "seed": 0},
    "exploration": {
        "steps": STEPS,
        "problems_per_step": 2,
        "responses_per_problem": 4,
        "snapshots": 2,
        "learning_rate": 1e-3,
        "bonus": {"name": "ucb", "coefficient": 0.5},
        "seed": 7,
    },
}
EXPLORED = {exploration_asset(asset) for asset in EXPLORATION_ASSETS}

pytestmark = pytest.mark.slow  # a whole run stands behind them


def write_exploring(folder: Path, **changes: Any) -> Path:
    path = folder / f"{changes.get('name', EXPLORING['name'])}.yaml"
    path.write_text(yaml.safe_dump({**EXPLORING, **changes}))
    return path


def run(name: str, selection: list[str] | None = None, iterations: int = 1) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("experiment", [name])
        job = build_definitions(iterations).resolve_job_def("experiment_job")
        keys = None if selection is None else [dg.AssetKey(item.split("/")) for item in selection]
        return job.execute_in_process(instance=instance, partition_key=name, asset_selection=keys, raise_on_error=False)


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


def children(home: Path, experiment: str = "explores") -> list[Any]:
    """MLflow's runs of reinforcement learning, the oldest first."""
    with Tracker(home)._locked() as client:
        place = client.get_experiment_by_name(experiment)
        wanted = "tags.`mindgap.kind` = 'exploration'"
        return client.search_runs([place.experiment_id], wanted, order_by=["attributes.start_time ASC"])


def steps_of(home: Path, run_id: str, metric: str = "loss") -> list[int]:
    with Tracker(home)._locked() as client:
        return [item.step for item in client.get_metric_history(run_id, metric)]


@dataclass
class Explored:
    """A complete run; after each step of its training, the steps that MLflow showed."""

    home: Path
    result: dg.ExecuteInProcessResult
    shown: dict[int, list[int]] = field(default_factory=dict)


def watched(lab: Lab, shown: dict[int, list[int]]) -> dict[str, Any]:
    """Train, looking into MLflow after every step."""
    live = lab.live

    def told(step: int, numbers: Any) -> None:
        live(step, numbers)
        shown[step] = steps_of(lab.store.home, children(lab.store.home)[-1].info.run_id)

    lab.live = told
    try:
        return train_policy(lab)
    finally:
        lab.live = live


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explored]:
    folder = tmp_path_factory.mktemp("explored")
    (folder / "experiments").mkdir()
    write_exploring(folder / "experiments")
    shown: dict[int, list[int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINDGAP_HOME", str(folder / "home"))
        patch.setenv("MINDGAP_EXPERIMENTS", str(folder / "experiments"))
        patch.setattr(live_metrics, "LIVE_SECONDS", 0.0)
        patch.setattr(live_metrics, "COST_FRACTION", 1e9)
        patch.setattr(assets.exploration, "train_policy", lambda lab: watched(lab, shown))
        prepare_environment()
        yield Explored(folder / "home", run("explores"), shown)


def test_a_run_makes_exploration_and_the_report_and_skips_the_loop(explored) -> None:
    assert explored.result.success
    assert materialized(explored.result) == {"problems", "base_model", "report", *EXPLORED}
    skipped = {event.step_key for event in explored.result.all_events if event.is_step_skipped}
    assert {
        "iteration_0__generations.grade_responses_0",
        "iteration_1__gap_metrics",
        "saturation.fit_curves",
    } <= skipped
    evaluated = {item.asset_check_key.to_user_string() for item in explored.result.get_asset_check_evaluations()}
    assert evaluated == {
        "problems:train_eval_disjoint",
        "base_model:finite_loss",
        "exploration/policy:finite_loss",
        "exploration/rollouts:unparseable_fraction",
        "exploration/evaluation:diversity_holds",
    }


def test_steps_are_in_mlflow_while_the_training_goes_on_each_once(explored) -> None:
    assert explored.shown == {step: list(range(1, step + 1)) for step in range(1, STEPS + 1)}
    [child] = children(explored.home)
    table = query(explored.home, "SELECT step, loss, accuracy FROM policy_steps ORDER BY step")
    with Tracker(explored.home)._locked() as client:
        for name in ("loss", "accuracy"):
            history = [(item.step, item.value) for item in client.get_metric_history(child.info.run_id, name)]
            assert history == list(table.select("step", name).iter_rows())  # none doubled when the table was committed
        parent = client.get_run(child.data.tags["mlflow.parentRunId"])
    assert (child.info.run_name, parent.info.run_name) == ("explores exploration", "explores")
    assert child.info.status == parent.info.status == "FINISHED"


def test_results_and_snapshots_are_in_mlflow(explored) -> None:
    [child] = children(explored.home)
    accuracy = query(explored.home, "SELECT value FROM policy_evaluation WHERE metric = 'accuracy' ORDER BY step")
    assert child.data.metrics["evaluation/accuracy_final"] == pytest.approx(accuracy["value"][-1])
    assert child.data.metrics["training_dynamics/responses"] == STEPS * 2 * 4
    plan = make_plan(named_experiment("explores"))
    with Tracker(explored.home)._locked() as client:
        versions = sorted(client.search_model_versions("name = 'explores'"), key=lambda item: int(item.version))
        found = [(item.tags["mindgap.fingerprint"], item.tags.get("exploration_step")) for item in versions]
        [final] = [item for item in versions if item.tags.get("exploration_step") == str(STEPS)]
        assert final is versions[-1] and final.run_id == child.info.run_id
    assert found == [(plan.policies[step], str(step) if step else None) for step in sorted(plan.policies)]


def test_sql_shows_what_is_current(explored) -> None:
    where = "FROM materializations WHERE experiment = 'explores' AND is_current"
    rows = query(explored.home, f"SELECT asset, table_name, resource, iteration, seed {where} AND asset LIKE '%/%'")
    assert {(row["asset"], row["table_name"], row["resource"]) for row in rows.iter_rows(named=True)} == {
        ("exploration/policy", "models", "gpu"),
        ("exploration/policy", "policy_steps", "gpu"),
        ("exploration/rollouts", "rollouts", "cpu"),
        ("exploration/training_dynamics", "training_dynamics", "gpu"),
        ("exploration/evaluation", "policy_evaluation", "gpu"),
    }
    assert rows["iteration"].null_count() == rows.height
    kind = query(explored.home, "SELECT table_type FROM information_schema.tables WHERE table_name = 'rollouts'")
    assert kind["table_type"].to_list() == ["VIEW"]  # a row per response
    assert query(explored.home, "SELECT count(*) AS n FROM rollouts")["n"].item() == STEPS * 2 * 4


def test_materializations_carry_fingerprints_and_numbers_of_the_gpu(explored) -> None:
    plan = make_plan(named_experiment("explores"))
    events = {item.asset_key.to_user_string(): item for item in explored.result.get_asset_materialization_events()}
    for name in EXPLORED:
        tags = events[name].materialization.tags
        assert tags["dagster/data_version"] == plan.fingerprints[name]
        assert tags["dagster/code_version"] == CODE_VERSIONS[name.rpartition("/")[2]]
    numbers = events["exploration/policy"].materialization.metadata
    assert numbers["responses"].value == STEPS * 2 * 4
    assert numbers["reused"].value is False


def test_a_second_run_reuses_everything_and_logs_nothing(explored) -> None:
    result = run("explores")
    assert result.success and materialized(result) == materialized(explored.result)
    assert all(item.materialization.metadata["reused"].value for item in result.get_asset_materialization_events())
    assert len(children(explored.home)) == 1
    assert stale_results_of(named_experiment("explores"), explored.home) is None


def test_a_training_that_failed_is_shown_up_to_there_and_resumed_in_a_run_with_the_whole_curve(
    explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_exploring(
        explored.home.parent / "experiments", name="resumes", exploration=EXPLORING["exploration"] | {"seed": 8}
    )
    wanted = ["problems", "base_model", "exploration/policy"]
    monkeypatch.setattr(live_metrics, "LIVE_SECONDS", 600.0)  # step 2 waits, and is logged because the step fails

    def fails(lab: Lab) -> dict[str, Any]:
        live = lab.live

        def told(step: int, numbers: Any) -> None:
            live(step, numbers)
            if step == 2:
                raise EngineError("engine", "gone")

        lab.live = told
        return train_policy(lab)

    with monkeypatch.context() as patch:
        patch.setattr(assets.exploration, "train_policy", fails)
        assert not run("resumes", wanted).success
    [first] = children(explored.home, "resumes")
    assert steps_of(explored.home, first.info.run_id) == [1, 2] and first.info.status == "FAILED"
    monkeypatch.setattr(assets.exploration, "train_policy", train_policy)
    assert run("resumes", wanted).success
    _, second = children(explored.home, "resumes")
    losses = query(explored.home, "SELECT step, loss FROM policy_steps WHERE experiment = 'resumes' ORDER BY step")
    with Tracker(explored.home)._locked() as client:
        history = [(item.step, item.value) for item in client.get_metric_history(second.info.run_id, "loss")]
    assert history == list(losses.iter_rows()) and len(history) == STEPS


def test_list_says_what_kind_it_is_and_how_far_it_came(explored) -> None:
    from click.testing import CliRunner

    from orchestration.cli import main

    header, _, row, *_ = CliRunner().invoke(main, ["list"]).output.splitlines()
    assert {"kind", "updates"} <= set(header.split())
    assert row.split()[0] == "explores" and "exploration" in row and "gold, bonus ucb" in row and "4 of 4 assets" in row


def test_its_runs_are_found_by_steps_and_seed(explored) -> None:
    tags = {"mindgap/experiment": "explores", "mindgap/steps": str(STEPS), "mindgap/seed": "7"}
    assert tags_of("explores") == tags


@pytest.mark.parametrize(
    "name", ["iteration_0/generations", "iteration_1/gap_metrics", "iteration_0/model", "saturation"]
)
def test_an_asset_of_the_loop_alone_is_skipped_where_there_is_none(explored, name: str) -> None:
    result = run("explores", [name])
    assert result.success
    assert materialized(result) == set()


def test_exploration_is_skipped_in_a_loop(write_experiment: Callable[..., Path]) -> None:
    write_experiment("tiny")
    for name in sorted(EXPLORED):
        result = run("tiny", [name])
        assert result.success, name
        assert materialized(result) == set(), name


def test_a_training_that_the_model_does_not_allow_is_refused_before_anything_is_drawn(
    write_experiment: Callable[..., Path], lab_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: False)
    settings = {**EXPLORING["exploration"], "precision": "bfloat16"}
    write_exploring(lab_home.parent / "experiments", exploration=settings)
    result = run("explores", ["base_model"])
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "exploration.precision" in failure.user_failure_data.description


def test_another_evaluation_makes_only_that_stale_and_the_run_has_the_whole_curve(explored) -> None:
    write_exploring(explored.home.parent / "experiments", sampling={**EXPLORING["sampling"], "n_eval": 5})
    stale = stale_results_of(named_experiment("explores"), explored.home)
    assert stale.assets == ("exploration/evaluation", "report") and stale.config == ("sampling",)
    result = run("explores", ["exploration/policy", "exploration/evaluation"])
    assert result.success
    reused = {
        event.asset_key.to_user_string(): event.materialization.metadata["reused"].value
        for event in result.get_asset_materialization_events()
    }
    assert reused == {"exploration/policy": True, "exploration/evaluation": False}
    _, child = children(explored.home)  # of this run: it trained nothing, and has the curve of what it evaluated
    assert steps_of(explored.home, child.info.run_id) == list(range(1, STEPS + 1))
