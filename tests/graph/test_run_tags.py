"""Runs are found by their tags, however they were started; GPU steps by SQL and the graph; one GPU, one step."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import yaml

from ops.lab import PROJECT
from ops.storage.catalog import GPU_ASSETS
from orchestration.definitions import build_definitions
from orchestration.instance import open_instance, prepare_environment
from orchestration.run_tags import tag_run, tags_of

ARMS = {
    "name": "arms",
    "hypothesis": "two arms with two seeds, for tests only",
    "seeds": [3, 4],
}


def _write_arms(home: Path, fields: dict) -> None:
    common = {key: value for key, value in fields.items() if key not in ("name", "hypothesis", "filter")}
    common["sampling"] = {key: value for key, value in common["sampling"].items() if key != "seed"}
    common["training"] = {key: value for key, value in common["training"].items() if key != "seed"}
    study = {**ARMS, "experiment": common, "arms": {name: {"filter": {"name": name}} for name in ("gold", "none")}}
    folder = home.parent / "studies"
    folder.mkdir()
    (folder / "arms.yaml").write_text(yaml.safe_dump(study))


def test_tags_of_an_experiment_and_of_an_arm(write_experiment, lab_home) -> None:
    path = write_experiment("tiny", iterations=2)
    assert tags_of("tiny") == {"mindgap/experiment": "tiny", "mindgap/iterations": "2", "mindgap/seed": "0"}
    _write_arms(lab_home, yaml.safe_load(path.read_text()))
    assert tags_of("arms-gold-s4") == {
        "mindgap/experiment": "arms-gold-s4",
        "mindgap/iterations": "2",
        "mindgap/study": "arms",
        "mindgap/arm": "gold",
        "mindgap/seed": "4",
    }
    assert tags_of("no-such-file") == {"mindgap/experiment": "no-such-file"}


def test_a_run_that_dagster_started_itself_gets_them(write_experiment) -> None:
    """As a backfill or a click on an asset does: with the partition and nothing of ours."""
    write_experiment("tiny")
    prepare_environment()
    with open_instance() as instance:
        instance.add_dynamic_partitions("experiment", ["tiny"])
        job = build_definitions(1).resolve_job_def("experiment_job")
        result = job.execute_in_process(
            instance=instance, partition_key="tiny", asset_selection=[dg.AssetKey("problems")], raise_on_error=False
        )
        assert result.success
        wanted = dg.RunsFilter(tags={"mindgap/experiment": "tiny", "mindgap/iterations": "1"})
        assert [run.run_id for run in instance.get_runs(wanted)] == [result.run_id]


def test_a_run_of_no_experiment_is_left_alone(lab_home) -> None:
    with dg.DagsterInstance.ephemeral() as instance:

        @dg.job
        def anything() -> None:
            pass

        run = instance.create_run_for_job(anything)
        tag_run(instance, run)
        assert not [key for key in instance.get_run_by_id(run.run_id).tags if key.startswith("mindgap/")]


def test_the_catalog_and_the_graph_agree_on_what_is_gpu_work() -> None:
    graph = build_definitions(1).resolve_asset_graph()
    names = {
        key: key.path[-1] if key.path[0].startswith("iteration_") else "/".join(key.path)
        for key in graph.materializable_asset_keys
    }
    gpu = {name for key, name in names.items() if graph.get(key).tags["mindgap/resource"] == "gpu"}
    assert gpu == set(GPU_ASSETS) & set(names.values())


def test_one_gpu_step_at_a_time_over_all_runs(write_experiment) -> None:
    prepare_environment()
    with open_instance() as instance:
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default("gpu")
        assert storage.get_concurrency_info("gpu").slot_count == 1
        assert storage.claim_concurrency_slot("gpu", "run-a", "sample_responses_0").is_claimed
        assert not storage.claim_concurrency_slot("gpu", "run-b", "sample_responses_0").is_claimed
        storage.free_concurrency_slots_for_run("run-a")
        assert storage.claim_concurrency_slot("gpu", "run-b", "sample_responses_0").is_claimed
    for path in ("dagster.yaml", "deploy/postgres/dagster.yaml"):
        pools = yaml.safe_load((PROJECT / path).read_text())["concurrency"]["pools"]
        assert pools == {"default_limit": 1, "granularity": "op"}
