"""``model: {kind: registry}`` against a real MLflow registry, and the sensor that follows its versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from ops.errors import ExperimentError
from ops.experiment_files import load_experiment
from ops.models import FolderModel
from ops.plan import make_plan, model_fingerprint
from ops.storage.tracking import Tracker
from tests.graph.conftest import TINY, lab_home  # noqa: F401  (a fixture)


@pytest.fixture
def folders(tiny_model_folder: Path, tmp_path: Path) -> list[Path]:
    """Two checkpoints with different content; the second one's path needs quoting in an address."""
    second = tmp_path / "the second"
    shutil.copytree(tiny_model_folder, second)
    config = second / "generation_config.json"
    config.write_text(config.read_text().replace("{", '{\n "max_length": 77,', 1))
    return [tiny_model_folder, second]


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without a model: making it takes seconds, copying it nothing."""
    home = tmp_path_factory.mktemp("registry")
    with Tracker(home)._locked():
        return home / "mlflow" / "mlflow.db"


@pytest.fixture
def registry(lab_home: Path, empty_registry: Path) -> Path:  # noqa: F811
    """A home with an empty registry."""
    (lab_home / "mlflow").mkdir(parents=True)
    shutil.copy(empty_registry, lab_home / "mlflow" / "mlflow.db")
    return lab_home


def _register(home: Path, folder: Path, fingerprint: str) -> int:
    return Tracker(home).register_model(
        "trained", folder, fingerprint=fingerprint, experiment="trained", run_id="run", iteration=None
    )


def _write(home: Path, file: str = "tiny", **model: object) -> Path:
    path = home.parent / "experiments" / f"{file}.yaml"
    fields = {
        **TINY,
        "name": file,
        "model": {"kind": "registry", "name": "trained"} | model,
        "verifiers": [{"name": "logit"}],
    }
    path.write_text(yaml.safe_dump(fields))
    return path


def test_a_version_is_its_folder(registry, folders) -> None:
    assert [_register(registry, folder, str(i) * 16) for i, folder in enumerate(folders)] == [1, 2]
    for version, folder in enumerate(folders, 1):
        found = load_experiment(_write(registry, version=version))
        assert Path(found.model.path) == folder
        assert found.model.shown == f"trained:v{version}"
        own = model_fingerprint(FolderModel(kind="folder", path=str(folder)))
        assert make_plan(found).models[0] == own == model_fingerprint(found.model)
        assert not found.model.floats
    latest = load_experiment(_write(registry))
    assert (latest.model.version, latest.model.floats, latest.model.shown) == (2, True, "trained:latest")


def test_what_is_registered_in_the_catalog_names_the_version(registry, folders, recwarn) -> None:
    _register(registry, folders[0], "a" * 16)
    found = load_experiment(_write(registry))
    assert found.model_dump(mode="json")["model"] == {
        "kind": "registry",
        "name": "trained",
        "version": 1,
        "alias": None,
        "prompts": "auto",
    }
    assert not [item for item in recwarn if "Serializ" in str(item.message)]


def test_an_alias_follows_the_registry(registry, folders) -> None:
    for i, folder in enumerate(folders):
        _register(registry, folder, str(i) * 16)
    client = _client(registry)
    client.set_registered_model_alias("trained", "best", "1")
    path = _write(registry, alias="best")
    assert load_experiment(path).model.version == 1
    client.set_registered_model_alias("trained", "best", "2")
    assert load_experiment(path).model.version == 2


def _client(home: Path):
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_a_verifier_may_ask_a_registered_model(registry, folders) -> None:
    _register(registry, folders[0], "a" * 16)
    path = registry.parent / "experiments" / "tiny.yaml"
    asked = {"name": "logit", "model": {"kind": "registry", "name": "trained"}}
    chosen = {"name": "threshold", "verifier": "logit@trained:latest", "threshold": 0.0}
    path.write_text(yaml.safe_dump({**TINY, "verifiers": [asked], "filter": chosen}))
    found = load_experiment(path)
    ((_, model),) = found.verifier_models()
    assert make_plan(found).verifier_models == {"logit@trained:latest": model_fingerprint(model)}


@pytest.mark.parametrize(
    ("model", "field", "words"),
    [
        ({"name": "nobody"}, "model.name", "no version of it"),
        ({"version": 7}, "model.version", "expected one of its versions (1), got 7"),
        ({"alias": "best"}, "model.alias", "no alias 'best'"),
        ({"alias": "best", "version": 1}, "model.alias", "got both"),
    ],
)
def test_what_the_registry_does_not_know_is_named(registry, folders, model, field, words) -> None:
    _register(registry, folders[0], "a" * 16)
    with pytest.raises(ExperimentError) as error:
        load_experiment(_write(registry, **model))
    assert error.value.field == field
    assert words in error.value.problem
    assert "tiny.yaml" in error.value.where


def test_asking_makes_no_registry(lab_home) -> None:  # noqa: F811
    with pytest.raises(ExperimentError, match="nothing is registered yet"):
        load_experiment(_write(lab_home))
    assert not lab_home.exists()


def test_a_folder_that_is_gone_is_a_clear_error(registry, folders) -> None:
    _register(registry, folders[1], "a" * 16)
    shutil.rmtree(folders[1])
    with pytest.raises(ExperimentError, match="the folder that the registry names is not there"):
        load_experiment(_write(registry))


def test_the_sensor_runs_those_that_float_when_a_version_appears(registry, folders) -> None:
    from orchestration.sensors import new_model_versions

    _register(registry, folders[0], "a" * 16)
    _write(registry, "floating")
    _write(registry, "pinned", version=1)
    _write(registry, "trained")  # registers versions under its own name: it would call itself for ever
    with dg.DagsterInstance.ephemeral() as instance:
        first = new_model_versions(dg.build_sensor_context(instance=instance))
        assert not first.run_requests
        _register(registry, folders[1], "b" * 16)
        second = new_model_versions(dg.build_sensor_context(instance=instance, cursor=first.cursor))
        (request,) = second.run_requests
        assert (request.partition_key, request.run_key) == ("floating", "model:floating:trained:latest.2:")
        third = new_model_versions(dg.build_sensor_context(instance=instance, cursor=second.cursor))
        assert not third.run_requests


def _versions(registry: Path, cursor: str | None = None) -> dg.SensorResult:
    from orchestration.sensors import new_model_versions

    with dg.DagsterInstance.ephemeral() as instance:
        return new_model_versions(dg.build_sensor_context(instance=instance, cursor=cursor))


def _asked(tick: dg.SensorResult) -> list[str]:
    return [request.partition_key for request in tick.run_requests or ()]


def test_a_version_that_appears_while_the_file_is_not_valid_is_not_missed(registry, folders) -> None:
    _register(registry, folders[0], "a" * 16)
    path = _write(registry, "floating")
    first = _versions(registry)
    good = path.read_text()
    path.write_text("name: floating\n")
    _register(registry, folders[1], "b" * 16)
    broken = _versions(registry, first.cursor)
    assert not _asked(broken)
    path.write_text(good)
    assert _asked(_versions(registry, broken.cursor)) == ["floating"]
    path.unlink()
    assert _versions(registry, broken.cursor).cursor == "{}"


def test_two_aliases_of_one_name_are_followed_both(registry, folders) -> None:
    for i, folder in enumerate(folders):
        _register(registry, folder, str(i) * 16)
    client = _client(registry)
    for alias in ("best", "judge"):
        client.set_registered_model_alias("trained", alias, "1")
    path = _write(registry, "floating", alias="best")
    fields = yaml.safe_load(path.read_text())
    asked = {"name": "logit", "model": {"kind": "registry", "name": "trained", "alias": "judge"}}
    path.write_text(yaml.safe_dump({**fields, "verifiers": [asked]}))
    tick = _versions(registry)
    for alias in ("best", "judge"):
        client.set_registered_model_alias("trained", alias, "2")
        tick = _versions(registry, tick.cursor)
        assert _asked(tick) == ["floating"], alias
        assert not _asked(_versions(registry, tick.cursor))


def test_experiments_that_would_start_each_other_are_left_alone(registry, folders, caplog) -> None:
    from ops.lab import named_experiment
    from orchestration.floating import endless
    from orchestration.partitions import PARTITIONS_NAME
    from orchestration.sensors import stale_results
    from tests.graph.test_stale import pretend_complete

    models = {"itself": "itself", "one": "two", "two": "three", "three": "one", "follows": "one", "last": "trained"}
    for name in (*models, "trained"):
        Tracker(registry).register_model(name, folders[0], fingerprint="a" * 16, experiment=name, run_id="run")
    for name, model in models.items():
        _write(registry, name, name=model)
    _write(registry, "trained", name="last", version=1)  # pinned: there the circle ends
    found = endless({name: named_experiment(name) for name in (*models, "trained")})
    assert set(found) == {"itself", "one", "two", "three"}
    assert "it registers itself" in found["itself"] and "by way of two, three:" in found["one"]

    tick = _versions(registry)
    for name in models:
        pretend_complete(registry, name)
    for name in set(models.values()):
        Tracker(registry).register_model(name, folders[1], fingerprint="b" * 16, experiment=name, run_id="run")
    assert _asked(_versions(registry, tick.cursor)) == ["follows", "last"]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS_NAME, list(models))
        asked = stale_results(dg.build_sensor_context(instance=instance))
    assert _asked(asked) == ["follows", "last"]


def test_a_damaged_registry_takes_one_file_down_not_all(registry, folders, monkeypatch) -> None:
    from ops.experiment_files import load_experiments
    from ops.storage import tracking

    _register(registry, folders[0], "a" * 16)
    path = _write(registry, "floating")
    (path.parent / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    (registry / "mlflow" / "mlflow.db").write_bytes(b"no database" * 1000)
    tracking._reader.cache_clear()
    good, bad = load_experiments(path.parent)
    assert list(good) == ["tiny"] and list(bad) == ["floating"]
    error = bad["floating"]
    assert error.field == "model.name" and "the registry's database cannot be read" in error.problem
    assert "mlflow.db" in error.remedy
    tracking._reader.cache_clear()


def test_an_error_of_the_registry_never_names_the_databases_address(registry, folders, monkeypatch) -> None:
    from contextlib import contextmanager

    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    from ops.errors import StorageError

    pytest.importorskip("psycopg2", reason='the driver is not installed: pip install -e ".[postgres]"')
    secret = "postgresql+psycopg2://user:s3cret@db.example.org:5432/mlflow"
    monkeypatch.setenv("MINDGAP_MLFLOW_POSTGRES_URL", secret)
    tracker = Tracker(registry)
    for raised in (MlflowException(f"cannot read {secret}"), OperationalError("SELECT 1", {}, ValueError(secret))):

        @contextmanager
        def broken(raised: Exception = raised):
            raise raised
            yield

        monkeypatch.setattr(tracker, "_locked", broken)
        with pytest.raises(StorageError, match="cannot be read") as error:
            tracker.source_of("trained", None, None)
        assert "s3cret" not in str(error.value) and "example.org" not in str(error.value)
        assert "MINDGAP_MLFLOW_POSTGRES_URL" in error.value.remedy
