"""Fine-tuned judges: they learn what labels say, never from the model that they judge, and a kill changes nothing."""

from __future__ import annotations

import json
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from ops.errors import DatasetError, EngineError
from ops.evaluation.plan import tuned_copy
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages.synthetic_judgements import commit_judgements, judge_pairs
from ops.stages.tuned_judgements import commit_tuned, tune_judges
from tests.evaluation import planted
from tests.evaluation.classifier import save_classifier
from tests.evaluation.killed_tuning import start
from tests.evaluation.planted import MODELS, N_PROBLEMS, open_planted, planted_experiment
from tests.killed_training import steps_of


def judgements(lab: Lab, asset: str) -> pl.DataFrame:
    """The committed rows with their labels."""
    prints = lab.plan.fingerprints
    rows = lab.store.read("synthetic_judgements", prints[evaluation_asset(asset)])
    labels = lab.store.read("human_labels", prints[evaluation_asset("human_labels")], ["pair_id", "label"])
    return rows.join(labels, on="pair_id", how="left", maintain_order="left")


def correlations(rows: pl.DataFrame) -> dict[str, float]:
    """Of judgements and labels, by model."""
    found = rows.group_by("model").agg(pl.corr("score", "label"))
    return dict(found.iter_rows())


def weights(lab: Lab, fingerprint: str) -> bytes:
    return (lab.store.model_folder(fingerprint) / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Lab:
    """A lab in which judges have judged, and copies of them were trained and have judged."""
    lab = open_planted(tmp_path_factory.mktemp("tuned") / "home", planted_experiment())
    judge_pairs(lab)
    commit_judgements(lab)
    lab.trained = tune_judges(lab)
    commit_tuned(lab)
    yield lab
    lab.close()


def test_fine_tuning_raises_the_correlation_on_the_model_left_out(tuned):
    before = correlations(judgements(tuned, "synthetic_judgements"))
    rows = judgements(tuned, "tuned_judgements")
    after = correlations(rows)
    assert set(after) == set(MODELS)
    assert max(before.values()) < 0.5 < 0.7 < min(after.values()), (before, after)
    assert rows.height == 3 * N_PROBLEMS
    assert rows["judge"].unique().to_list() == ["logit+tuned"]
    assert rows["score"].is_between(0, 1).all()
    # Bradley and Terry's preference of the copy's rewards
    asked = rows.filter(pl.col("reward").is_not_null())
    margin = (asked["reward"] - asked["reference_reward"]).to_numpy()
    np.testing.assert_allclose(asked["score"].to_numpy(), 1 / (1 + np.exp(-margin)), rtol=1e-9)
    same = tuned.store.read("pairs", tuned.plan.fingerprints["evaluation/pairs"]).filter("is_identical")["pair_id"]
    assert rows.filter(pl.col("pair_id").is_in(same.to_list()))["score"].to_list() == [0.5] * len(same)


def test_every_row_names_the_copy_that_judged_it(tuned):
    rows = judgements(tuned, "tuned_judgements")
    found = dict(rows.select("model", "judge_model").unique().iter_rows())
    assert found == tuned.evaluation_plan.tuned["logit+tuned"]
    assert len(set(found.values())) == 3
    assert all(tuned.store.has_model(value) for value in found.values())
    assert not (tuned.store.home / "work" / "judge_tuning").is_dir() or not any(
        (tuned.store.home / "work" / "judge_tuning").iterdir()
    )


def test_what_is_there_is_not_done_again(tuned):
    assert tuned.trained["trained"] == 3
    # two sides of 39 pairs that differ, for each model
    assert tuned.trained["judged"] == 3 * 2 * (N_PROBLEMS - 1)
    assert tune_judges(tuned) == {"trained": 0, "judged": 0, "reused": True}
    shutil.rmtree(tuned.store.home / "tables" / "synthetic_judgements")
    assert tune_judges(tuned) == {"trained": 0, "judged": 0, "waiting": 0, "reused": False}
    again = commit_tuned(tuned)
    assert again.n_rows == 3 * N_PROBLEMS
    assert again.metadata["logit+tuned_copies"] == 3
    assert again.metadata["logit+tuned_fewest_labelled_pairs"] == 2 * (N_PROBLEMS - 1)
    judge_pairs(tuned)
    commit_judgements(tuned)


def test_a_copy_never_sees_the_labels_of_the_model_that_it_judges(tuned, tmp_path):
    """With one model's labels turned round its copy is the same to the bit, and the others' are not."""
    lab = open_planted(tmp_path / "home", planted_experiment(), flip="two")
    tune_judges(lab)
    names = lab.evaluation_plan.tuned["logit+tuned"]
    same = {model: weights(lab, name) == weights(tuned, name) for model, name in names.items()}
    assert same == {"one": False, "two": True, "three": False}
    lab.close()


def test_labels_enter_the_fingerprint(tmp_path):
    labels = tmp_path / "labels.jsonl"

    def names():
        experiment = planted_experiment()
        evaluation = experiment.evaluation.model_copy(
            update={"labels": experiment.evaluation.labels.model_copy(update={"path": str(labels)})}
        )
        lab = Lab.open(experiment.model_copy(update={"evaluation": evaluation}), home=tmp_path / "home")
        return lab.evaluation_plan.tuned["logit+tuned"]

    before = names()
    labels.write_text(json.dumps({"pair_id": "x", "label": 1.0, "annotator": "k"}) + "\n")
    assert all(before[model] != value for model, value in names().items())


def test_problems_left_out_are_judged_by_folds(tmp_path):
    """Each fold's labels turned round for every model leave the copies of that fold as they were."""
    changes = {"leave_out": "model_and_problem", "folds": 2, "epochs": 1}
    lab = open_planted(tmp_path / "home", planted_experiment(**changes))
    numbers = tune_judges(lab)
    commit_tuned(lab)
    assert numbers["trained"] == 6
    rows = judgements(lab, "tuned_judgements")
    names = lab.evaluation_plan.tuned["logit+tuned"]
    pairs = lab.store.read("pairs", lab.plan.fingerprints["evaluation/pairs"], ["pair_id", "problem_id"])
    judged = rows.join(pairs, on="pair_id")
    for model in MODELS:
        by_copy = judged.filter(model=model).group_by("judge_model").agg("problem_id").sort("judge_model")
        assert set(by_copy["judge_model"]) == {tuned_copy(names[model], fold) for fold in (0, 1)}
        assert [len(ids) for ids in by_copy["problem_id"]] == [N_PROBLEMS // 2] * 2
    fold_of = dict(judged.filter(model="one").select("problem_id", "judge_model").iter_rows())
    zero = [name for name, copy in fold_of.items() if copy == tuned_copy(names["one"], 0)]

    other = open_planted(tmp_path / "other", planted_experiment(**changes))
    labels = other.store.read("human_labels", other.plan.fingerprints["evaluation/human_labels"])
    turned = pairs.filter(pl.col("problem_id").is_in(zero))["pair_id"].to_list()
    label = pl.when(pl.col("pair_id").is_in(turned)).then(1.0 - pl.col("label")).otherwise("label")
    shutil.rmtree(other.store.home / "tables" / "human_labels")
    other.materialise(
        "human_labels", "evaluation/human_labels", None, lambda: labels.with_columns(label=label), lambda frame: {}
    )
    tune_judges(other)
    for model in MODELS:
        copies = [tuned_copy(names[model], fold) for fold in (0, 1)]
        assert [weights(lab, copy) == weights(other, copy) for copy in copies] == [True, False]
    lab.close()
    other.close()


def test_copies_wait_for_labels_that_people_give_later(tmp_path):
    lab = open_planted(tmp_path / "home", planted_experiment(), labelled=5)
    assert tune_judges(lab) == {"trained": 0, "judged": 0, "waiting": 3, "reused": False}
    result = commit_tuned(lab)
    assert (result.n_rows, result.metadata["logit+tuned_copies_waiting_for_labels"]) == (0, 3)
    lab.close()


def test_too_few_gold_labels_name_the_remedy(tmp_path):
    gold = {"source": "gold", "count": 5}
    lab = open_planted(tmp_path / "home", planted_experiment(labels=gold), labelled=5)  # of two others 4 each differ
    with pytest.raises(DatasetError, match=r"8 labelled pairs of other models than one.*at least 10") as error:
        tune_judges(lab)
    assert "mindgap evaluate" in error.value.remedy
    assert not (lab.store.home / "work").exists()
    lab.close()


def test_a_reward_model_is_tuned_as_well(tmp_path):
    path = save_classifier(tmp_path / "classifier")
    judge = {"name": "reward_model", "path": str(path), "label": "rm", "scale": 2.0}
    lab = open_planted(tmp_path / "home", planted_experiment(judge=judge, of="rm"))
    judge_pairs(lab)
    commit_judgements(lab)
    assert tune_judges(lab)["trained"] == 3
    commit_tuned(lab)
    before = correlations(judgements(lab, "synthetic_judgements"))
    rows = judgements(lab, "tuned_judgements")
    after = correlations(rows)
    assert max(before.values()) < 0.5 < 0.7 < min(after.values()), (before, after)
    assert rows["judge"].unique().to_list() == ["rm+tuned"]
    lab.close()


def test_single_responses_are_learnt_by_themselves(tmp_path):
    """``estimand: accuracy``: the reference is one of the judged models, and rewards are log-odds of being correct."""
    lab = open_planted(tmp_path / "home", planted_experiment(estimand="accuracy"))
    assert tune_judges(lab)["trained"] == 4
    commit_tuned(lab)
    rows = judgements(lab, "tuned_judgements")
    assert set(rows["model"]) == {"countdown/a", *MODELS}
    assert min(correlations(rows).values()) > 0.7
    assert rows["reference_reward"].null_count() == rows.height
    lab.close()


def test_without_a_learning_judge_the_table_is_empty(tmp_path):
    experiment = planted_experiment()
    evaluation = experiment.evaluation.model_copy(update={"judges": experiment.evaluation.judges[:1]})
    lab = open_planted(tmp_path / "home", experiment.model_copy(update={"evaluation": evaluation}))
    assert tune_judges(lab) == {"trained": 0, "judged": 0, "waiting": 0, "reused": False}
    assert commit_tuned(lab).n_rows == 0
    lab.close()


def test_a_verifier_that_writes_text_cannot_learn():
    with pytest.raises(ValidationError, match=r"judges\[1\]\.of: a judge with a scalar reward"):
        planted_experiment(judge={"name": "bradley_terry", "verifier": {"name": "binary_cot"}}, of="binary_cot")


def test_a_text_that_does_not_fit_is_neither_learnt_from_nor_judged(tmp_path, monkeypatch):
    plain = planted._response

    def response(i: int, model: str) -> str:
        return " ".join("1" * 300) if (i, model) == (3, "two") else plain(i, model)  # the context is 256 tokens

    monkeypatch.setattr(planted, "_response", response)
    lab = open_planted(tmp_path / "home", planted_experiment(epochs=1))
    tune_judges(lab)
    commit_tuned(lab)
    names = lab.evaluation_plan.tuned["logit+tuned"]
    numbers = {
        model: json.loads((lab.store.model_folder(names[model]) / "mindgap.json").read_text()) for model in MODELS
    }
    learnt = {model: (found["labelled_pairs"], found["pairs_too_long"]) for model, found in numbers.items()}
    n = 2 * (N_PROBLEMS - 1)
    assert learnt == {"one": (n - 1, 1), "two": (n, 0), "three": (n - 1, 1)}
    assert judgements(lab, "tuned_judgements").filter(pl.col("score").is_null())["model"].to_list() == ["two"]
    lab.close()


def test_an_engine_with_one_model_cannot_ask_a_copy(tmp_path, monkeypatch):
    lab = open_planted(tmp_path / "home", planted_experiment())
    monkeypatch.setattr(type(lab.experiment.engine), "loads_checkpoints", False)
    with pytest.raises(EngineError, match=r"engine\.name: its server has its one model, and logit\+tuned"):
        tune_judges(lab)
    lab.close()


@pytest.mark.slow
def test_a_killed_tuning_ends_with_the_same_weights(tmp_path):
    experiment = planted_experiment(epochs=8)
    file = tmp_path / "experiment.json"
    file.write_text(experiment.model_dump_json())
    open_planted(tmp_path / "whole", experiment).close()
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    lab = Lab.open(experiment, home=tmp_path / "whole")
    names = lab.evaluation_plan.tuned["logit+tuned"]

    lines = steps_of(start(tmp_path / "whole", file))
    n_steps = 40  # 78 pairs in batches of 16, 8 epochs: ceil(8 * 78 / 16) = 39
    assert lines.count(39) >= 3
    for killed, model in enumerate(MODELS[:2]):
        process = start(tmp_path / "cut", file)
        at = random.randint(12, n_steps - 6)  # any step will do: not drawn from a seed
        work = tmp_path / "cut" / "work" / "judge_tuning" / names[model]
        for line in process.stdout:
            if int(line) >= at and any(work.glob("step-*")):
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL
        done = [(tmp_path / "cut" / "models" / names[name]).exists() for name in MODELS]
        assert done == [name in MODELS[:killed] for name in MODELS]
    steps_of(start(tmp_path / "cut", file))
    for name in names.values():
        for part in ("model.safetensors", "config.json", "training_steps.json"):
            paths = [tmp_path / home / "models" / name / part for home in ("whole", "cut")]
            assert paths[0].read_bytes() == paths[1].read_bytes(), part
    assert not any(Path(tmp_path / "cut" / "work" / "judge_tuning").glob("*"))
    lab.close()
