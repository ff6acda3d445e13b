"""The stages on a tiny model: everything is committed, reused, topped up, and the same when run again from scratch."""

from __future__ import annotations

import polars as pl
import pytest

from ops.errors import DatasetError
from ops.lab import Lab
from ops.plan import asset_name, make_plan
from ops.stages.base_model import obtain_base_model
from ops.stages.comparison import compare_verifiers, sweep_filters
from ops.stages.diversity import measure_diversity
from ops.stages.finetuning import finetune_model, register_model, select_finetune_data
from ops.stages.gap import measure_gap
from ops.stages.generations import SAMPLE_SCHEMA, grade_responses, sample_responses
from ops.stages.iteration_changes import measure_changes
from ops.stages.policy_shift import measure_policy_shift, read_under_base
from ops.stages.problem_flips import measure_flips
from ops.stages.problems import make_problems
from ops.stages.saturation import fit_saturation
from ops.stages.scores import collect_scores
from ops.stages.selection_metrics import measure_selection
from ops.stages.stopping_rules import judge_rules
from ops.stages.test_time import measure_test_time
from ops.stages.verification import verify_responses
from ops.stages.verifier_metrics import measure_calibration, measure_verifiers
from tests.conftest import tiny_experiment


def run_iteration(lab: Lab, iteration: int) -> dict:
    sample_responses(lab, iteration)
    results = {"generations": grade_responses(lab, iteration)}
    verify_responses(lab, iteration)
    results["verification_scores"] = collect_scores(lab, iteration)
    results["gap_metrics"] = measure_gap(lab, iteration)
    results["verifier_metrics"] = measure_verifiers(lab, iteration)
    results["calibration_bins"] = measure_calibration(lab, iteration)
    results["threshold_sweeps"] = sweep_filters(lab, iteration)
    results["verifier_pairs"] = compare_verifiers(lab, iteration)
    results["test_time_metrics"] = measure_test_time(lab, iteration)
    results["diversity_metrics"] = measure_diversity(lab, iteration)
    read_under_base(lab, iteration)
    results["policy_shift"] = measure_policy_shift(lab, iteration)
    if iteration > 0:
        results["iteration_changes"] = measure_changes(lab, iteration)
        results["problem_flips"] = measure_flips(lab, iteration)
    results["stopping_rules"] = judge_rules(lab, iteration)
    if iteration < lab.experiment.iterations:
        results["finetune_data"] = select_finetune_data(lab, iteration)
        results["selection_metrics"] = measure_selection(lab, iteration)
        finetune_model(lab, iteration)
        results["model"] = register_model(lab, iteration)
    return results


def run_all(lab: Lab) -> dict:
    results = {"problems": make_problems(lab), "base_model": obtain_base_model(lab)}
    for iteration in range(lab.experiment.iterations + 1):
        for asset, result in run_iteration(lab, iteration).items():
            results[asset_name(asset, iteration)] = result
    results["saturation"] = fit_saturation(lab)
    return results


def read(lab: Lab, asset: str, iteration: int | None = None) -> pl.DataFrame:
    table = {"base_model": "models", "model": "models"}.get(asset, asset)
    return lab.store.read(table, lab.plan.fingerprints[asset_name(asset, iteration)])


def test_everything_is_committed_once_and_reused_the_second_time(lab):
    first = run_all(lab)
    assert set(first) | {"report"} == set(lab.plan.fingerprints)
    assert not any(result.reused for result in first.values())
    assert all(result.fingerprint == lab.plan.fingerprints[name] for name, result in first.items())
    again = Lab.open(lab.experiment, home=lab.store.home, run_id="again")
    again.engine = None  # nothing may need a model
    assert all(result.reused for result in run_all(again).values())
    generations = read(lab, "generations", 1)
    assert generations.height == 6 * 4 + 8 * 8
    assert generations["response_id"].n_unique() == generations.height
    scores = read(lab, "verification_scores", 1)
    assert scores.height == 2 * generations.height
    assert scores["verdict"].null_count() == 0
    unparseable = scores.filter(pl.col("verdict") == "unparseable")
    assert unparseable["score"].null_count() == unparseable.height > 0
    gaps = read(lab, "gap_metrics", 0)
    assert set(gaps["verifier"]) == {"binary_cot", "logit"}
    assert set(gaps["split"]) == {"eval", "train"}


@pytest.mark.slow
def test_the_same_experiment_from_scratch_gives_the_same_responses(tmp_path):
    frames = []
    for place in ("one", "two"):
        lab = Lab.open(tiny_experiment(), home=tmp_path / place)
        run_all(lab)
        frames.append((lab.plan.fingerprints, read(lab, "generations", 1), read(lab, "verification_scores", 1)))
        lab.close()
    assert frames[0][0] == frames[1][0]
    assert frames[0][1].equals(frames[1][1])
    assert frames[0][2].equals(frames[1][2])


