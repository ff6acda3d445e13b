"""An experiment with fewer iterations than the graph: complete without the rest, skipped and never failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from assets import verification_study
from ops.lab import Lab
from ops.plan import CODE_VERSIONS, asset_name, measures
from ops.types import StageResult
from orchestration import checks, loop_checks
from orchestration.definitions import build_definitions

GRAPH_ITERATIONS = 3
CPU_STAGES = {
    "generations": "grade_responses",
    "verification_scores": "collect_scores",
    "gap_metrics": "measure_gap",
    "diversity_metrics": "measure_diversity",
    "policy_shift": "measure_policy_shift",
    "iteration_changes": "measure_changes",
    "stopping_rules": "judge_rules",
    "selection_metrics": "measure_selection",
    "finetune_data": "select_finetune_data",
    "model": "register_model",
}
GPU_STAGES = {
    "generations": "sample_responses",
    "verification_scores": "verify_responses",
    "policy_shift": "read_under_base",
    "model": "finetune_model",
}


def _result(lab: Lab, asset: str, iteration: int | None) -> StageResult:
    name = asset_name(asset, iteration)
    return StageResult(name, lab.experiment.name, lab.plan.fingerprints[name], True, 1, 0.0, {"accuracy": 0.5})


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages that only write down that they ran; everything around them is real."""
    ran: list[str] = []

    def cpu(asset: str) -> Callable[..., StageResult]:
        def stage(lab: Lab, iteration: int | None = None) -> StageResult:
            ran.append(asset_name(asset, iteration))
            return _result(lab, asset, iteration)

        return stage

    def gpu(name: str) -> Callable[..., dict[str, Any]]:
        def stage(lab: Lab, iteration: int) -> dict[str, Any]:
            ran.append(f"{name} {iteration}")
            return {"tokens_per_second": 10.0}

        return stage

    for asset, name in CPU_STAGES.items():
        monkeypatch.setattr(f"assets.{asset}.{name}", cpu(asset))
    for asset, (_, words) in list(verification_study.STAGES.items()):
        monkeypatch.setitem(verification_study.STAGES, asset, (cpu(asset), words))
    for asset, name in GPU_STAGES.items():
        monkeypatch.setattr(f"assets.{asset}.{name}", gpu(name))
    monkeypatch.setattr("assets.iteration_changes.measure_flips", cpu("problem_flips"))
    monkeypatch.setattr("assets.saturation.fit_saturation", cpu("saturation"))
    monkeypatch.setattr("assets.problems.make_problems", cpu("problems"))
    monkeypatch.setattr("assets.report.write_report", cpu("report"))
    # base_model is one object for all graphs, so what it calls is replaced inside of it
    monkeypatch.setattr("ops.lab.Lab.materialise", lambda lab, table, asset, k, *_: cpu(asset)(lab, k))
    for name in ("unparseable_fraction", "gap_above_zero", "filter_kept_something"):
        monkeypatch.setattr(checks, name, lambda lab, iteration: checks.Finding(True, "looked"))
    for name in ("train_eval_disjoint", "base_model_gate", "finite_loss"):
        monkeypatch.setattr(checks, name, lambda *_: checks.Finding(True, "looked"))
    monkeypatch.setattr(loop_checks, "rule_holds", lambda *_: checks.Finding(True, "looked"))
    return ran


def _run(selection: list[str] | None = None) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("experiment", ["tiny"])
        job = build_definitions(GRAPH_ITERATIONS).resolve_job_def("experiment_job")
        keys = None if selection is None else [dg.AssetKey(name.split("/")) for name in selection]
        return job.execute_in_process(
            instance=instance, partition_key="tiny", asset_selection=keys, raise_on_error=False
        )


def _materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    events = [event for event in result.all_events if event.is_step_failure]
    return [event.step_failure_data.user_failure_data.description for event in events]


