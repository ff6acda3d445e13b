"""The executor k8s: what it asks Kubernetes for, and a run whose steps are jobs of a stand-in for a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops.lab import PROJECT
from ops.storage.query import query
from orchestration.instance import EXECUTOR_VARIABLE, prepare_environment
from tests.graph.fake_kubernetes import FakeKubernetes

pytest.importorskip("dagster_k8s", reason='dagster-k8s is not installed: pip install -e ".[k8s]"')


def test_a_gpu_step_asks_for_a_gpu_in_words_that_kubernetes_knows() -> None:
    from dagster_k8s.job import get_user_defined_k8s_config

    from orchestration.definitions import build_definitions

    job = build_definitions(1).resolve_job_def("experiment_job")
    asked = {}
    for op in job.graph.iterate_op_defs():
        resources = get_user_defined_k8s_config(op.tags).container_config.get("resources", {})
        asked[op.name] = (op.pool, resources.get("limits"))
    gpu = {name for name, (pool, _) in asked.items() if pool == "gpu"}
    assert {"obtain_base_model", "sample_responses_0", "verify_responses_0", "finetune_model_0"} <= gpu
    for name, (_, limits) in asked.items():
        assert limits == ({"nvidia.com/gpu": "1"} if name in gpu else None), name


@pytest.fixture
def cluster(write_experiment, lab_home, tmp_path: Path, monkeypatch) -> Iterator[FakeKubernetes]:
    write_experiment("tiny", iterations=0)
    monkeypatch.setenv(EXECUTOR_VARIABLE, "k8s")
    prepare_environment()
    value = FakeKubernetes(tmp_path, dict(os.environ))
    try:
        yield value
    finally:
        value.close()


def _instance(cluster: FakeKubernetes, home: Path) -> dg.DagsterInstance:
    """The clone's instance, but with the run launcher of a cluster, which the executor asks for its settings."""
    from dagster._core.instance.ref import InstanceRef

    launcher = {
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": str(PROJECT),
        "job_image": "mindgap:test",
        "load_incluster_config": False,
        "kubeconfig_file": str(cluster.kubeconfig()),
        "run_k8s_config": {"container_config": {"command": [sys.executable, "-m"]}},
    }
    overrides = {"run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher}}
    folder = home / "dagster"
    folder.mkdir(parents=True)
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), config_dir=str(PROJECT), overrides=overrides))


@pytest.mark.slow
@pytest.mark.timeout(900)  # five processes that each import torch
def test_steps_that_are_jobs(cluster, lab_home, tmp_path, monkeypatch) -> None:
    """Two GPU steps, each with the CPU step that reads what it handed over; each step imports torch, hence no more."""
    from dagster._core.execution.api import execute_run

    from orchestration.cli_run import reconstructable_job
    from orchestration.definitions import build_definitions
    from orchestration.partitions import add_partitions

    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("orchestration.definitions.defs", build_definitions(0))  # with this environment's executor
    wanted = frozenset(dg.AssetKey(name.split("/")) for name in ("problems", "base_model", "iteration_0/generations"))
    job = reconstructable_job("experiment_job").get_subset(asset_selection=wanted, asset_check_selection=frozenset())
    with _instance(cluster, lab_home) as instance:
        add_partitions(instance, ["tiny"])
        run = instance.create_run_for_job(
            job.get_definition(),
            asset_selection=wanted,
            tags={"dagster/partition": "tiny"},
            job_code_origin=job.get_python_origin(),
        )
        result = execute_run(job, run, instance)
        assert result.success, [path.read_text()[-2000:] for path in tmp_path.glob("dagster-step-*.log")]
        assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == set()
    found = query(lab_home, "SELECT asset, reused FROM materializations")
    assert set(found["asset"]) == {"problems", "base_model", "generations"}
    assert not found["reused"].any()
    limits = {}
    for manifest in cluster.jobs.values():
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        step = next(item["value"] for item in container["env"] if item["name"] == "DAGSTER_RUN_STEP_KEY")
        limits[step.split(".")[-1]] = (container.get("resources") or {}).get("limits")
    gpus = {step for step, asked in limits.items() if asked == {"nvidia.com/gpu": "1"}}
    assert gpus == {"obtain_base_model", "sample_responses_0"}
    assert {asked is None for step, asked in limits.items() if step not in gpus} == {True}
