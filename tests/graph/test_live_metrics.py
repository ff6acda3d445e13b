"""Numbers of a running training: batched by time, each step once in MLflow, and never a reason to stop."""

from __future__ import annotations

import logging
import math
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from ops.storage.tracking import Tracker
from ops.types import StageResult
from orchestration import tracking as run_tracking
from orchestration.live_metrics import COST_FRACTION, LIVE_SECONDS, PAUSE_SECONDS, LiveMetrics, warn
from orchestration.tracking import RunTracking
from tests.storage.test_tracking import held


class Clock:
    """Seconds that pass only when somebody says so; logging takes ``cost`` of them."""

    def __init__(self) -> None:
        self.now, self.cost = 100.0, 0.0
        self.batches: list[list[int]] = []
        self.fails = False

    def __call__(self) -> float:
        return self.now

    def log(self, points: Any) -> None:
        self.now += self.cost
        if self.fails:
            raise OSError("postgresql://user:secret@host")
        self.batches.append([step for step, *_ in points])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_first_step_is_shown_at_once_then_a_batch_every_few_seconds(clock: Clock) -> None:
    live = LiveMetrics(clock.log, clock=clock)
    for step in range(1, 13):
        live(step, {"loss": 1.0})
        clock.now += 1.0
    assert clock.batches == [[1], [2, 3, 4, 5, 6], [7, 8, 9, 10, 11]]  # LIVE_SECONDS is 5
    live.flush()
    live.flush()
    assert clock.batches[3:] == [[12]]  # what was left, and nothing of nothing


def test_slow_logging_waits_longer_so_that_it_costs_a_known_share(clock: Clock) -> None:
    live = LiveMetrics(clock.log, clock=clock)
    live(0, {"loss": 1.0})
    clock.cost, start = 0.5, clock.now
    spent, step_seconds = 0.0, 1.0
    for step in range(1, 2001):
        before = clock.now
        live(step, {"loss": 1.0})
        spent += clock.now - before
        clock.now += step_seconds
    assert LIVE_SECONDS < 0.5 / COST_FRACTION
    assert spent / (clock.now - start) < 0.02


def test_a_first_batch_that_opens_the_database_delays_nothing(clock: Clock) -> None:
    clock.cost = 3.0
    live = LiveMetrics(clock.log, clock=clock)
    live(1, {"loss": 1.0})
    clock.now += LIVE_SECONDS
    live(2, {"loss": 1.0})
    assert clock.batches == [[1], [2]]


def test_a_failure_is_one_warning_without_secrets_and_loses_nothing(clock: Clock, caplog) -> None:
    live = LiveMetrics(clock.log, clock=clock)
    clock.fails = True
    with caplog.at_level(logging.WARNING, logger="mindgap"):
        for step in range(1, 200):
            live(step, {"loss": 1.0})
            clock.now += 1.0
        live.flush()
    [record] = [record for record in caplog.records if record.name == "mindgap"]
    assert "OSError" in record.getMessage() and "secret" not in record.getMessage()
    clock.fails = False
    clock.now += PAUSE_SECONDS
    live(200, {"loss": 1.0})
    assert clock.batches == [list(range(1, 201))]


def test_slow_failures_are_tried_seldom(clock: Clock) -> None:
    """Two seconds of waiting are 1 % of 200; the first attempt, which imports MLflow, does not count."""
    live = LiveMetrics(clock.log, clock=clock)
    clock.fails, clock.cost = True, 2.0
    attempts = []
    for step in range(1, 601):
        before = clock.now
        live(step, {"loss": 1.0})
        if clock.now > before:
            attempts.append(before)
        clock.now += 1.0
    assert [later - before for before, later in pairwise(attempts)] == [62.0, 202.0, 202.0]


def test_what_is_undefined_is_left_out(clock: Clock) -> None:
    taken: list[Any] = []
    live = LiveMetrics(taken.extend, clock=clock)
    live(1, {"loss": math.nan, "accuracy": 0.5, "kl": math.inf})
    assert [(step, numbers) for step, _, numbers in taken] == [(1, {"accuracy": 0.5})]
    live(2, {"loss": math.nan})
    live.flush()
    assert len(taken) == 1


