"""The sensor, the schedule and the job for all: what they ask for, and what they leave alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from orchestration.instance import open_instance, prepare_environment
from orchestration.partitions import PARTITIONS_NAME
from orchestration.schedules import nightly_rerun
from orchestration.sensors import new_experiment_files


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _tick(instance: dg.DagsterInstance, cursor: str | None = None, **definitions: object) -> dg.SensorResult:
    return new_experiment_files(dg.build_sensor_context(instance=instance, cursor=cursor, **definitions))


def _added(tick: dg.SensorResult) -> list[str]:
    return [key for request in tick.dynamic_partitions_requests or [] for key in request.partition_keys]


def _age(path: Path, seconds: float = 60.0) -> None:
    """Give a file the time of one that was written a while ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def _write_old(write_experiment, name: str, **fields: object) -> Path:
    path = write_experiment(name, **fields)
    _age(path)
    return path


def test_files_of_the_first_tick_become_partitions_and_are_not_run(write_experiment, instance) -> None:
    _write_old(write_experiment, "known")
    _write_old(write_experiment, "example")
    instance.add_dynamic_partitions(PARTITIONS_NAME, ["known", "removed-file"])
    tick = _tick(instance)
    assert _added(tick) == ["example"]
    assert not tick.run_requests
    instance.add_dynamic_partitions(PARTITIONS_NAME, ["example"])
    second = _tick(instance, tick.cursor)
    assert "no new file" in second.skip_reason.skip_message
    assert instance.has_dynamic_partition(PARTITIONS_NAME, "removed-file")


def test_a_file_that_appears_later_is_run_with_its_tags(write_experiment, instance) -> None:
    first = _tick(instance)
    path = _write_old(write_experiment, "fresh")
    tick = _tick(instance, first.cursor)
    (request,) = tick.run_requests
    assert _added(tick) == ["fresh"]
    assert request.partition_key == "fresh"
    assert request.run_key == f"new:fresh:{path.stat().st_mtime_ns}"
    assert request.tags == {
        "mindgap/experiment": "fresh",
        "mindgap/iterations": "1",
        "mindgap/seed": "0",
        "mindgap/launched_by": "new_experiment_files",
    }


def test_a_file_that_somebody_runs_already_is_left_alone(write_experiment, instance) -> None:
    first = _tick(instance)
    _write_old(write_experiment, "fresh")
    instance.add_dynamic_partitions(PARTITIONS_NAME, ["fresh"])  # as `mindgap run fresh` does before it begins
    assert not _tick(instance, first.cursor).run_requests


def test_launching_can_be_switched_off(write_experiment, instance, monkeypatch) -> None:
    monkeypatch.setenv("MINDGAP_LAUNCH_NEW", "0")
    first = _tick(instance)
    _write_old(write_experiment, "fresh")
    tick = _tick(instance, first.cursor)
    assert _added(tick) == ["fresh"]
    assert not tick.run_requests


def test_a_file_is_run_once_it_is_valid(write_experiment, instance) -> None:
    first = _tick(instance)
    path = _write_old(write_experiment, "fresh")
    good = path.read_text()
    path.write_text("name: fresh\n")
    _age(path)
    waiting = _tick(instance, first.cursor)
    assert not waiting.run_requests and not _added(waiting)
    assert "fresh: new, but not valid yet" in waiting.skip_reason.skip_message
    path.write_text(good)
    written = _tick(instance, waiting.cursor)
    assert "being written" in written.skip_reason.skip_message
    _age(path)
    assert [request.partition_key for request in _tick(instance, written.cursor).run_requests] == ["fresh"]


def test_what_appeared_while_no_daemon_ran_is_not_run(write_experiment, instance) -> None:
    cursor = json.loads(_tick(instance).cursor)
    _write_old(write_experiment, "fresh")
    tick = _tick(instance, json.dumps({**cursor, "ticked_at": cursor["ticked_at"] - 3600}))
    assert _added(tick) == ["fresh"]
    assert not tick.run_requests


