"""Files and variables for running beyond a laptop: they parse, agree with each other, and refuse with a remedy."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from ops.errors import MindgapError, StorageError
from ops.gpu_ops import K8S_GPUS_VARIABLE, gpu_tags
from ops.lab import PROJECT
from ops.storage.tracking import MLFLOW_VARIABLE, Tracker, postgres_url
from orchestration.instance import (
    EXECUTOR_VARIABLE,
    POSTGRES_VARIABLE,
    SetupError,
    executor_name,
    instance_folder,
    open_instance,
    prepare_environment,
)

DEPLOY = PROJECT / "deploy"
ADDRESS = "postgresql+psycopg2://mindgap:hush@127.0.0.1:1/dagster"


def _read(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _plain_environment(tmp_path, monkeypatch) -> None:
    for name in ("MINDGAP_DAGSTER", "MINDGAP_DAGSTER_FILES"):  # prepare_environment sets them; put back afterwards
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("MINDGAP_HOME", str(tmp_path / "home"))
    for name in (POSTGRES_VARIABLE, MLFLOW_VARIABLE, EXECUTOR_VARIABLE, K8S_GPUS_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def _without(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("orchestration.instance", "ops.storage.tracking"):
        monkeypatch.setattr(f"{place}.find_spec", lambda name: None if name == module else find_spec(name))


def test_the_instance_with_postgresql_differs_in_storage_and_launcher_only() -> None:
    local, shared = _read(PROJECT / "dagster.yaml"), _read(DEPLOY / "postgres" / "dagster.yaml")
    assert shared.pop("storage") == {"postgres": {"postgres_url": {"env": POSTGRES_VARIABLE}}}
    assert shared.pop("run_launcher") == {"module": "orchestration.launcher", "class": "MarkedRunLauncher"}
    assert set(local.pop("storage")) == {"sqlite"}
    assert shared == local


def test_pods_share_one_volume_and_no_secret_is_written_down() -> None:
    values = _read(DEPLOY / "values.yaml")
    (location,) = values["dagster-user-deployments"]["deployments"]
    claim = _read(DEPLOY / "volume.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for part in (location, values["dagsterWebserver"], values["dagsterDaemon"]):
        (volume,) = [item for item in part["volumes"] if "persistentVolumeClaim" in item]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert {"name": volume["name"], "mountPath": "/mindgap"} in part["volumeMounts"]
    files = values["additionalInstanceConfig"]["local_artifact_storage"]["config"]["base_dir"]
    assert files.startswith("/mindgap/")  # the courier of small dicts between steps in different pods
    assert location["includeConfigInLaunchedRuns"]["enabled"]
    assert not {POSTGRES_VARIABLE, MLFLOW_VARIABLE} & {item["name"] for item in location["env"]}
    assert "postgresqlPassword" not in values["postgresql"]
    pools = _read(PROJECT / "dagster.yaml")["concurrency"]["pools"]
    assert values["additionalInstanceConfig"]["concurrency"]["pools"] == pools


def test_the_instance_that_the_chart_would_write_is_one_that_dagster_accepts(tmp_path) -> None:
    """Storage, launcher and coordinator come from the chart's own templates; what the values add is validated here."""
    from dagster._core.instance.config import dagster_instance_config

    values = _read(DEPLOY / "values.yaml")
    logs = values["computeLogManager"]["config"]["customComputeLogManager"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**values["additionalInstanceConfig"], "compute_logs": logs}))
    found, _ = dagster_instance_config(str(tmp_path))
    assert found["concurrency"]["pools"] == {"default_limit": 1, "granularity": "op"}


def test_the_run_configuration_is_made_of_words_that_kubernetes_knows() -> None:
    pytest.importorskip("dagster_k8s", reason='dagster-k8s is not installed: pip install -e ".[k8s]"')
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    values = _read(DEPLOY / "values.yaml")
    UserDefinedDagsterK8sConfig.from_dict(
        {
            re.sub("([A-Z])", lambda match: "_" + match[1].lower(), key): value
            for key, value in values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"].items()
        }
    )
    (location,) = values["dagster-user-deployments"]["deployments"]
    parts = {"volumes": location["volumes"], "volume_mounts": location["volumeMounts"]}
    K8sContainerContext.create_from_config({"k8s": parts})