def test_run_of_everything_is_complete_and_the_surplus_is_skipped(write_experiment, stages) -> None:
    write_experiment("tiny", iterations=1)
    result = _run()
    assert result.success
    assets = (*CPU_STAGES, "problem_flips", *verification_study.STAGES)
    measured = {asset_name(asset, k) for k in (0, 1) for asset in assets if measures(asset, k, 1)}
    assert _materialized(result) == {"problems", "base_model", "saturation", "report", *measured}
    skipped = {event.step_key for event in result.all_events if event.is_step_skipped}
    assert {
        "iteration_1__model.finetune_model_1",
        "iteration_2__generations.sample_responses_2",
        "iteration_2__gap_metrics",
        "iteration_2__gap_metrics_gap_above_zero",  # checks of the surplus too
        "iteration_3__diversity_metrics",
    } <= skipped
    assert not any(name.endswith((" 2", " 3")) or "iteration_2" in name for name in stages)
    assert len(result.get_asset_check_evaluations()) == 3 + 2 * 5 + 2


def test_report_waits_for_every_measurement(write_experiment, stages) -> None:
    write_experiment("tiny", iterations=3)
    assert _run().success
    assert stages[-1] == "report"
    assert stages.index("iteration_2/model") < stages.index("sample_responses 3")


def test_a_selected_surplus_asset_alone_is_no_failure_and_says_why(write_experiment, stages, caplog) -> None:
    write_experiment("tiny", iterations=1)
    for name in ("iteration_3/generations", "iteration_2/gap_metrics", "iteration_1/model"):
        result = _run([name])
        assert result.success, name
        assert _materialized(result) == set(), name
    assert stages == []


def test_report_alone_can_be_written_again(write_experiment, stages) -> None:
    write_experiment("tiny", iterations=1)
    assert _materialized(_run(["report"])) == {"report"}


def test_materialization_carries_fingerprint_numbers_and_reuse(write_experiment, stages) -> None:
    write_experiment("tiny", iterations=1)
    result = _run(["problems", "base_model", "iteration_0/generations"])
    event = next(e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == "generations")
    materialization = event.materialization
    metadata = {key: item.value for key, item in materialization.metadata.items()}
    assert metadata["accuracy"] == 0.5
    assert metadata["tokens_per_second"] == 10.0  # handed over by the GPU op
    assert metadata["reused"] is True
    assert materialization.tags["dagster/data_version"] == metadata["fingerprint"]
    assert materialization.tags["dagster/code_version"] == CODE_VERSIONS["generations"]


def test_a_failed_measurement_leaves_no_report(write_experiment, stages, monkeypatch) -> None:
    write_experiment("tiny", iterations=1)

    def fail(lab: Lab, iteration: int) -> StageResult:
        raise ValueError("no luck")

    monkeypatch.setattr("assets.gap_metrics.measure_gap", fail)
    result = _run()
    assert not result.success
    assert "report" not in _materialized(result)


def test_a_blocking_check_stops_before_the_first_sample(write_experiment, stages, monkeypatch) -> None:
    write_experiment("tiny", iterations=1)
    monkeypatch.setattr(checks, "train_eval_disjoint", lambda lab: checks.Finding(False, "shared"))
    result = _run()
    assert not result.success
    assert "problems" in stages
    assert "sample_responses 0" not in stages


def test_an_experiment_longer_than_the_loaded_graph_is_refused(write_experiment, stages) -> None:
    write_experiment("tiny", iterations=GRAPH_ITERATIONS + 1)
    result = _run(["problems"])
    assert not result.success
    description = next(
        e for e in result.all_events if e.is_step_failure
    ).step_failure_data.user_failure_data.description
    assert "iterations" in description
    assert "reload" in description
    assert stages == []


def test_an_invalid_file_fails_with_its_error_and_nothing_is_computed(write_experiment, stages, lab_home) -> None:
    write_experiment("tiny").write_text("name: tiny\niterations: many\n")
    result = _run()
    assert not result.success
    (failure,) = set(_failures(result))  # both roots of the graph say the same
    assert "tiny.yaml" in failure
    assert not any(event.is_step_up_for_retry for event in result.all_events)
    assert stages == []
    assert not lab_home.exists()
