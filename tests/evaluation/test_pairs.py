"""Pairs drawn from real models: every pool draws what it lacks, a killed run resumes, identities are stable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ops.errors import DatasetError, EngineError, ModelError
from ops.lab import Lab
from ops.prompts.compact import CompactFormat
from ops.prompts.text import TextFormat
from ops.stages.base_model import obtain_base_model, save_model
from ops.stages.drawing import source_pool
from ops.stages.generations import grade_responses, sample_responses
from ops.stages.pairs import commit_pairs, draw_pairs, model_responses, writer_source
from ops.stages.problems import check_problem_files, make_problems, stored_problems
from ops.tasks.countdown import Countdown
from tests.conftest import tiny_experiment
from tests.evaluation.evaluated import builtin, evaluated, write_rows, written

LABELS = ("countdown/a", "one", "two")


@pytest.fixture(scope="module")
def models_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the three models before their first step, nothing drawn."""
    from ops.builtin.model import count_parameters, new_model, new_tokenizer

    home = tmp_path_factory.mktemp("models") / "home"
    lab = Lab.open(evaluated(), home=home)
    numbers = dict.fromkeys(("train_tokens", "train_flops", "optimizer_steps", "final_loss", "seconds"), 0)
    for seed, fingerprint in enumerate(lab.plan.evaluation.models.values()):
        model = new_model("a", seed)
        save_model(lab, fingerprint, model, new_tokenizer(), {"n_parameters": count_parameters(model), **numbers})
    return home


@pytest.fixture
def open_lab(models_home, tmp_path):
    """Opens labs in a home of the test's own, with the models in it."""
    shutil.copytree(models_home / "models", tmp_path / "home" / "models")
    labs = []

    def opened(experiment) -> Lab:
        lab = Lab.open(experiment, home=tmp_path / "home")
        labs.append(lab)
        make_problems(lab)
        return lab

    yield opened
    for lab in labs:
        lab.close()


def table(lab):
    return lab.store.read("pairs", lab.plan.fingerprints["evaluation/pairs"])


def test_every_model_is_obtained_and_registered_once(open_lab):
    """Three are there; the one that only judges is pretrained now."""
    judges = [
        {"name": "pairwise", "max_tokens": 8},  # asks the reference
        {"name": "pairwise", "model": builtin(1)},  # asks one that writes, too
        {"name": "pairwise", "model": builtin(3, steps=2), "label": "other"},
    ]
    lab = open_lab(evaluated(evaluation={"judges": judges}))
    obtain_base_model(lab)
    frame = lab.store.read("models", lab.plan.fingerprints["base_model"])
    assert list(zip(frame["role"], frame["model"], strict=True)) == [
        ("reference", "countdown/a"),
        ("compared", "one"),
        ("compared", "two"),
        ("judge", "countdown/a"),
    ]
    assert frame["model_fingerprint"].n_unique() == 4
    assert all(lab.store.has_model(fingerprint) for fingerprint in frame["model_fingerprint"])
    assert frame["optimizer_steps"].to_list() == [0, 0, 0, 2]


def test_recorded_models_are_registered_by_their_labels(tmp_path):
    lab = Lab.open(written(tmp_path, 3, ["base", "new", "old"]), home=tmp_path / "home")
    obtain_base_model(lab)
    frame = lab.store.read("models", lab.plan.fingerprints["base_model"])
    assert list(zip(frame["role"], frame["model"], frame["path"], strict=True)) == [
        ("reference", "base", None),
        ("compared", "new", None),
        ("compared", "old", None),
    ]


def test_problems_to_evaluate_stand_alone_in_a_file(tmp_path):
    """No file of training problems; and no model, a judge included, may have seen them in its pretraining."""

    def problems(split):
        rows = [{"numbers": p.data["numbers"], "target": p.data["target"]} for p in Countdown().generate(split, 5, 0)]
        return {"eval": 4, "eval_file": str(write_rows(tmp_path / f"{split}.jsonl", rows))}

    evaluation, training = check_problem_files(evaluated(problems=problems("eval")))
    assert (len(evaluation), {problem.split for problem in evaluation}, training) == (4, {"eval"}, [])
    with pytest.raises(DatasetError, match="4 problems to evaluate are trained on as well"):
        check_problem_files(evaluated(problems=problems("train")))
    judges = [{"name": "pairwise", "model": builtin(0)}]
    changes = {"task": {"name": "countdown"}, "problems": problems("train")}
    judged = written(tmp_path, 4, ["base", "new"], evaluation={"judges": judges}, **changes)
    with pytest.raises(DatasetError, match="4 problems to evaluate are trained on as well"):
        check_problem_files(judged)
    with pytest.raises(DatasetError, match="5 problems, 6 needed"):
        check_problem_files(evaluated(problems={**problems("eval"), "eval": 6}))


