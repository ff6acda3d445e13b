"""What files and settings show is refused before any model is pretrained, loaded or asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ops.errors import DatasetError, EngineError, ModelError
from ops.lab import Lab
from ops.stages.base_model import obtain_base_model
from ops.stages.problems import all_problems, check_problem_files
from ops.stages.synthetic_judgements import judge_pairs
from tests.evaluation.evaluated import evaluated, write_rows, written
from tests.evaluation.judged_lab import commit_pairs, open_lab


def recorded(path: Path, rows: list[dict]) -> dict:
    return {"name": "recorded", "path": str(write_rows(path / "judge.jsonl", rows))}


def of_all(problems: list[str], models: tuple[str, ...], samples: int = 1) -> list[dict]:
    """A row for every pair."""
    return [
        {"problem_id": name, "model": model, "sample_index": j, "score": 0.5}
        for name in problems
        for model in models
        for j in range(samples)
    ]


BAD = {
    "a missing column": (
        lambda rows: [{**rows[0], "score": 1}, {k: v for k, v in rows[1].items() if k != "score"}],
        "required, but missing",
    ),
    "a row twice": (lambda rows: [*rows, rows[0]], "is judged in line 1 already"),
    "a row missing": (
        lambda rows: rows[:-1],
        r"no judgement of 1 of 48 pairs, e\.g\. of problem .*model two, sample 2",
    ),
    "no score": (lambda rows: [*rows[:-1], {**rows[-1], "score": None}], "no judgement of 1 of 48 pairs"),
    "other pairs": (lambda rows: [{**row, "model": row["model"].upper()} for row in rows], "none of its 48 judgements"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_of_judgements_that_cannot_be_used(tmp_path, case):
    """Of responses yet to be drawn: 8 problems, 2 models, 3 samples."""
    change, words = BAD[case]
    problems = [problem.problem_id for problem in all_problems(Lab.open(evaluated(), home=tmp_path / "home"))]
    rows = of_all(problems, ("one", "two"), samples=3)
    good = evaluated(evaluation={"judges": [recorded(tmp_path, rows)]})
    assert len(check_problem_files(good)[0]) == 8
    bad = evaluated(evaluation={"judges": [recorded(tmp_path, change(rows))]})
    with pytest.raises(DatasetError, match=words):  # where `mindgap run` looks
        check_problem_files(bad)
    lab = Lab.open(bad, home=tmp_path / "home")
    with pytest.raises(DatasetError, match=words):  # and in every other run
        obtain_base_model(lab)
    assert not any(lab.store.has_model(model) for model in lab.plan.evaluation.models.values())


@pytest.mark.parametrize("estimand", ["win_rate", "accuracy"])
def test_judgements_of_recorded_responses(tmp_path, estimand):
    """Of accuracy the reference's responses are judged, too."""
    models = ("base", "new") if estimand == "accuracy" else ("new",)
    rows = of_all([f"p{i}" for i in range(4)], models, samples=2)
    evaluation = {"estimand": estimand, "judges": [recorded(tmp_path, rows)]}
    check_problem_files(written(tmp_path, 4, ["base", "new"], samples=2, evaluation=evaluation))
    recorded(tmp_path, rows[1:])
    with pytest.raises(DatasetError, match=f"no judgement of 1 of {len(rows)} pairs") as caught:
        check_problem_files(written(tmp_path, 4, ["base", "new"], samples=2, evaluation=evaluation))
    assert "missing_judgements" in caught.value.remedy
    for allowed in ("mean", "exclude"):
        missing = {**evaluation, "missing_judgements": allowed}
        check_problem_files(written(tmp_path, 4, ["base", "new"], samples=2, evaluation=missing))


def test_pairs_without_a_judgement_are_known_before_other_judges_are_asked(tmp_path):
    """Where the file was changed after the run had started."""
    lab = open_lab(tmp_path / "home", [{"name": "pairwise"}, recorded(tmp_path, [])])
    pairs = commit_pairs(lab, [("b", "1", "2"), ("c", "1", "2")])
    recorded(tmp_path, of_all(pairs["problem_id"].unique().to_list(), ("b",)))
    with pytest.raises(DatasetError, match="no judgement of 1 of 2 pairs"):
        judge_pairs(lab)
    assert not lab.engines


def test_more_gold_labels_than_recorded_responses(tmp_path):
    """4 problems, 2 responses of each model to each."""
    options = {
        "task": {"name": "jsonl", "grader": "exact"},
        "problems": {"eval": 4, "eval_file": str(tmp_path / "truth.jsonl")},
    }
    write_rows(tmp_path / "truth.jsonl", [{"problem_id": f"p{i}", "problem": f"{i}?", "answer": "a"} for i in range(4)])
    for count in (8, 9):
        gold = {"labels": {"source": "gold", "count": count}}
        experiment = written(tmp_path, 4, ["base", "new"], samples=2, evaluation=gold, **options)
        if count == 8:
            check_problem_files(experiment)
            continue
        with pytest.raises(DatasetError, match="8 responses of each model, 9 labels asked for") as caught:
            check_problem_files(experiment)
        assert caught.value.field == "evaluation.labels.count"


@pytest.fixture(scope="module")
def word_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tokenizer knows some words, among them ``Problem`` and ``No``, and makes others unknown."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<unk>", "<|end|>", "Problem", "No"])}
    tokenizer = Tokenizer(models.WordLevel(vocab=words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("words") / "gpt2"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", unk_token="<unk>")
    fast.save_pretrained(folder)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 1}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder


def test_a_judge_that_does_not_know_its_choices(tmp_path, word_folder):
    model = {"kind": "folder", "path": str(word_folder), "prompts": "few_shot"}
    judges = [{"name": "bradley_terry", "verifier": {"name": "logit"}, "model": model}]
    lab = Lab.open(evaluated(evaluation={"judges": judges}), home=tmp_path / "home")
    with pytest.raises(ModelError, match=r"the choice ' ?Yes' of logit verification is unknown to this tokenizer") as e:
        obtain_base_model(lab)
    assert e.value.field == "evaluation.judges[0].verifier"
    assert not any(lab.store.has_model(fingerprint) for fingerprint in lab.plan.evaluation.models.values())


def test_an_unknown_choice_is_no_count_of_tokens(word_folder):
    from ops.engines.tokens import Tokens

    tokens = Tokens.of_folder(word_folder, "transformers")
    assert tokens.single_token("No") == 3
    for word, words in ((" Yes", "is unknown to this tokenizer"), ("No Problem", "is 2 tokens of this model")):
        with pytest.raises(EngineError, match=words):
            tokens.single_token(word)


def test_a_tokenizer_that_transformers_made_up_is_none(word_folder, tmp_path):
    """A GPT-2 without files of a tokenizer."""
    from ops.engines.tokens import load_tokenizer

    bare = tmp_path / "bare"
    shutil.copytree(word_folder, bare, ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    with pytest.raises(ModelError, match="no tokenizer that knows a word"):
        load_tokenizer(bare)
