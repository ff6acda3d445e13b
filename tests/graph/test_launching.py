"""The sensor, the schedule and the job for all: what they ask for, and what they leave alone."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from orchestration.instance import open_instance, prepare_environment
from orchestration.partitions import PARTITIONS_NAME
from orchestration.schedules import nightly_rerun
from orchestration.sensors import new_experiment_files


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _tick(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    return new_experiment_files(dg.build_sensor_context(instance=instance))


def _added(tick: dg.SensorResult) -> list[str]:
    return [key for request in tick.dynamic_partitions_requests for key in request.partition_keys]


def test_sensor_adds_partitions_of_new_files_only(write_experiment, instance) -> None:
    write_experiment("known")
    write_experiment("fresh")
    instance.add_dynamic_partitions(PARTITIONS_NAME, ["known", "removed-file"])
    tick = _tick(instance)
    assert _added(tick) == ["fresh"]
    assert tick.run_requests == []
    instance.add_dynamic_partitions(PARTITIONS_NAME, ["fresh"])
    assert isinstance(_tick(instance), dg.SkipReason)
    assert instance.has_dynamic_partition(PARTITIONS_NAME, "removed-file")


def test_sensor_launches_where_it_is_told_to(write_experiment, instance, monkeypatch) -> None:
    monkeypatch.setenv("MINDGAP_LAUNCH_NEW", "1")
    write_experiment("fresh")
    tick = _tick(instance)
    assert [(request.partition_key, request.run_key) for request in tick.run_requests] == [("fresh", "new:fresh")]


def test_sensor_waits_until_a_file_is_valid(write_experiment, instance) -> None:
    path = write_experiment("fresh")
    good = path.read_text()
    path.write_text("name: fresh\n")
    tick = _tick(instance)
    assert isinstance(tick, dg.SkipReason)
    assert "fresh" in tick.skip_message
    path.write_text(good)
    assert _added(_tick(instance)) == ["fresh"]


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