def test_more_samples_draw_only_the_missing_ones(lab):
    make_problems(lab)
    obtain_base_model(lab)
    sample_responses(lab, 0)
    grade_responses(lab, 0)
    bigger = tiny_experiment(sampling={"n_train": 4, "n_eval": 12, "max_tokens": 16})
    more = Lab.open(bigger, home=lab.store.home)
    more.store.read("problems", make_problems(more).fingerprint)
    numbers = sample_responses(more, 0)
    assert numbers["drawn"] == 8 * 4
    assert numbers["reused_samples"] == 6 * 4 + 8 * 8
    grade_responses(more, 0)
    before, after = read(lab, "generations", 0), read(more, "generations", 0)
    assert after.join(before, on="response_id").height == before.height
    more.close()


def test_changing_only_the_verifier_draws_nothing(lab):
    run_all(lab)
    other = tiny_experiment(verifiers=[{"name": "logit"}])
    assert make_plan(other).fingerprints["iteration_0/generations"] == lab.plan.fingerprints["iteration_0/generations"]
    assert make_plan(other).fingerprints["iteration_0/gap_metrics"] != lab.plan.fingerprints["iteration_0/gap_metrics"]
    again = Lab.open(other, home=lab.store.home)
    again.engine = None
    make_problems(again)
    assert sample_responses(again, 0)["drawn"] == 0
    assert verify_responses(again, 0)["scored"] == 0


def test_a_killed_sampling_resumes_at_the_first_missing_chunk(lab, monkeypatch):
    monkeypatch.setattr("ops.stages.chunks.CHUNK_ROWS", 20)
    make_problems(lab)
    obtain_base_model(lab)
    lab.experiment = lab.experiment.model_copy(
        update={"engine": lab.experiment.engine.model_copy(update={"batch_size": 10})}
    )

    class Killed(Exception):
        pass

    def kill(what, done, total, numbers):
        if "sampling" in what and done >= 40:
            raise Killed

    lab.progress = kill
    with pytest.raises(Killed):
        sample_responses(lab, 0)
    kept = lab.store.pool("samples", lab.plan.sample_pools[0], SAMPLE_SCHEMA).keys()
    assert len(kept) == 40
    lab.progress = lambda *_: None
    numbers = sample_responses(lab, 0)
    assert (numbers["drawn"], numbers["reused_samples"]) == (48, 40)
    grade_responses(lab, 0)
    assert kept < set(read(lab, "generations", 0)["response_id"])


def test_an_empty_filter_is_one_clear_error(tmp_path):
    experiment = tiny_experiment(filter={"name": "threshold", "verifier": "logit", "threshold": 2.0})
    lab = Lab.open(experiment, home=tmp_path)
    make_problems(lab)
    obtain_base_model(lab)
    sample_responses(lab, 0)
    grade_responses(lab, 0)
    verify_responses(lab, 0)
    collect_scores(lab, 0)
    assert select_finetune_data(lab, 0).n_rows == 0
    with pytest.raises(DatasetError, match="kept no response"):
        finetune_model(lab, 0)
    lab.close()


def test_the_checkpoint_is_an_ordinary_hugging_face_folder(lab):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    obtain_base_model(lab)
    folder = lab.store.model_folder(lab.plan.models[0])
    assert not [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "llama"
    assert tokenizer.decode(tokenizer("<s> 10 8 -> 12 : .")["input_ids"]) == "<s> 10 8 -> 12 : ."


def test_each_iteration_trains_on_its_own_problems(lab):
    make_problems(lab)
    frame = read(lab, "problems")
    train = frame.filter(pl.col("split") == "train")
    assert train.group_by("train_iteration").len().sort("train_iteration").rows() == [(0, 6), (1, 6)]
    assert train["problem_id"].n_unique() == 12
    assert not set(train["problem_id"]) & set(frame.filter(pl.col("split") == "eval")["problem_id"])


def test_caps_on_the_training_data(tmp_path):
    training = {"name": "sft", "epochs": 1, "batch_size": 8, "max_per_problem": 2, "max_examples": 7}
    lab = Lab.open(tiny_experiment(training=training), home=tmp_path)
    make_problems(lab)
    obtain_base_model(lab)
    sample_responses(lab, 0)
    grade_responses(lab, 0)
    verify_responses(lab, 0)
    collect_scores(lab, 0)
    select_finetune_data(lab, 0)
    frame = read(lab, "finetune_data", 0)
    assert frame.height <= 7
    assert frame.group_by("problem_id").len()["len"].max() <= 2
    assert all(text.endswith(". </s>") for text in frame["completion"])
    lab.close()