def test_a_step_that_is_made_twice_has_one_point(tmp_path: Path) -> None:
    """By the same process, or by another one that resumes the same run (a step's process is started again)."""
    home = tmp_path / "home"
    first, again = Tracker(home), Tracker(home)
    points = [(step, 1_700_000_000_000 + step, {"loss": 1.0 / step, "a:b": 1.0}) for step in (1, 2, 3)]
    assert first.log_steps("demo", "run1", points) == 6
    assert first.log_steps("demo", "run1", points) == 0
    later = [(step, 1_700_000_900_000 + step, {"loss": 1.0 / step}) for step in (2, 3, 4, 4, 5)]
    assert again.log_steps("demo", "run1", later) == 2
    assert again.log_steps("demo", "run1", [(5, None, {"loss": 9.0}), (6, None, {"loss": 1.0 / 6})]) == 1
    with first._locked() as client:
        [experiment] = [item for item in client.search_experiments() if item.name == "demo"]
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        child = runs["demo exploration"]
        history = client.get_metric_history(child.info.run_id, "loss")
        assert [(item.step, item.value) for item in history] == [(k, pytest.approx(1.0 / k)) for k in range(1, 7)]
        assert [item.timestamp for item in history[:4]] == [1_700_000_000_000 + k for k in (1, 2, 3)] + [
            1_700_000_900_004
        ]
        assert child.data.tags["mlflow.parentRunId"] == runs["demo"].info.run_id
        assert child.data.tags["mindgap.kind"] == "exploration" and "mindgap.iteration" not in child.data.tags
    assert first.finish("run1", "FAILED") == 2


def test_results_stand_beside_the_steps_and_with_the_experiment(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path / "home")
    tracker.log_steps("demo", "run1", [(1, None, {"loss": 1.0})])
    for _ in range(2):
        child = tracker.log_results("demo", "run1", 4, {"evaluation/accuracy": 0.5, "evaluation/undefined": None})
    with tracker._locked() as client:
        parent = client.get_run(child).data.tags["mlflow.parentRunId"]
        assert client.get_run(child).data.metrics == {"loss": 1.0, "evaluation/accuracy": 0.5}
        assert client.get_run(parent).data.metrics == {"evaluation/accuracy": 0.5}
        for run in (child, parent):
            assert [item.step for item in client.get_metric_history(run, "evaluation/accuracy")] == [4]


def test_a_database_that_does_not_answer_stops_no_training(tmp_path: Path, monkeypatch, caplog) -> None:
    """Neither while the parent run is described, nor while steps are logged; afterwards nothing is missing."""
    tracking = RunTracking(fake_lab(tmp_path / "home"), wait_for_news=True)

    def refuse(self: Tracker) -> Any:
        raise OSError("no connection")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="mindgap"):
        patch.setattr(Tracker, "_locked", refuse)
        tracking.live(1, {"loss": 1.0})
        tracking.live(2, {"loss": 0.5})
        tracking.live.flush()
    assert len([record for record in caplog.records if record.name == "mindgap"]) == 1
    tracking.live.flush()
    tracking.finish("FINISHED")
    with Tracker(tmp_path / "home")._locked() as client:
        place = client.get_experiment_by_name("demo").experiment_id
        runs = {run.info.run_name: run for run in client.search_runs([place])}
        history = client.get_metric_history(runs["demo exploration"].info.run_id, "loss")
    assert [(item.step, item.value) for item in history] == [(1, 1.0), (2, 0.5)]
    assert runs["demo"].data.params == {"seed": "1"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def fake_lab(home: Path, run_id: str = "run1") -> Any:
    experiment = SimpleNamespace(name="demo", hypothesis="none", model_dump=lambda **_: {"seed": 1})
    assets = dict.fromkeys(("iteration_0/gap_metrics", "iteration_1/gap_metrics", "report"), "fp")
    plan = SimpleNamespace(fingerprints=assets)
    return SimpleNamespace(store=SimpleNamespace(home=home), experiment=experiment, run_id=run_id, plan=plan)


def result(asset: str, *, reused: bool = False, **numbers: float) -> StageResult:
    return StageResult(asset, "demo", "fp", reused, 1, 0.0, numbers)


def gaps(home: Path, run_id: str) -> dict[int, float]:
    """What MLflow has of a run's gap, by iteration."""
    with Tracker(home)._locked() as client:
        place = client.get_experiment_by_name("demo").experiment_id
        wanted = f"tags.`dagster/run_id` = '{run_id}' AND tags.`mindgap.kind` = 'experiment'"
        [parent] = client.search_runs([place], wanted)
        assert parent.info.status == "FINISHED"
        return {item.step: item.value for item in client.get_metric_history(parent.info.run_id, "gap")}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mindgap"]


def marks(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "mlflow/unlogged").glob("*/*"))


