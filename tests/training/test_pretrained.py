"""Checkpoints that are not ours: what their heads, generation settings and dropout do to training, known before it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconH1Config,
    Gemma2Config,
    Gemma3nConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    RecurrentGemmaConfig,
    xLSTMConfig,
)

from ops.builtin.model import new_model, new_tokenizer
from ops.errors import ModelError
from ops.lab import Lab
from ops.stages.base_model import obtain_base_model, save_model
from ops.training.pretrained import check_configuration, check_head, check_logits, make_saveable, without_dropout
from ops.training.sft_settings import FilteredSft
from tests.conftest import tiny_experiment
from tests.training.examples import EXAMPLES, finetune, weights


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (Gemma2Config(), "final_logit_softcapping"),
        (Gemma3nConfig(), "final_logit_softcapping"),  # in its text_config
        (RecurrentGemmaConfig(), "logits_soft_cap"),
        (xLSTMConfig(), "output_logit_soft_cap"),
        (FalconH1Config(lm_head_multiplier=0.5), "lm_head_multiplier"),
    ],
)
def test_a_head_that_changes_logits_is_refused(config, name):
    with pytest.raises(ModelError, match=f"{name} is"):
        check_head(config)


def test_plain_heads_are_taken():
    for config in (LlamaConfig(), GPT2Config(), FalconH1Config(), Gemma2Config(final_logit_softcapping=None)):
        check_head(config)


def test_logits_are_compared_whatever_the_configuration_says():
    model = new_model("a", 0).train()
    check_logits(model, [1, 5, 6, 7])
    assert model.training  # afterwards as it was
    forward = type(model).forward

    def scaled(*args, **kwargs):
        out = forward(model, *args, **kwargs)
        out.logits = out.logits * 1.5
        return out

    model.forward = scaled
    with pytest.raises(ModelError, match="not those of its output layer"):
        check_logits(model, [1, 5, 6, 7])


def test_a_real_head_with_a_cap_is_found_by_its_logits():
    config = Gemma2Config(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    with pytest.raises(ModelError, match="not those of its output layer"):
        check_logits(AutoModelForCausalLM.from_config(config), [1, 5, 6, 7])


GENERATION = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 7], "bos_token_id": 1}


def with_generation(folder, tmp_path, generation):
    """A copy of a checkpoint with another ``generation_config.json``."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(folder, copy)
    (copy / "generation_config.json").write_text(json.dumps(generation))
    return copy


def test_sampling_flags_without_sampling_are_saved(tiny_model_folder, tmp_path, lab):
    """As many published checkpoints have them: transformers reads them with a warning, and refuses to write them."""
    folder = with_generation(tiny_model_folder, tmp_path, GENERATION)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(ValueError, match="GenerationConfig is invalid"):
        model.save_pretrained(tmp_path / "refused")
    make_saveable(model)
    save_model(lab, "0" * 16, model, new_tokenizer(), {"final_loss": 1.0}, {"more.json": "[]"})
    saved = lab.store.model_folder("0" * 16)
    found = json.loads((saved / "generation_config.json").read_text())
    assert (found["eos_token_id"], found["do_sample"], found["temperature"]) == ([2, 7], True, 0.6)
    assert (saved / "more.json").read_text() == "[]"
    assert AutoModelForCausalLM.from_pretrained(saved).generation_config.eos_token_id == [2, 7]


def test_what_sampling_does_not_mend_keeps_its_special_tokens(tiny_model_folder, tmp_path):
    folder = with_generation(tiny_model_folder, tmp_path, {**GENERATION, "length_penalty": 0.5, "early_stopping": True})
    model = AutoModelForCausalLM.from_pretrained(folder)
    make_saveable(model)
    model.save_pretrained(tmp_path / "saved")
    found = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert found["eos_token_id"] == [2, 7] and found["bos_token_id"] == 1
    assert "length_penalty" not in found and "temperature" not in found


def test_a_generation_configuration_that_can_be_saved_stays_as_it_is():
    model = new_model("a", 0)
    before = model.generation_config.to_dict()
    make_saveable(model)
    assert model.generation_config.to_dict() == before


def gpt2() -> GPT2LMHeadModel:
    """With dropout of its own, 0.1 everywhere."""
    torch.manual_seed(0)
    size = len(new_tokenizer())
    return GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2, n_positions=64))


def test_the_dropout_of_a_checkpoint_is_off_in_training_and_back_afterwards(tmp_path):
    """So micro-batches change rounding only, where dropout would draw other numbers."""
    found = []
    for bound in (None, 60):
        model = gpt2()
        settings = FilteredSft(batch_size=8, epochs=1, warmup_steps=0, tokens_per_micro_batch=bound)
        torch.manual_seed(0)
        finetune(model, new_tokenizer(), EXAMPLES, settings, work=tmp_path / str(bound))
        found.append(weights(model))
        assert model.config.attn_pdrop == model.transformer.drop.p == 0.1
    assert not torch.equal(found[0], weights(gpt2()))
    assert torch.allclose(*found, atol=2e-5)


def test_dropout_in_attributes_is_off_too():
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                    num_key_value_heads=2, attention_dropout=0.5)
    ).train()  # fmt: skip
    ids = torch.arange(8)[None]
    assert not torch.equal(model(ids).logits, model(ids).logits)
    with without_dropout(model):
        assert torch.equal(model(ids).logits, model(ids).logits)
    assert not torch.equal(model(ids).logits, model(ids).logits)


def test_settings_that_do_not_fit_are_refused_by_the_configuration_alone():
    config = LlamaConfig()  # 7 billion parameters, none of them made
    check_configuration(config, FilteredSft(lora={"target_modules": ["q_proj"]}, activation_checkpointing=True), "demo")
    with pytest.raises(ModelError, match=r"'c_attn' is no linear module.*q_proj"):
        check_configuration(config, FilteredSft(lora={"target_modules": ["c_attn"]}), "demo")


def test_the_base_model_is_checked_before_anything_is_sampled(tmp_path, tiny_model_folder):
    def obtained(name: str, model: dict, **training) -> None:
        experiment = tiny_experiment(
            model=model, training={"name": "sft", **training}, verifiers=[{"name": "majority"}]
        )
        lab = Lab.open(experiment, home=tmp_path / name)
        try:
            obtain_base_model(lab)
        finally:
            lab.close()

    own = {"kind": "folder", "path": str(tiny_model_folder), "prompts": "few_shot"}
    builtin = {"kind": "builtin", "recipe": "countdown", "size": "a", "steps": 12, "batch_size": 16}
    for name, model in {"own": own, "builtin": builtin}.items():
        with pytest.raises(ModelError, match="'c_attn' is no linear module"):
            obtained(name, model, lora={"target_modules": ["c_attn"]})
        assert not list((tmp_path / name).glob("models/*"))
    obtained("own", own, lora={"target_modules": ["q_proj"]})
    capped = tmp_path / "capped"
    shutil.copytree(tiny_model_folder, capped)
    config = json.loads((capped / "config.json").read_text())
    (capped / "config.json").write_text(json.dumps({**config, "logits_scaling": 8.0}))
    with pytest.raises(ModelError, match=r"logits_scaling is 8\.0"):
        obtained("capped-home", {**own, "path": str(capped)})