def test_pairs_hold_response_j_of_both_models(open_lab):
    lab = open_lab(evaluated())
    assert [problem.split for problem in stored_problems(lab)] == ["eval"] * 8
    numbers = draw_pairs(lab)
    assert (numbers["drawn"], numbers["reused_samples"], numbers["models_asked"]) == (3 * 8 * 3, 0, 3)
    result = commit_pairs(lab)
    frame = table(lab)
    assert frame.height == result.metadata["pairs"] == 2 * 8 * 3
    assert frame["pair_id"].n_unique() == frame.height
    by_id = {}
    for label in LABELS:
        rows = source_pool(lab, writer_source(lab, label)).read()
        assert rows.height == 24
        by_id |= {
            row["response_id"]: (label, row["sample_index"], row["response"]) for row in rows.iter_rows(named=True)
        }
    ids = [problem.problem_id for problem in stored_problems(lab)]
    expected = [(label, name, j) for label in LABELS[1:] for name in ids for j in range(3)]
    assert list(zip(frame["model"], frame["problem_id"], frame["sample_index"], strict=True)) == expected
    for row in frame.iter_rows(named=True):
        own = (row["model"], row["sample_index"], row["response"])
        beside = (row["reference"], row["sample_index"], row["reference_response"])
        assert (by_id[row["response_id"]], by_id[row["reference_response_id"]]) == (own, beside)
        assert row["reference"] == "countdown/a" and row["category"] is None
        assert row["is_identical"] == (row["response"] == row["reference_response"])
    assert set(frame["shown_first"]) == {"model", "reference"}
    assert draw_pairs(lab) == {"drawn": 0, "reused": True}


def test_more_samples_draw_the_difference_and_no_model_is_loaded_for_nothing(open_lab):
    draw_pairs(open_lab(evaluated(sampling={"n_eval": 1, "max_tokens": 16})))
    lab = open_lab(evaluated())
    numbers = draw_pairs(lab)
    assert (numbers["drawn"], numbers["reused_samples"]) == (3 * 8 * 2, 3 * 8)
    fewer = [{"model": builtin(2), "label": "renamed"}]
    again = open_lab(evaluated(evaluation={"models": fewer}))
    assert draw_pairs(again) == {"drawn": 0, "reused_samples": 2 * 24, "models_asked": 0, "reused": False}
    assert again.engines == {}
    commit_pairs(lab)
    assert commit_pairs(again).n_rows == 24


def test_an_experiment_with_a_loop_shares_its_responses(open_lab):
    """The reference is its base model; it has drawn more samples of more problems."""
    loop = open_lab(
        tiny_experiment(model=builtin(0), sampling={"n_train": 2, "n_eval": 4, "max_tokens": 16}, iterations=0)
    )
    sample_responses(loop, 0)
    grade_responses(loop, 0)
    drawn = loop.store.read("generations", loop.plan.fingerprints["iteration_0/generations"]).filter(split="eval")
    lab = open_lab(evaluated())
    assert {problem.problem_id for problem in stored_problems(lab)} == set(drawn["problem_id"])
    assert (found := draw_pairs(lab))["models_asked"] == 2 and found["reused_samples"] == 24
    commit_pairs(lab)
    assert set(table(lab)["reference_response_id"]) == set(drawn.filter(drawn["sample_index"] < 3)["response_id"])
    reference = dict(model_responses(lab))["countdown/a"]
    both = reference.join(drawn, on="response_id", suffix="_drawn")
    assert both.height == 24 and both["verdict"].to_list() == both["verdict_drawn"].to_list()