@pytest.mark.slow
def test_a_held_lock_delays_a_training_for_two_seconds_and_loses_nothing(tmp_path: Path, caplog) -> None:
    home = tmp_path / "home"
    Tracker(home).log_parent("other", "run0")  # MLflow is imported and has its tables
    tracking = RunTracking(fake_lab(home), wait_for_news=True)
    with held(home / "locks/mlflow.lock"):
        start = time.monotonic()
        for step in range(1, 50):
            tracking.live(step, {"loss": 1.0 / step})
        assert run_tracking.LIVE_WAIT_SECONDS <= time.monotonic() - start < 10.0
    [warning] = warnings(caplog)
    assert "the training goes on" in warning and "fuser" in warning
    tracking.live.flush()
    tracking.finish("FINISHED")
    assert Tracker(home).log_steps("demo", "run1", [(step, None, {"loss": 1.0}) for step in range(1, 51)]) == 1


@pytest.mark.slow
def test_a_held_lock_fails_no_step_and_its_results_follow_with_the_next(tmp_path: Path, monkeypatch, caplog) -> None:
    home = tmp_path / "home"
    monkeypatch.setattr(run_tracking, "COMMIT_WAIT_SECONDS", 0.2)
    tracking = RunTracking(fake_lab(home), wait_for_news=True)
    with held(home / "locks/mlflow.lock"):
        tracking.record(result("iteration_0/gap_metrics", gap=0.25))
    assert marks(home) == ["iteration_0.gap_metrics"]
    tracking.record(result("iteration_1/gap_metrics", gap=0.5))
    assert marks(home) == []
    tracking.finish("FINISHED")
    [warning] = warnings(caplog)
    assert "iteration_0/gap_metrics" in warning and "mindgap run demo" in warning and "mlflow.lock" in warning
    assert gaps(home, "run1") == {0: 0.25, 1: 0.5}


@pytest.mark.parametrize("alone", [True, False])
def test_a_broken_database_fails_no_step_and_the_next_run_fills_it_in(tmp_path: Path, caplog, alone: bool) -> None:
    home = tmp_path / "home"
    (home / "mlflow").mkdir(parents=True)
    database = home / "mlflow/mlflow.db"
    database.write_bytes(b"this is no database" * 100)
    tracking = RunTracking(fake_lab(home), wait_for_news=alone)
    for k in (0, 1):
        tracking.record(result(f"iteration_{k}/gap_metrics", gap=0.25 * (k + 1)))
    tracking.record(result("report"))
    tracking.finish("FINISHED")
    [warning] = warnings(caplog)
    assert "iteration_0/gap_metrics" in warning and "DatabaseError" in warning and "no database" not in warning
    assert marks(home) == ["iteration_0.gap_metrics", "iteration_1.gap_metrics"]
    database.unlink()
    again = RunTracking(fake_lab(home, "run2"), wait_for_news=alone)
    for k in (0, 1):
        again.record(result(f"iteration_{k}/gap_metrics", reused=True, gap=0.25 * (k + 1)))
    again.finish("FINISHED")
    assert len(warnings(caplog)) == 1 and marks(home) == []
    assert gaps(home, "run2") == {0: 0.25, 1: 0.5}
    if alone:  # nothing is missing, nothing was computed: no third run
        third = RunTracking(fake_lab(home, "run3"), wait_for_news=True)
        third.record(result("iteration_0/gap_metrics", reused=True, gap=0.25))
        third.finish("FINISHED")
        with pytest.raises(ValueError, match="not enough values"):
            gaps(home, "run3")


def test_what_waits_is_logged_at_the_end_of_the_run_and_errors_of_others_are_not_quoted(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    home = tmp_path / "home"
    tracking = RunTracking(fake_lab(home), wait_for_news=True)

    def refuse(self: Tracker) -> Any:
        raise OSError("postgresql://user:secret@host")

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "_locked", refuse)
        tracking.record(result("iteration_0/gap_metrics", gap=0.25))
        tracking.record(result("iteration_1/gap_metrics", gap=0.5))
    tracking.finish("FINISHED")
    [warning] = warnings(caplog)
    assert "OSError" in warning and "secret" not in caplog.text
    assert gaps(home, "run1") == {0: 0.25, 1: 0.5} and marks(home) == []


def test_a_warning_is_in_the_log_of_the_run_and_once_on_the_terminal(caplog) -> None:
    @dg.op
    def warns() -> None:
        warn("MLflow did not take it")

    @dg.job
    def one() -> None:
        warns()

    with dg.DagsterInstance.ephemeral() as instance, caplog.at_level(logging.WARNING):
        run = one.execute_in_process(instance=instance, run_config={"loggers": {"console": {"config": {}}}})
        kept = [entry for entry in instance.all_logs(run.run_id) if entry.user_message == "MLflow did not take it"]
    assert [(entry.level, entry.step_key) for entry in kept] == [(logging.WARNING, "warns")]
    assert [record.name for record in caplog.records if "did not take it" in record.getMessage()] == ["mindgap"]