def test_an_experiment_longer_than_the_loaded_graph_waits_for_a_reload(write_experiment, instance) -> None:
    from orchestration.definitions import build_definitions

    first = _tick(instance)
    _write_old(write_experiment, "long", iterations=3)
    tick = _tick(instance, first.cursor, definitions=build_definitions(1))
    assert not tick.run_requests and not _added(tick)
    assert "reload" in tick.skip_reason.skip_message
    assert _added(_tick(instance, tick.cursor, definitions=build_definitions(3))) == ["long"]


def test_experiments_of_a_study_become_partitions_only(write_experiment, instance, lab_home) -> None:
    first = _tick(instance)
    _write_study(lab_home)
    tick = _tick(instance, first.cursor)
    assert _added(tick) == ["pair-countdown-a", "pair-countdown-xxs"]
    assert not tick.run_requests


def _write_study(lab_home: Path) -> None:
    model = {"kind": "builtin", "steps": 5}
    study = {
        "name": "pair",
        "hypothesis": "two sizes, for tests only",
        "models": {"a": {**model, "size": "a"}, "xxs": {**model, "size": "xxs"}},
        "tasks": [{"task": {"name": "countdown", "numbers": 3, "max_number": 12}}],
        "verifiers": [{"name": "logit"}],
        "problems": {"train_per_iteration": 4, "eval": 4},
        "sampling": {"n_train": 2, "n_eval": 2},
    }
    (lab_home.parent / "studies").mkdir()
    (lab_home.parent / "studies" / "pair.yaml").write_text(yaml.safe_dump(study))


def test_nightly_rerun_asks_for_every_valid_experiment(write_experiment) -> None:
    write_experiment("one")
    write_experiment("two")
    write_experiment("broken").write_text("name: broken\n")
    prepare_environment()
    with open_instance() as instance:
        requests = list(nightly_rerun(dg.build_schedule_context(instance=instance)))
        assert [request.partition_key for request in requests] == ["one", "two"]
        assert sorted(instance.get_dynamic_partitions(PARTITIONS_NAME)) == ["one", "two"]


def test_nightly_rerun_skips_an_empty_folder(lab_home, instance) -> None:
    (skip,) = nightly_rerun(dg.build_schedule_context(instance=instance))
    assert isinstance(skip, dg.SkipReason)


def test_all_experiments_job_queues_a_backfill_of_every_valid_experiment(write_experiment) -> None:
    from orchestration.cli_run import reconstructable_job

    write_experiment("one")
    write_experiment("two")
    write_experiment("broken").write_text("name: broken\n")
    prepare_environment()
    with open_instance() as instance:
        result = dg.execute_job(reconstructable_job("all_experiments_job"), instance=instance)
        assert result.success
        (backfill,) = instance.get_backfills()
    wanted = backfill.asset_backfill_data.target_subset.get_partitions_subset(dg.AssetKey("report"))
    assert sorted(wanted.get_partition_keys()) == ["one", "two"]
    assert dg.AssetKey(["iteration_0", "model"]) in backfill.asset_selection


def test_a_study_is_backfilled_whole(write_experiment, lab_home) -> None:
    from orchestration.cli_run import reconstructable_job

    write_experiment("other")
    _write_study(lab_home)
    prepare_environment()
    config = {"ops": {"queue_study": {"config": {"study": "pair"}}}}
    with open_instance() as instance:
        job = reconstructable_job("study_backfill_job")
        assert dg.execute_job(job, instance=instance, run_config=config).success
        (backfill,) = instance.get_backfills()
        config["ops"]["queue_study"]["config"]["study"] = "nothing"
        failed = dg.execute_job(job, instance=instance, run_config=config)
    assert not failed.success
    wanted = backfill.asset_backfill_data.target_subset.get_partitions_subset(dg.AssetKey("report"))
    assert sorted(wanted.get_partition_keys()) == ["pair-countdown-a", "pair-countdown-xxs"]
    assert backfill.tags["mindgap/study"] == "pair"