def test_a_killed_drawing_goes_on_where_it_was(open_lab, models_home, tmp_path, monkeypatch):
    """The engine of the second model dies at its work; the pairs are those of a run that nothing ended."""
    monkeypatch.setattr("ops.stages.chunks.CHUNK_ROWS", 8)
    lab = open_lab(evaluated())
    engine_of = Lab.writer_engine

    def dying(self, label):
        engine = engine_of(self, label)
        if label != "one":
            return engine

        class Dies:
            def __getattr__(self, name):
                return getattr(engine, name)

            def sample(self, requests, settings):
                for finished in engine.sample(requests, settings):
                    yield finished[:10]
                    raise RuntimeError("killed")

        return Dies()

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(Lab, "writer_engine", dying)
        draw_pairs(lab)
    assert not lab.store.has("pairs", lab.plan.fingerprints["evaluation/pairs"])
    kept = [source_pool(lab, writer_source(lab, label)).read().height for label in LABELS]
    assert kept == [24, 10, 0]
    rest = draw_pairs(lab)
    assert (rest["drawn"], rest["reused_samples"]) == (72 - sum(kept), sum(kept))
    commit_pairs(lab)
    whole = table(lab)
    shutil.copytree(models_home / "models", tmp_path / "other" / "models")
    other = Lab.open(evaluated(), home=tmp_path / "other")
    make_problems(other)
    draw_pairs(other)
    commit_pairs(other)
    other.close()
    assert table(other).equals(whole)


def test_accuracy_takes_single_responses_of_every_model(open_lab):
    lab = open_lab(evaluated(evaluation={"estimand": "accuracy"}))
    draw_pairs(lab)
    commit_pairs(lab)
    frame = table(lab)
    assert dict(frame.group_by("model").len().iter_rows()) == dict.fromkeys(LABELS, 24)
    for column in ("reference", "reference_response", "reference_response_id", "shown_first"):
        assert frame[column].null_count() == frame.height
    assert not frame["is_identical"].any() and frame["pair_id"].n_unique() == 72


def test_who_is_shown_first_is_balanced_and_tells_nothing(tmp_path):
    """2,000 pairs: a fair coin's count of heads is 1,000 with standard deviation sqrt(2000/4) = 22."""
    experiment = written(tmp_path, 1000, ["base", "new", "old"])
    lab = Lab.open(experiment, home=tmp_path / "home")
    make_problems(lab)
    commit_pairs(lab)
    frame = table(lab)
    first = (frame["shown_first"] == "model").to_numpy()
    assert abs(first.sum() - 1000) < 4 * 22.4
    # of one problem both models are shown first as often as independent coins say: 500 of 1,000, deviation 15.8
    assert abs((first[:1000] == first[1000:]).sum() - 500) < 4 * 15.8


