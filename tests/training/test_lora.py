"""Adapters: only they are trained, merged they give the same output, and the checkpoint is an ordinary one."""

from __future__ import annotations

import json

import pytest
import torch

from ops.builtin.model import count_parameters, new_model, new_tokenizer
from ops.errors import ModelError
from ops.training.lora import add_adapters, merge_adapters
from ops.training.lora_settings import Lora
from ops.training.sft_settings import FilteredSft
from tests.training.examples import EXAMPLES, finetune, weights

IDS = torch.tensor([[1, 5, 6, 7, 8, 9]])
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def with_random_adapters(lora: Lora):
    """A model whose adapters do something: B is drawn, too."""
    model = new_model("a", 0)
    adapted = add_adapters(model, lora, "test")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return model, adapted


def test_adapters_start_as_nothing_and_cover_every_linear_module_but_the_output():
    model = new_model("a", 0)
    before = model(IDS).logits
    add_adapters(model, Lora(rank=3), "test")
    assert torch.equal(model(IDS).logits, before)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in trained)
    assert {name.split(".")[-4] for name in trained} == LINEAR


def test_the_update_by_hand():
    """y = W x + (alpha / rank)·B A x, in the module itself."""
    model, _ = with_random_adapters(Lora(rank=2, alpha=6.0, target_modules=("q_proj",)))
    module = model.model.layers[0].self_attn.q_proj
    x = torch.randn(4, model.config.hidden_size, generator=torch.Generator().manual_seed(1))
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    expected = x @ module.base_layer.weight.T + 3.0 * (x @ a.T) @ b.T
    assert torch.allclose(module(x), expected, atol=1e-6)


@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "down_proj")])
def test_merged_output_is_the_adapters_output(tmp_path, targets):
    from transformers import AutoModelForCausalLM

    model, adapted = with_random_adapters(Lora(rank=4, target_modules=targets))
    start = new_model("a", 0).eval()(IDS).logits
    model.eval()
    expected = model(IDS).logits.detach()
    assert (expected - start).abs().max() > 0.01
    merge_adapters(adapted)
    assert torch.allclose(model(IDS).logits, expected, atol=1e-5)
    plain = new_model("a", 1)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert count_parameters(model) == count_parameters(plain)
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "generation_config.json", "model.safetensors"}
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight  # still tied


def test_training_changes_the_targets_only_and_is_the_same_twice(tmp_path):
    settings = FilteredSft(
        batch_size=8, epochs=4, learning_rate=1e-2, lora={"rank": 4, "target_modules": ["v_proj"], "dropout": 0.1}
    )
    models = []
    for i in range(2):
        model = new_model("a", 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            result = finetune(model, new_tokenizer(), EXAMPLES, settings, work=tmp_path / str(i))
        models.append(model)
    assert torch.equal(weights(models[0]), weights(models[1]))
    before = dict(new_model("a", 0).named_parameters())
    changed = {name for name, after in models[0].named_parameters() if not torch.equal(before[name], after)}
    assert {name.split(".")[-2] for name in changed} == {"v_proj"}
    assert result.rows[-1]["loss"] < result.rows[0]["loss"]


@pytest.mark.parametrize("name", ["qproj", "lm_head", "embed_tokens", "self_attn"])
def test_what_is_no_linear_module_is_refused_before_training(name):
    model = new_model("a", 0)
    with pytest.raises(ModelError, match=rf"'{name}' is no linear module.*q_proj") as error:
        add_adapters(model, Lora(target_modules=("q_proj", name)), "demo")
    assert error.value.field == "training.lora.target_modules"
    assert not any("lora" in other for other, _ in model.named_parameters())


def test_recomputed_activations_reach_the_adapters(tmp_path):
    """The inputs of a frozen model need no gradient, and checkpointing must not lose those of the adapters for it."""
    found = []
    for name, changed in {"a": {}, "b": {"activation_checkpointing": True}}.items():
        settings = FilteredSft(batch_size=8, epochs=1, learning_rate=1e-2, lora={"rank": 4}, **changed)
        model = new_model("a", 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            finetune(model, new_tokenizer(), EXAMPLES, settings, work=tmp_path / name)
        found.append(weights(model))
    assert not torch.equal(found[0], weights(new_model("a", 0)))
    assert torch.allclose(*found, atol=1e-5)
