"""Fine-tuned judges: they learn what labels say, never from the model that they judge, and a kill changes nothing."""

from __future__ import annotations

import json
import random
import shutil
import signal
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from ops.errors import DatasetError, EngineError
from ops.lab import Lab
from ops.plan import evaluation_asset
from ops.stages import judge_training
from ops.stages.judge_training import copies_of
from ops.stages.synthetic_judgements import commit_judgements, judge_pairs, read_pairs
from ops.stages.tuned_judgements import commit_tuned, shared_problems, tune_judges
from tests.evaluation import planted
from tests.evaluation.classifier import save_classifier
from tests.evaluation.killed_tuning import start
from tests.evaluation.planted import MODELS, N_PROBLEMS, open_planted, planted_experiment
from tests.evaluation.win_rate_tables import commit, opened, put_pairs
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


def fingerprints(lab: Lab, fold: int | None = None) -> dict[str, str]:
    """Of the copies of the fine-tuned judge, by the model left out."""
    return {copy.left_out: copy.fingerprint for copy in copies_of(lab, read_pairs(lab)) if copy.fold == fold}


def relabelled(lab: Lab, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """The lab's table of labels becomes another one."""
    asset = evaluation_asset("human_labels")
    labels = change(lab.store.read("human_labels", lab.plan.fingerprints[asset]))
    shutil.rmtree(lab.store.home / "tables" / "human_labels")
    lab.materialise("human_labels", asset, None, lambda: labels, lambda frame: {})


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
    assert found == fingerprints(tuned)
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
    # All pairs of all three models are labelled: the same problems.
    assert again.metadata["logit+tuned_shared_problems_of_labelled_pairs"] == 1.0
    assert "logit+tuned_shared_problems_of_other_pairs" not in again.metadata
    judge_pairs(tuned)
    commit_judgements(tuned)


def test_pairs_of_problems_that_other_models_have_labels_of(tmp_path):
    """p0 is labelled for m and k, p1 for m, p2 for k, p3 to p7 for nobody.

    Of four labelled pairs m0 and k0 share their problem. Of twelve others k1 (m) and m2 (k) do.
    """
    lab = opened(tmp_path, models=("m", "k"))
    put_pairs(lab, ("m", "k"))
    rows = [{"pair_id": name, "model": name[0], "annotator": "ann", "label": 1.0} for name in ("m0", "k0", "m1", "k2")]
    commit(lab, "human_labels", "human_labels", rows)
    pairs = lab.store.read("pairs", lab.plan.fingerprints["evaluation/pairs"])
    found = shared_problems(lab, pairs)
    assert found == {"shared_problems_of_labelled_pairs": 0.5, "shared_problems_of_other_pairs": pytest.approx(2 / 12)}


def test_a_copy_never_sees_the_labels_of_the_model_that_it_judges(tuned, tmp_path):
    """With one model's labels turned round its copy is the same to the bit, and the others' are not."""
    lab = open_planted(tmp_path / "home", planted_experiment(), flip="two")
    tune_judges(lab)
    names, before = fingerprints(lab), fingerprints(tuned)
    same = {model: weights(lab, name) == weights(tuned, before[model]) for model, name in names.items()}
    assert same == {"one": False, "two": True, "three": False}
    assert {
        model: name == before[model] for model, name in names.items()
    } == same  # in one home it is not trained again
    lab.close()


def test_only_copies_that_learn_from_other_labels_now_are_trained_again(tmp_path):
    lab = open_planted(tmp_path / "home", planted_experiment(epochs=1))
    before = fingerprints(lab)
    assert tune_judges(lab)["trained"] == 3
    commented = pl.lit("Both are short.").alias("comment")
    relabelled(lab, lambda labels: labels.with_columns(commented, annotator=pl.lit("somebody else")).reverse())
    assert tune_judges(lab) == {"trained": 0, "judged": 0, "waiting": 0, "reused": False}
    label = pl.when(model="two").then(1.0 - pl.col("label")).otherwise("label")
    relabelled(lab, lambda labels: labels.with_columns(label=label))
    after = fingerprints(lab)
    assert {model: after[model] == before[model] for model in MODELS} == {"one": False, "two": True, "three": False}
    assert tune_judges(lab)["trained"] == 2
    lab.close()


def test_a_trained_copy_is_gone_before_its_memory_is_given_back(tmp_path, monkeypatch):
    started, alive = [], []
    start_ = judge_training._start

    def start_watched(*args):
        model, tokenizer = start_(*args)
        started.append(weakref.ref(model))
        return model, tokenizer

    monkeypatch.setattr(judge_training, "_start", start_watched)
    monkeypatch.setattr(judge_training, "release_memory", lambda: alive.append([one() is None for one in started]))
    lab = open_planted(tmp_path / "home", planted_experiment(epochs=1))
    tune_judges(lab)
    assert alive == [[True] * 1, [True] * 2, [True] * 3]
    lab.close()


def test_problems_left_out_are_judged_by_folds(tmp_path):
    """Each fold's labels turned round for every model leave the copies of that fold as they were."""
    changes = {"leave_out": "model_and_problem", "folds": 2, "epochs": 1}
    lab = open_planted(tmp_path / "home", planted_experiment(**changes))
    numbers = tune_judges(lab)
    commit_tuned(lab)
    assert numbers["trained"] == 6
    rows = judgements(lab, "tuned_judgements")
    names = [fingerprints(lab, fold) for fold in (0, 1)]
    pairs = lab.store.read("pairs", lab.plan.fingerprints["evaluation/pairs"], ["pair_id", "problem_id"])
    judged = rows.join(pairs, on="pair_id")
    for model in MODELS:
        by_copy = judged.filter(model=model).group_by("judge_model").agg("problem_id").sort("judge_model")
        assert set(by_copy["judge_model"]) == {names[fold][model] for fold in (0, 1)}
        assert [len(ids) for ids in by_copy["problem_id"]] == [N_PROBLEMS // 2] * 2
    fold_of = dict(judged.filter(model="one").select("problem_id", "judge_model").iter_rows())
    zero = [name for name, copy in fold_of.items() if copy == names[0]["one"]]

    other = open_planted(tmp_path / "other", planted_experiment(**changes))
    turned = pairs.filter(pl.col("problem_id").is_in(zero))["pair_id"].to_list()
    label = pl.when(pl.col("pair_id").is_in(turned)).then(1.0 - pl.col("label")).otherwise("label")
    relabelled(other, lambda labels: labels.with_columns(label=label))
    tune_judges(other)
    for fold, same in ((0, True), (1, False)):
        for model, name in fingerprints(other, fold).items():
            assert (weights(lab, names[fold][model]) == weights(other, name)) is same
    lab.close()
    other.close()


def test_copies_wait_for_labels_that_people_give_later(tmp_path):
    lab = open_planted(tmp_path / "home", planted_experiment(), labelled=5)
    assert tune_judges(lab) == {"trained": 0, "judged": 0, "waiting": 3, "reused": False}
    result = commit_tuned(lab)
    assert (result.n_rows, result.metadata["logit+tuned_copies_waiting_for_labels"]) == (0, 3)
    lab.close()


def test_pairs_too_long_to_be_read_are_no_labels_to_learn_from(tmp_path, monkeypatch):
    """Of each model 6 labels, of which one pair is identical: 10 of two models, less those of model two too long."""
    _with_a_long_response(monkeypatch)
    lab = open_planted(tmp_path / "home", planted_experiment(epochs=1), labelled=6)
    numbers = tune_judges(lab)
    assert (numbers["trained"], numbers["waiting"]) == (1, 2)
    result = commit_tuned(lab)
    assert (result.n_rows, result.metadata["logit+tuned_copies_waiting_for_labels"]) == (N_PROBLEMS, 2)
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


def _with_a_long_response(monkeypatch) -> None:
    """Of model two to problem 3."""
    plain = planted._response

    def response(i: int, model: str) -> str:
        return " ".join("1" * 300) if (i, model) == (3, "two") else plain(i, model)  # the context is 256 tokens

    monkeypatch.setattr(planted, "_response", response)


def test_a_text_that_does_not_fit_is_neither_learnt_from_nor_judged(tmp_path, monkeypatch):
    _with_a_long_response(monkeypatch)
    lab = open_planted(tmp_path / "home", planted_experiment(epochs=1))
    tune_judges(lab)
    commit_tuned(lab)
    names = fingerprints(lab)
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
    names = fingerprints(lab)

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
