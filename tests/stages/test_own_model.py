"""A checkpoint that is not ours — another tokenizer, few-shot or chat template — goes through every stage."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from ops.checkpoints import checkpoint_fingerprint, locate_checkpoint
from ops.config import Experiment, FolderModel, HubModel
from ops.errors import ModelError
from ops.lab import Lab
from ops.plan import make_plan
from ops.prompts.text import TextFormat
from ops.stages.base_model import obtain_base_model
from ops.tasks.countdown import Countdown
from ops.types import CORRECT, INCORRECT, UNPARSEABLE
from tests.conftest import tiny_experiment
from tests.stages.test_stages import read, run_all

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def text_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of one layer with a byte-level tokenizer that knows Yes and No; built here from its configuration."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(["Yes No Yes No Answer: Yes Answer: No Problem: Verdict: correct"] * 50, trainer)
    folder = tmp_path_factory.mktemp("checkpoint") / "gpt2"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(fast), n_embd=32, n_layer=1, n_head=2, n_positions=2048, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    # As many published checkpoints have it: transformers reads this with a warning, and refuses to write it.
    generation = {"bos_token_id": 0, "eos_token_id": [0, 3], "temperature": 0.6, "top_p": 0.9}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def _experiment(folder: Path, **changes) -> Experiment:
    return tiny_experiment(
        model={"kind": "folder", "path": str(folder), "prompts": "few_shot"},
        problems={"train_per_iteration": 2, "eval": 2},
        sampling={"n_train": 2, "n_eval": 2, "max_tokens": 8},
        verifiers=[{"name": "binary_cot", "max_tokens": 8}, {"name": "logit"}],
        training={"name": "sft", "epochs": 1, "batch_size": 2},
        **changes,
    )


def test_it_goes_through_every_stage(text_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ops.stages.finetuning.finished", lambda frame: (frame["finish_reason"] != "").to_numpy()
    )  # an untrained model never stops by itself
    lab = Lab.open(_experiment(text_checkpoint), home=tmp_path)
    results = run_all(lab)
    lab.close()
    assert set(results) | {"report"} == set(lab.plan.fingerprints)
    generations = read(lab, "generations", 1)
    assert generations["prompt"].str.contains("Problem: Combine the numbers").all()
    scores = read(lab, "verification_scores", 0).filter(pl.col("verifier") == "logit")
    assert scores["score"].is_between(-1.0, 1.0).all()
    assert read(lab, "base_model")["path"].to_list() == [str(text_checkpoint)]
    trained = lab.store.model_folder(lab.plan.models[1])
    assert (trained / "model.safetensors").is_file()
    assert json.loads((trained / "generation_config.json").read_text())["eos_token_id"] == [0, 3]
    assert json.loads((trained / "config.json").read_text())["attn_pdrop"] == 0.1  # off in training only


def test_the_wording_is_part_of_the_fingerprint(text_checkpoint, monkeypatch):
    before = make_plan(_experiment(text_checkpoint))
    monkeypatch.setattr(Countdown, "question", lambda self, problem: "Another question.")
    after = make_plan(_experiment(text_checkpoint))
    assert before.models[0] == after.models[0]
    assert before.sample_pools[0] != after.sample_pools[0]
    assert before.verification_pools[0]["logit"] != after.verification_pools[0]["logit"]


def test_chat_and_few_shot_prompts(text_checkpoint, tmp_path):
    from transformers import AutoTokenizer

    problem = Countdown().generate("eval", 1, 0)[0]
    plain = TextFormat(Countdown(), text_checkpoint)
    assert plain.solve(problem).endswith("\nAnswer:")
    assert plain.solve(problem).count("Problem:") == 3
    with pytest.raises(ModelError, match="no chat template"):
        TextFormat(Countdown(), text_checkpoint, "chat")
    tokenizer = AutoTokenizer.from_pretrained(text_checkpoint)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    chat = TextFormat(Countdown(), tmp_path)
    assert chat.solve(problem).startswith("<|user|>Combine")
    assert chat.solve(problem).endswith("<|assistant|>")
    assert not TextFormat(Countdown(), tmp_path, "few_shot").is_chat


def test_verdicts_in_words():
    parse = TextFormat.parse_binary_cot
    assert parse(None, "10 + 8 is 18.\nVerdict: correct", True) == CORRECT
    assert parse(None, "Verdict: correct? No.\n**Verdict: Incorrect**", True) == INCORRECT
    assert parse(None, "It looks correct to me.", True) == UNPARSEABLE


def test_choices_that_are_not_one_token_are_refused_before_sampling(text_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(TextFormat, "choices", (" Certainly so", " Not at all"))
    lab = Lab.open(_experiment(text_checkpoint), home=tmp_path)
    with pytest.raises(ModelError, match="one token"):
        obtain_base_model(lab)


def test_the_content_of_every_file_is_the_identity(text_checkpoint, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(text_checkpoint, copy)
    assert checkpoint_fingerprint(copy) == checkpoint_fingerprint(text_checkpoint)
    (copy / "special_tokens_map.json").write_text('{"eos_token": "x"}')
    assert checkpoint_fingerprint(copy) != checkpoint_fingerprint(text_checkpoint)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("adapter_config.json", "{}", "adapter"),
        ("config.json", '{"auto_map": {"AutoModel": "code.Model"}}', "auto_map"),
        ("config.json", "{", "cannot be read"),
    ],
)
def test_folders_that_are_refused(text_checkpoint, tmp_path, name, content, words):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(text_checkpoint, copy)
    (copy / name).write_text(content)
    with pytest.raises(ModelError, match=words):
        locate_checkpoint(FolderModel(kind="folder", path=str(copy)))


def test_pickled_weights_are_not_loaded(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="safetensors"):
        locate_checkpoint(FolderModel(kind="folder", path=str(tmp_path)))


def test_a_hub_id_offline_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="kind: folder"):
        locate_checkpoint(HubModel(kind="hub", id="nobody/nothing-here"))


def test_the_example_in_the_docs_is_valid_but_for_its_path(text_checkpoint):
    path = Path(__file__).resolve().parents[2] / "docs" / "examples" / "own-model.yaml"
    content = yaml.safe_load(path.read_text().replace("1e-5", "0.00001"))
    content["verifiers"] = tuple(content["verifiers"])
    content["model"]["path"] = str(text_checkpoint)
    assert make_plan(Experiment.model_validate(content)).models
