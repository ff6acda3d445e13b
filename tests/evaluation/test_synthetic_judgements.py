"""The stage: judge by judge, nothing judged twice, with real (untrained) models, killed and run again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from ops.errors import StorageError
from ops.models import BuiltinModel
from ops.plan_parts import model_fingerprint
from ops.stages import synthetic_judgements as stage
from ops.stages.problems import problems_of
from ops.stages.synthetic_judgements import commit_judgements, judge_pairs
from tests.evaluation.judged_lab import REFERENCE, TINY, Scripted, commit_pairs, judged, open_lab, script, table_of
from tests.evaluation.test_judge_reward_model import save

OTHER = {**TINY, "seed": 1}
PAIRS = [("b", "good", "bad"), ("b", "bad", "good"), ("b", "same", "same"), ("c", "good", "bad"), ("c", "x", "y")]
REAL = [
    {"name": "pairwise", "max_tokens": 12},
    {"name": "pairwise", "max_tokens": 12, "temperature": 1.0, "repeats": 2, "label": "twice"},
    *(
        {"name": "bradley_terry", "verifier": verifier}
        for verifier in (
            {"name": "logit"},
            {"name": "p_true"},
            {"name": "binary_cot", "max_tokens": 12, "repeats": 2},
            {"name": "score_cot", "max_tokens": 12},
            {"name": "sequence_logprob"},
            {"name": "self_certainty"},
        )
    ),
]


def scalar(label: str, **changes):
    return {"name": "bradley_terry", "verifier": {"name": "binary_cot"}, "label": label, **changes}


def answer(prompt: str, seed: int) -> str:
    return "Verdict: correct. Better: A" if "good" in prompt else "Verdict: incorrect. Better: B"


def test_a_row_for_every_pair_and_judge(tmp_path):
    lab = open_lab(tmp_path, [{"name": "pairwise"}, scalar("binary")])
    pairs = commit_pairs(lab, PAIRS)
    script(lab, Scripted(answer))
    rows = judged(lab)
    assert rows["pair_id"].to_list() == pairs["pair_id"].to_list() * 2
    assert rows["judge"].to_list() == ["pairwise"] * 5 + ["binary"] * 5
    assert rows["model"].to_list() == pairs["model"].to_list() * 2
    assert judge_pairs(lab) == {"judged": 0, "reused": True}
    assert commit_judgements(lab).reused


def test_every_model_is_loaded_once(tmp_path, monkeypatch):
    judges = [
        scalar("own", verifier={"name": "logit"}),
        scalar("other", model=OTHER),
        {"name": "pairwise"},
        {"name": "pairwise", "model": OTHER, "label": "other_pairwise"},
    ]
    lab = open_lab(tmp_path, judges)
    commit_pairs(lab, PAIRS)
    loaded: list[str] = []

    def load(judge):
        fingerprint = lab.evaluation_plan.judge_models[judge.called]
        if not loaded or loaded[-1] != fingerprint:
            loaded.append(fingerprint)
        return Scripted(lambda prompt, seed: [-0.1, -2.0] if prompt.startswith("logit") else answer(prompt, seed))

    monkeypatch.setattr(lab, "judge_engine", load)
    for model in (REFERENCE, OTHER):
        script(lab, Scripted(), model)
    lab.engines = {model_fingerprint(BuiltinModel.model_validate(OTHER)): lab.engines.popitem()[1]}
    judged(lab)
    # first the model that is loaded already
    assert loaded == [model_fingerprint(BuiltinModel.model_validate(model)) for model in (OTHER, REFERENCE)]


def test_an_engine_that_fails_loses_nothing_that_was_said(tmp_path, monkeypatch):
    monkeypatch.setattr("ops.stages.chunks.CHUNK_ROWS", 2)
    lab = open_lab(tmp_path, [{"name": "pairwise"}, scalar("binary")])
    commit_pairs(lab, PAIRS)
    said: list[str] = []

    def dies(prompt: str, seed: int) -> str:
        said.append(prompt)
        return answer(prompt, seed)

    class Dying(Scripted):
        def sample(self, requests, settings):
            for i, group in enumerate(super().sample(requests, settings)):
                if i == 1 and len(self.calls) == 1:
                    raise RuntimeError("the machine is gone")
                yield group

    engine = Dying(dies)
    script(lab, engine)
    with pytest.raises(RuntimeError, match="machine is gone"):
        judge_pairs(lab)
    with pytest.raises(StorageError, match=r"judge pairwise: 5 of 8 judgements are not in their pool"):
        commit_judgements(lab)
    assert not lab.store.has("synthetic_judgements", lab.plan.fingerprints[stage.ASSET])
    assert judge_pairs(lab)["judged"] == 5 + 6  # 3 of 8 questions had been answered; 4 responses against 2
    commit_judgements(lab)
    again = open_lab(tmp_path / "again", [{"name": "pairwise"}, scalar("binary")])
    commit_pairs(again, PAIRS)
    script(again, Scripted(answer))
    assert judged(again).equals(table_of(lab))


def test_without_judges_there_is_an_empty_table(tmp_path):
    lab = open_lab(tmp_path, [])
    commit_pairs(lab, PAIRS)
    assert judge_pairs(lab) == {"judged": 0, "reused": False}
    assert commit_judgements(lab).n_rows == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home with the reference's weights, untrained, and a reward model beside it."""
    from ops.builtin.model import new_model, new_tokenizer

    folder = tmp_path_factory.mktemp("judges")
    weights = folder / "home" / "models" / model_fingerprint(BuiltinModel.model_validate(REFERENCE))
    new_model("a", 0).save_pretrained(weights)
    new_tokenizer().save_pretrained(weights)
    save(folder / "reward")
    return folder


