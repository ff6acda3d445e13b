"""A loop that a rule ends: nothing is selected, trained or sampled after it, the run succeeds and is reported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from ops.errors import StorageError
from ops.gpu_ops import is_surplus
from ops.lab import Lab
from ops.storage.query import query
from orchestration.definitions import build_definitions
from tests.conftest import tiny_experiment

ALWAYS = {"limits": {"gap": 1.0}}
"""No gap lies above 1: the rule fires at every iteration."""


def _context() -> Any:
    said: list[str] = []
    return SimpleNamespace(said=said, log=SimpleNamespace(info=said.append))


def _stopped(monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
    answer = None if at is None else (at, "The gap is closed.")
    monkeypatch.setattr("ops.gpu_ops.stopped_at", lambda *_: answer)


@pytest.mark.parametrize(("iteration", "trains", "skipped"), [(1, False, False), (1, True, True), (2, False, True)])
def test_the_first_step_that_is_skipped_is_training_on_the_last_iteration(
    tmp_path, monkeypatch, iteration, trains, skipped
) -> None:
    lab = Lab.open(tiny_experiment(iterations=3), home=tmp_path)
    _stopped(monkeypatch, 1)
    context = _context()
    assert is_surplus(context, lab, iteration, trains=trains) is skipped
    assert [line.count("ended after iteration 1. The gap is closed.") for line in context.said] == [1] * skipped


def test_nothing_is_trained_before_the_rules_are_judged(tmp_path) -> None:
    lab = Lab.open(tiny_experiment(iterations=3, stop=["gap_closed"]), home=tmp_path)
    with pytest.raises(StorageError, match="not judged"):
        is_surplus(_context(), lab, 0, trains=True)
    assert not is_surplus(_context(), lab, 0)  # what is measured on the way to the judgement goes ahead


def _run(instance: dg.DagsterInstance, selection: list[str] | None = None) -> dg.ExecuteInProcessResult:
    job = build_definitions(2).resolve_job_def("experiment_job")
    keys = None if selection is None else [dg.AssetKey(name.split("/")) for name in selection]
    return job.execute_in_process(instance=instance, partition_key="tiny", asset_selection=keys, raise_on_error=False)


def _materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


def _checks(result: dg.ExecuteInProcessResult, name: str) -> list[tuple[str, bool, str]]:
    return [
        (item.asset_key.to_user_string(), item.passed, item.severity.value)
        for item in result.get_asset_check_evaluations()
        if item.check_name == name
    ]


def _reused(result: dg.ExecuteInProcessResult, asset: str) -> bool:
    event = next(e for e in result.get_asset_materialization_events() if e.asset_key.to_user_string() == asset)
    return bool(event.materialization.metadata["reused"].value)


@pytest.mark.slow
def test_a_loop_is_ended_goes_on_without_the_rule_and_ends_again(write_experiment, lab_home) -> None:
    curve = "SELECT DISTINCT n_iterations FROM saturation"
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("experiment", ["tiny"])

        write_experiment("tiny", iterations=2, stop=["gap_closed"], **ALWAYS)
        ended = _run(instance)
        assert ended.success
        done = _materialized(ended)
        assert {"iteration_0/gap_metrics", "iteration_0/stopping_rules", "saturation", "report"} <= done
        later = {name for name in done if name.startswith(("iteration_1", "iteration_2"))}
        assert later == set() and not done & {"iteration_0/finetune_data", "iteration_0/model"}
        skipped = {event.step_key for event in ended.all_events if event.is_step_skipped}
        assert any("finetune_model_0" in key for key in skipped) and any("sample_responses_1" in key for key in skipped)
        assert _checks(ended, "gap_is_open") == [("iteration_0/stopping_rules", False, "WARN")]
        assert query(lab_home, "SELECT DISTINCT iteration FROM generations").rows() == [(0,)]
        said = query(lab_home, "SELECT sentence FROM stopping_rules WHERE stops AND fires").item()
        assert "nothing is trained after iteration 0" in said
        assert query(lab_home, curve).rows() == [(1,)]
        chosen = _run(instance, ["iteration_1/gap_metrics"])  # by hand: skipped, not computed from nothing
        assert chosen.success and _materialized(chosen) == set()

        write_experiment("tiny", iterations=2, **ALWAYS)
        whole = _run(instance)
        assert whole.success and "iteration_2/gap_metrics" in _materialized(whole)
        assert _reused(whole, "iteration_0/generations") and _reused(whole, "iteration_0/verification_scores")
        assert not _reused(whole, "saturation")
        assert query(lab_home, curve).rows() == [(3,)]
        assert len(_checks(whole, "gap_is_open")) == 3  # it warns at every iteration and stops nothing

        write_experiment("tiny", iterations=2, stop=["gap_closed"], **ALWAYS)
        again = _run(instance)
        assert again.success and not any(name.startswith("iteration_1") for name in _materialized(again))
        assert query(lab_home, curve).rows() == [(1,)]  # what was computed in between is no part of it ...
        assert query(lab_home, "SELECT max(iteration) AS last FROM generations").item() == 2  # ... but is not lost
