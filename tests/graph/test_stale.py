"""Which experiments are no longer what would be computed now, and why; what the sensor asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops import plan as plan_module
from ops.lab import named_experiment
from ops.plan import CODE_VERSIONS, make_plan
from ops.storage import layout
from ops.storage.store import Store
from orchestration import stale as stale_module
from orchestration.partitions import PARTITIONS_NAME
from orchestration.sensors import stale_results
from orchestration.stale import report_stamp, stale_results_of, why


def pretend_complete(home: Path, name: str) -> None:
    """Register the experiment and write the manifest of every asset of its plan, as a complete run does."""
    experiment = named_experiment(name)
    plan = make_plan(experiment)
    config = experiment.model_dump(mode="json")
    Store(home).register_experiment(name, config, plan.fingerprints, run_id="test")
    for key, fingerprint in plan.fingerprints.items():
        group, _, asset = key.rpartition("/")
        iteration = int(group.removeprefix("iteration_")) if group else None
        folder = layout.materialization_folder(home, name, asset, iteration)
        body = {"fingerprint": fingerprint, "code_version": CODE_VERSIONS[asset]}
        layout.write_manifest(folder / f"{layout.next_stamp(folder)}-{fingerprint}.json", body)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS_NAME, ["tiny"])
        yield instance


def _tick(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    return stale_results(dg.build_sensor_context(instance=instance))


def test_what_never_ran_and_what_is_complete_is_left_alone(write_experiment, lab_home, instance) -> None:
    write_experiment("tiny")
    assert stale_results_of(named_experiment("tiny"), lab_home) is None
    pretend_complete(lab_home, "tiny")
    assert stale_results_of(named_experiment("tiny"), lab_home) is None
    assert "every result" in _tick(instance).skip_message


def test_a_new_code_version_is_named_and_asked_for_once(write_experiment, lab_home, instance, monkeypatch) -> None:
    write_experiment("tiny")
    pretend_complete(lab_home, "tiny")
    newer = {**CODE_VERSIONS, "gap_metrics": "next"}
    monkeypatch.setattr(plan_module, "CODE_VERSIONS", newer)
    monkeypatch.setattr(stale_module, "CODE_VERSIONS", newer)
    found = stale_results_of(named_experiment("tiny"), lab_home)
    assert set(found.code) == {"iteration_0/gap_metrics", "iteration_1/gap_metrics"}
    assert "iteration_0/generations" not in found.assets and "report" in found.assets
    assert f"iteration_0/gap_metrics: code version {CODE_VERSIONS['gap_metrics']} -> next" in why(found)
    (request,) = _tick(instance).run_requests
    wanted = make_plan(named_experiment("tiny")).fingerprints["report"]
    assert request.run_key == f"stale:tiny:{wanted}:{report_stamp(lab_home, 'tiny')}"
    assert len(report_stamp(lab_home, "tiny")) == 16
    assert request.tags["mindgap/experiment"] == "tiny"


def test_a_plan_that_is_wanted_again_is_asked_for_again(write_experiment, lab_home, instance) -> None:
    keys = []
    for resamples in (200, 300, 200, 300):
        write_experiment("tiny", statistics={"resamples": resamples})
        if keys or resamples == 300:
            (request,) = _tick(instance).run_requests
            assert _tick(instance).run_requests[0].run_key == request.run_key  # no second run while nothing was made
            keys.append(request.run_key)
        pretend_complete(lab_home, "tiny")
        assert not isinstance(_tick(instance), dg.SensorResult)
    assert len(keys) == len(set(keys)) == 3  # to B, back to A, to B again
    assert keys[0].split(":")[2] == keys[2].split(":")[2]


def test_a_changed_field_is_named(write_experiment, lab_home) -> None:
    write_experiment("tiny")
    pretend_complete(lab_home, "tiny")
    write_experiment("tiny", statistics={"resamples": 300})
    found = stale_results_of(named_experiment("tiny"), lab_home)
    assert found.config == ("statistics",)
    assert found.code == {}
    assert "the experiment's statistics changed" in why(found)
    assert "problems" not in found.assets and "iteration_0/gap_metrics" in found.assets


def test_the_changed_content_of_a_file_is_named(write_experiment, lab_home, tmp_path) -> None:
    problems = tmp_path / "problems.jsonl"
    rows = [{"problem": f"{i} + 1", "answer": str(i + 1)} for i in range(40)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"train_file": str(problems), "eval_file": str(problems), "train_per_iteration": 4, "eval": 4}
    model = {"kind": "folder", "path": str(_checkpoint(tmp_path))}
    write_experiment(
        "tiny",
        model=model,
        task={"name": "jsonl", "grader": "numeric"},
        problems=files,
        verifiers=[{"name": "logit"}],
        training={"name": "sft"},
        sampling={"n_train": 2, "n_eval": 2, "max_tokens": 8},
    )
    pretend_complete(lab_home, "tiny")
    assert stale_results_of(named_experiment("tiny"), lab_home) is None
    problems.write_text(problems.read_text().replace("1 + 1", "1 + 2"))
    found = stale_results_of(named_experiment("tiny"), lab_home)
    assert "problems: a problem file or the task's version changed" in why(found)
    assert found.config == () and "base_model" not in found.assets
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"other")
    assert "base_model: the checkpoint changed" in why(stale_results_of(named_experiment("tiny"), lab_home))


def _checkpoint(folder: Path) -> Path:
    from ops.builtin.model import new_model, new_tokenizer

    new_model("a", 0).save_pretrained(folder / "checkpoint")
    new_tokenizer().save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


def test_an_experiment_that_runs_is_left_alone(write_experiment, lab_home, instance) -> None:
    write_experiment("tiny")
    pretend_complete(lab_home, "tiny")
    write_experiment("tiny", statistics={"resamples": 300})

    @dg.job
    def anything() -> None:
        pass

    instance.create_run_for_job(anything, tags={"dagster/partition": "tiny"}, status=dg.DagsterRunStatus.STARTED)
    assert "a run works on it" in _tick(instance).skip_message
