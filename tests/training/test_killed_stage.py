"""kill -9 of the stage that fine-tunes: run again, it ends with the file of a home that was never interrupted."""

from __future__ import annotations

import json
import random
import shutil
import signal

import pytest

from ops.lab import Lab
from ops.stages.finetuning import finetune_model, select_finetune_data
from tests.conftest import tiny_experiment
from tests.killed_training import start, steps_of
from tests.training.test_stages_of_training import DPO, HALF, opened

TRAININGS = {
    "sft": {"name": "sft", "epochs": 12, "batch_size": 8, "replay_fraction": 0.5, "lora": {"rank": 2, "dropout": 0.2}},
    "dpo": {**DPO, "epochs": 20},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_the_killed_stage_ends_with_the_same_file(tmp_path, method):
    changes = {"filter": HALF, "sampling": {"n_train": 8, "n_eval": 2, "max_tokens": 24}, "training": TRAININGS[method]}
    experiment = tiny_experiment(**changes)
    file = tmp_path / "experiment.json"
    file.write_text(experiment.model_dump_json())
    lab = opened(tmp_path / "whole", **changes)
    select_finetune_data(lab, 0)
    lab.close()
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    model, work = f"models/{lab.plan.models[1]}", f"work/finetuning/{lab.plan.models[1]}"

    lines = steps_of(start("finetuning", tmp_path / "whole", file))
    n_steps = lines[-1]
    assert n_steps > 22
    for least in (8, 16):
        process = start("finetuning", tmp_path / "cut", file)
        at = random.randint(least, n_steps - 3)  # any step will do: not drawn from a seed
        for line in process.stdout:
            # Pairs of DPO's reference are counted before the steps are.
            if int(line) >= at and any((tmp_path / "cut" / work).glob("step-*")):
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "cut" / model).exists()
    resumed = steps_of(start("finetuning", tmp_path / "cut", file))
    assert resumed[0] > 7 and resumed[-1] == n_steps
    for name in ("model.safetensors", "config.json", "training_steps.json"):
        assert (tmp_path / "cut" / model / name).read_bytes() == (tmp_path / "whole" / model / name).read_bytes(), name
    numbers = [json.loads((tmp_path / home / model / "mindgap.json").read_text()) for home in ("whole", "cut")]
    assert [found.pop("seconds") > 0 for found in numbers] == [True, True] and numbers[0] == numbers[1]
    assert not (tmp_path / "cut" / work).exists()
    again = Lab.open(experiment, home=tmp_path / "cut")
    assert finetune_model(again, 0) == {"reused": True}
    again.close()
