"""The lab on vLLM: an iteration loads its model once, training gets the memory, the next model is loaded after it."""

import polars as pl
import pytest

from ops.engines.vllm_settings import VllmSettings
from ops.lab import Lab
from ops.stages.base_model import obtain_base_model
from ops.stages.finetuning import finetune_model, register_model, select_finetune_data
from ops.stages.gap import measure_gap
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.problems import make_problems
from ops.stages.scores import collect_scores
from ops.stages.verification import verify_responses
from tests.conftest import tiny_experiment

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

VLLM = {"name": "vllm", "dtype": "float32", "kv_cache_gib": 0.25}
VERIFIERS = [
    {"name": "logit"},
    {"name": "binary_cot", "max_tokens": 24},
    {"name": "tournament", "max_tokens": 24},
    {"name": "logit", "label": "cross", "model": {"kind": "builtin", "recipe": "countdown", "size": "s", "steps": 3}},
]


def test_two_iterations_on_vllm_load_each_model_once(tmp_path, monkeypatch):
    loaded, closed, load = [], [], VllmSettings.load

    def counted(self, path):
        engine = load(self, path)
        loaded.append(path.name)
        close = engine.close
        engine.close = lambda: closed.append(path.name) or close()
        return engine

    monkeypatch.setattr(VllmSettings, "load", counted)
    model = {"kind": "builtin", "recipe": "countdown", "size": "xs", "steps": 12, "batch_size": 16, "seed": 0}
    experiment = tiny_experiment(model=model, engine=VLLM, verifiers=VERIFIERS)
    lab = Lab.open(experiment, home=tmp_path / "home", run_id="t")
    make_problems(lab)
    obtain_base_model(lab)
    for k in range(2):
        sample_responses(lab, k)
        grade_responses(lab, k)
        verify_responses(lab, k)
        collect_scores(lab, k)
        measure_gap(lab, k)
        if k == 0:
            select_finetune_data(lab, k)
            finetune_model(lab, k)
            assert loaded == closed, "training starts with the engine's memory free"
            register_model(lab, k)
    lab.close()
    base, cross, tuned = lab.plan.models[0], lab.plan.verifier_model("cross", 0), lab.plan.models[1]
    assert loaded == [base, cross, tuned, cross]
    assert closed == loaded
    for k in range(2):
        prints = {
            name: lab.plan.fingerprints[f"iteration_{k}/{name}"] for name in ("generations", "verification_scores")
        }
        table = lab.store.read("generations", prints["generations"])
        assert (table.height, set(table["engine"])) == (88, {"vllm"})
        scores = lab.store.read("verification_scores", prints["verification_scores"])
        assert scores.group_by("verifier").len().sort("verifier").rows() == [
            ("binary_cot", 88),
            ("cross", 88),
            ("logit", 88),
            ("tournament", 88),
        ]
        assert scores.filter(pl.col("verifier") == "logit")["score"].null_count() == 0