def test_the_image_copies_what_there_is_and_installs_extras_that_there_are() -> None:
    import tomllib

    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()]
    assert len(copied) >= 8
    assert [name for name in copied if not (PROJECT / name).exists()] == []
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = re.search(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)[1].split(",")
    assert set(asked) <= set(extras)


def test_the_libraries_of_dagster_are_of_one_release() -> None:
    """Dagster 1.MINOR.PATCH belongs with its libraries 0.(MINOR + 16).PATCH."""
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    minor, patch = re.search(r'"dagster==1\.(\d+)\.(\d+)"', text).groups()
    for name in ("dagster-postgres", "dagster-k8s"):
        assert f'"{name}==0.{int(minor) + 16}.{patch}"' in text


@pytest.mark.parametrize(("text", "gpus"), [(None, "1"), ("", "1"), ("4", "4"), ("04", "4"), ("0", None)])
def test_gpus_of_a_step_in_kubernetes(text, gpus, monkeypatch) -> None:
    if text is not None:
        monkeypatch.setenv(K8S_GPUS_VARIABLE, text)
    tags = gpu_tags()
    assert tags.pop("mindgap/resource") == "gpu"
    asked = {"container_config": {"resources": {"limits": {"nvidia.com/gpu": gpus}}}}
    assert tags == ({} if gpus is None else {"dagster-k8s/config": asked})


@pytest.mark.parametrize("text", ["one", "-1", "1.5", "²", " 1"])
def test_gpus_of_a_step_must_be_a_number(text, monkeypatch) -> None:
    monkeypatch.setenv(K8S_GPUS_VARIABLE, text)
    with pytest.raises(MindgapError, match=K8S_GPUS_VARIABLE):
        gpu_tags()


def test_the_kubernetes_executor_needs_its_library(monkeypatch) -> None:
    monkeypatch.setenv(EXECUTOR_VARIABLE, "k8s")
    _without("dagster_k8s", monkeypatch)
    with pytest.raises(SetupError, match=r'pip install -e "\.\[k8s\]"'):
        executor_name()


def test_the_kubernetes_executor_is_dagsters_own(monkeypatch) -> None:
    pytest.importorskip("dagster_k8s", reason='dagster-k8s is not installed: pip install -e ".[k8s]"')
    from orchestration.definitions import build_executor

    monkeypatch.setenv(EXECUTOR_VARIABLE, "k8s")
    assert build_executor().name == "k8s"


def test_sqlite_is_the_default() -> None:
    prepare_environment()
    assert instance_folder() == PROJECT
    assert Tracker(PROJECT / ".mindgap").uri.startswith("sqlite:///")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://mindgap:hush@db/dagster",
        "postgresql+psycopg2://mindgap:hush@db",
        "postgresql+psycopg2://mindgap:a@b:hush@db:port/dagster",
        "sqlite:///hush.db",
        "hush",
    ],
)
@pytest.mark.parametrize("variable", [POSTGRES_VARIABLE, MLFLOW_VARIABLE])
def test_another_address_is_refused_and_not_repeated(url, variable, monkeypatch) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(StorageError, match=rf"{variable}: not the address .*\n.*postgresql\+psycopg2://USER") as caught:
        prepare_environment()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("missing", ["dagster_postgres", "psycopg2"])
def test_postgresql_needs_its_libraries(missing, monkeypatch) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, ADDRESS)
    _without(missing, monkeypatch)
    with pytest.raises(MindgapError, match=r'pip install -e "\.\[postgres\]"') as caught:
        prepare_environment()
    if missing == "psycopg2":
        with pytest.raises(StorageError, match="psycopg2 is not installed"):
            postgres_url(POSTGRES_VARIABLE)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("variable", [POSTGRES_VARIABLE, MLFLOW_VARIABLE])
def test_a_server_that_does_not_answer_is_one_message(variable, monkeypatch) -> None:
    pytest.importorskip("dagster_postgres", reason='dagster-postgres is not installed: pip install -e ".[postgres]"')
    monkeypatch.setenv(variable, ADDRESS)  # port 1: nobody listens
    prepare_environment()
    with pytest.raises(StorageError, match=f"{variable}: no connection: .*refused") as caught:
        open_instance()
    assert "hush" not in str(caught.value)
    assert "hush" not in str(caught.value.__cause__)