def real_lab(home: Path, judges, to: Path):
    """A lab with those weights and pairs in the models' notation."""
    shutil.copytree(home / "home" / "models", to / "models")
    lab = open_lab(to, judges)
    texts = [
        "10 + 8 = 18 ; 18 - 6 = 12",
        "3 * 4 = 12",
        "8 - 6 = 2 ; 2 + 9 = 11",
        "7 + 7 = 14",
        "9 - 1 = 8",
        "6 * 6 = 36",
    ]
    n = len(problems_of(lab, 0, "eval"))
    rows = [("b", texts[i % 6], texts[(i + 1) % 6]) for i in range(n)]
    commit_pairs(lab, [*rows, *(("c", texts[(5 * i + 2) % 6], texts[(i + 1) % 6]) for i in range(n))])
    return lab


def test_all_judges_with_real_models(home, tmp_path):
    judges = [*REAL, {"name": "reward_model", "path": str(home / "reward")}]
    lab = real_lab(home, judges, tmp_path / "one")
    rows = judged(lab)
    lab.close()
    assert rows.height == 12 * len(judges)
    for (judge,), part in rows.group_by("judge", maintain_order=True):
        assert part["score"].drop_nulls().is_between(0.0, 1.0).all(), judge
        if judge in ("logit", "p_true", "sequence_logprob", "self_certainty", "reward_model@reward"):
            assert part["score"].null_count() == 0 and part["score"].n_unique() > 2, judge
    again = real_lab(home, judges, tmp_path / "two")
    assert judged(again).equals(rows)
    again.close()


@pytest.mark.slow
def test_killed_by_sigkill_and_run_again(home, tmp_path):
    judges = [*REAL[:4], {"name": "reward_model", "path": str(home / "reward"), "batch_size": 2}]
    whole = real_lab(home, judges, tmp_path / "whole")
    expected = judged(whole)
    whole.close()
    lab = real_lab(home, judges, tmp_path / "killed")
    file = tmp_path / "experiment.json"
    file.write_text(lab.experiment.model_dump_json())
    script_file = Path(__file__).with_name("killed_judges.py")

    def run(count: int) -> subprocess.CompletedProcess:
        command = [sys.executable, script_file, tmp_path / "killed", file, str(count)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)

    for count in (2, 9):  # in the middle of one judge, and of another one
        assert run(count).returncode == -signal.SIGKILL
        with pytest.raises(StorageError, match="are not in their pool"):
            commit_judgements(lab)
    ended = run(0)
    assert ended.returncode == 0, ended.stderr
    assert 0 < int(ended.stdout) < 24 * 3 + 24 * 2  # a part of all questions and responses
    commit_judgements(lab)
    assert table_of(lab).equals(expected)
    for folder in (lab.store.home / "pools").glob("*/*"):
        keys = pl.concat([pl.read_parquet(path).select(pl.first()) for path in folder.glob("*.parquet")])
        assert keys.to_series().is_unique().all()  # nothing was judged twice
    lab.close()