def test_pairs_are_written_part_by_part(tmp_path, monkeypatch):
    """Whatever the size of the parts, rows and identities are the same."""
    experiment = written(tmp_path, 7, ["base", "new", "old"], samples=2)
    found = []
    for size in (8192, 3):
        monkeypatch.setattr("ops.stages.pairs.ROWS_AT_ONCE", size)
        lab = Lab.open(experiment, home=tmp_path / f"home{size}")
        make_problems(lab)
        assert commit_pairs(lab).n_rows == 2 * 7 * 2
        found.append(table(lab))
    assert found[0].equals(found[1])
    assert (found[0]["reference_response"] == found[0]["response"].str.replace("new|old", "base")).all()


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is spoken to in words: one layer, byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {word: i for i, word in enumerate(["<|end|>", *sorted(alphabet)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("text") / "bytes"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(vocabulary), n_embd=16, n_layer=1, n_head=2, n_positions=1536, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def with_text(folder: Path, max_tokens: int = 8, **changes):
    """A model that is spoken to in words beside the built-in reference; ``changes`` replace other fields."""
    models = [{"model": {"kind": "folder", "path": str(folder), "prompts": "few_shot"}, "label": "words"}]
    sampling = {"n_eval": 1, "max_tokens": max_tokens}
    known = {"problems": {"eval": 2}, "sampling": sampling}
    evaluation = {"models": models, "labels": {"source": "gold"}, **changes.pop("evaluation", {})}
    return evaluated(**{**known, **changes, "evaluation": evaluation})


def test_each_model_is_asked_in_its_own_format(open_lab, text_folder):
    lab = open_lab(with_text(text_folder))
    obtain_base_model(lab)
    draw_pairs(lab)
    commit_pairs(lab)
    problems = stored_problems(lab)
    formats = {
        "countdown/a": CompactFormat(),
        "words": TextFormat(lab.experiment.task, text_folder, "few_shot"),
    }
    for label, prompts in formats.items():
        rows = source_pool(lab, writer_source(lab, label)).read()
        assert set(rows["prompt"]) == {prompts.solve(problem) for problem in problems}
    assert table(lab)["response"].to_list() == dict(model_responses(lab))["words"]["response"].to_list()


def test_a_prompt_that_does_not_fit_is_known_before_any_model_answers(open_lab, text_folder, monkeypatch):
    lab = open_lab(with_text(text_folder, max_tokens=1500))
    monkeypatch.setattr(Lab, "writer_engine", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(EngineError, match=r"model words.*do not fit"):
        draw_pairs(lab)


def test_a_checkpoint_without_a_tokenizer_is_refused_before_pretraining(text_folder, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(text_folder, folder, ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    lab = Lab.open(with_text(folder), home=tmp_path / "home")
    with pytest.raises(ModelError, match="tokenizer"):
        obtain_base_model(lab)
    assert not lab.store.has_model(lab.plan.models[0])


def test_the_same_checkpoint_twice_is_refused(text_folder, tmp_path):
    shutil.copytree(text_folder, tmp_path / "copy")
    paths = {"words": text_folder, "copy": tmp_path / "copy"}
    models = [
        {"model": {"kind": "folder", "path": str(path), "prompts": "few_shot"}, "label": label}
        for label, path in paths.items()
    ]
    lab = Lab.open(evaluated(evaluation={"models": models}), home=tmp_path / "home")
    with pytest.raises(ModelError, match=r"model copy: evaluation\.models: the same model as words"):
        obtain_base_model(lab)


def test_a_reward_model_gives_one_number(text_folder, tmp_path):
    judges = [{"name": "reward_model", "path": str(tmp_path / "judge")}]
    shutil.copytree(text_folder, tmp_path / "judge")
    experiment = written(tmp_path, 3, ["base", "new"], evaluation={"judges": judges})
    with pytest.raises(ModelError, match="a classifier of 2 labels") as caught:
        obtain_base_model(Lab.open(experiment, home=tmp_path / "home"))
    assert caught.value.field == "evaluation.judges[0].path"
    config = json.loads((tmp_path / "judge" / "config.json").read_text())
    (tmp_path / "judge" / "config.json").write_text(json.dumps({**config, "id2label": {"0": "LABEL_0"}}))
    lab = Lab.open(experiment, home=tmp_path / "home")
    obtain_base_model(lab)
    frame = lab.store.read("models", lab.plan.fingerprints["base_model"])
    assert frame["role"].to_list() == ["reference", "compared", "judge"]
    assert frame["n_parameters"][2] > 0


def test_a_prompt_that_two_problems_share_is_drawn_once_and_graded_for_each(open_lab, text_folder, tmp_path):
    """Files may pose a question under two ids, with another truth each."""
    rows = [
        {"problem_id": name, "problem": "Say anything.", "answer": answer, "data": {"place": name}}
        for name, answer in (("here", "no"), ("there", "yes"))
    ]
    lab = open_lab(
        with_text(
            text_folder,
            task={"name": "jsonl", "grader": "exact"},
            model={"kind": "folder", "path": str(text_folder), "prompts": "few_shot"},
            problems={"eval": 2, "eval_file": str(write_rows(tmp_path / "problems.jsonl", rows))},
            evaluation={"models": [], "judges": [], "estimand": "accuracy"},
        )
    )
    assert draw_pairs(lab)["drawn"] == 1
    commit_pairs(lab)
    frame = table(lab)
    assert frame["problem_id"].to_list() == ["here", "there"]
    assert frame["response_id"].n_unique() == 1 and frame["pair_id"].n_unique() == 2
