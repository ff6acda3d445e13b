"""Engines that draw from a model in training: token ids of what was drawn, and a model that is left as it was."""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

import pytest
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.openai_answers import Drawn
from ops.engines.openai_engine import OpenaiEngine
from ops.engines.openai_settings import OpenaiSettings
from ops.engines.ray_settings import RaySettings
from ops.engines.tokens import DrawnRow, Stops, Tokens
from ops.engines.transformers_engine import TransformersEngine
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.engines.vllm_policy import checkpoint_shapes
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError

PROMPTS = ["<s> 10 8 6 -> 12 :", "<s> 3 4 5 -> 17 :", "<s> 1 2 :", "<s> 7 : 9 9 9 -> 3 + 5 :"]
SETTINGS = SamplingSettings(1.0, 1.0, 12, (".",), with_tokens=True)
REQUESTS = [SampleRequest(prompt, tuple(range(40 * i, 40 * i + 40))) for i, prompt in enumerate(PROMPTS)]


@pytest.fixture
def model():
    return new_model("a", 0).train()


@pytest.fixture
def policy(model, tmp_path):
    policy = TransformersEngineSettings(device="cpu").policy(model, new_tokenizer(), tmp_path)
    yield policy
    policy.close()


def drawn(engine, settings=SETTINGS, requests=REQUESTS):
    return {(i, j): done for group in engine.sample(requests, settings) for i, j, done in group}


def gradients(model):
    """Of the log-probability of a fixed text, by name."""
    model.zero_grad(set_to_none=True)
    ids = torch.arange(4, 40)[None]
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def logprob_of(model, tokenizer, prompt, ids):
    """Teacher forcing: sum of the log-probabilities of ``ids`` after ``prompt``."""
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    row = torch.tensor([[*head, *ids]])
    with torch.no_grad():
        logp_TV = torch.log_softmax(model(input_ids=row).logits[0].float(), -1)
    return sum(float(logp_TV[len(head) + t - 1, token]) for t, token in enumerate(ids))


def test_token_ids_are_the_drawn_tokens_with_the_one_that_stopped(policy, model):
    found, tokenizer = drawn(policy.engine), new_tokenizer()
    dot = tokenizer("<s> .", add_special_tokens=False)["input_ids"][1]
    ends = {dot, tokenizer.eos_token_id}
    assert {done.finish_reason for done in found.values()} == {"stop", "length"}
    for (i, _), done in found.items():
        assert len(done.token_ids) == done.n_tokens
        assert (done.token_ids[-1] in ends) == (done.finish_reason == "stop")
        assert not ends & set(done.token_ids[:-1])
        body = done.token_ids[:-1] if done.finish_reason == "stop" else done.token_ids
        assert tokenizer.decode(body, skip_special_tokens=True) == done.text
        assert logprob_of(model, tokenizer, PROMPTS[i], done.token_ids) == pytest.approx(done.logprob, abs=1e-4)


def test_without_being_asked_for_there_are_none_and_the_samples_are_the_same(policy):
    plain = drawn(policy.engine, SamplingSettings(1.0, 1.0, 12, (".",)))
    assert {done.token_ids for done in plain.values()} == {()}
    told = drawn(policy.engine)
    assert all(told[key].text == done.text and told[key].logprob == done.logprob for key, done in plain.items())


def test_a_stop_string_of_several_tokens_cuts_the_token_ids_with_the_text():
    """Ten words a row; the stop string "5 6" is words 5 and 6, so six tokens stay, in which it is complete."""
    tokenizer = new_tokenizer()
    ids = tokenizer("1 2 3 4 5 6 7 8 9 10", add_special_tokens=False)["input_ids"]
    assert len(ids) == 10
    tokens = Tokens(tokenizer, [tokenizer.eos_token_id], None, "test")
    running = [-0.5 * (t + 1) for t in range(10)]
    (done,) = tokens.completions([DrawnRow(ids, running, False)], ("5 6",), with_tokens=True)
    assert done.token_ids == tuple(ids[:6])
    assert (done.text, done.n_tokens, done.logprob, done.finish_reason) == ("1 2 3 4 ", 6, -3.0, "stop")


@pytest.mark.parametrize("taken", ["all", "one group, then closed"])
def test_training_after_sampling_has_the_gradients_that_it_had_before(model, taken, tmp_path):
    expected, buffers = gradients(model), {name: b.clone() for name, b in model.named_buffers()}
    model.zero_grad(set_to_none=True)
    frozen = model.model.layers[0].eval()  # a part that is trained in evaluation mode
    model.model.embed_tokens.weight.requires_grad_(False)
    modes, flags = _modes(model), _flags(model)
    policy = TransformersEngineSettings(device="cpu", batch_size=16).policy(model, new_tokenizer(), tmp_path)
    stream = policy.engine.sample(REQUESTS, SETTINGS)
    assert len(next(stream)) == 16
    assert not model.training  # only while it draws
    list(stream) if taken == "all" else cast(Generator, stream).close()
    assert not frozen.training and model.training
    assert (_modes(model), _flags(model)) == (modes, flags)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    tensors = [*model.parameters(), *model.buffers()]
    assert not any(tensor.is_inference() for tensor in tensors)
    assert all(torch.equal(buffers[name], b) for name, b in model.named_buffers())
    assert all(parameter.grad is None for parameter in model.parameters())
    frozen.train()
    model.model.embed_tokens.weight.requires_grad_(True)
    found = gradients(model)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_training_goes_on_where_rotary_frequencies_were_made_anew_while_drawing(tmp_path):
    """Dynamic NTK replaces its frequencies as texts grow, here by a tensor of inference mode."""
    from transformers import LlamaForCausalLM

    config = new_model("a", 0).config
    config.max_position_embeddings = 16
    config.rope_parameters = {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 10_000.0}
    model = LlamaForCausalLM(config).train()
    before = model.model.rotary_emb.inv_freq.clone()
    policy = TransformersEngineSettings(device="cpu").policy(model, new_tokenizer(), tmp_path)
    cast(TransformersEngine, policy.engine)._tokens.context = 256  # it stretches to that
    drawn(policy.engine, SamplingSettings(1.0, 1.0, 60, (), with_tokens=True))
    assert not torch.equal(model.model.rotary_emb.inv_freq, before)  # or this test shows nothing
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model).values())


def test_what_is_drawn_follows_training_without_a_handover(policy, model, tmp_path):
    before = drawn(policy.engine, SamplingSettings(0.0, 1.0, 12, (".",)))
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    for _ in range(3):
        gradients(model)
        optimizer.step()
    assert policy.update(model) == 0.0
    after = drawn(policy.engine, SamplingSettings(0.0, 1.0, 12, (".",)))
    assert after != before
    model.save_pretrained(tmp_path / "saved")
    new_tokenizer().save_pretrained(tmp_path / "saved")
    loaded = TransformersEngineSettings(device="cpu").load(tmp_path / "saved")
    again = drawn(loaded, SamplingSettings(0.0, 1.0, 12, (".",)))
    assert again == after
    loaded.close()


def test_the_memory_of_the_cache_is_free_between_calls(policy, tmp_path, tiny_model_folder):
    drawn(policy.engine)
    assert not policy.engine._arena._flat
    loaded = TransformersEngineSettings(device="cpu").load(tiny_model_folder)  # nobody trains it: kept for the next
    drawn(loaded)
    assert cast(TransformersEngine, loaded)._arena._flat
    loaded.close()


def test_another_model_is_refused(policy):
    with pytest.raises(EngineError, match="was given another"):
        policy.update(new_model("a", 1))


def test_closing_leaves_the_model_to_its_owner(policy, model):
    drawn(policy.engine)
    policy.close()
    assert gradients(model)


@pytest.mark.parametrize(
    "settings", [OpenaiSettings(name="openai", base_url="http://127.0.0.1:1/v1"), RaySettings(name="ray", workers=1)]
)
def test_engines_that_cannot_say_which_can(settings, model, tmp_path):
    assert not settings.trains_policies
    with pytest.raises(EngineError, match="does not draw from a model in training") as caught:
        settings.policy(model, new_tokenizer(), tmp_path)
    assert "transformers or vllm" in caught.value.remedy


def test_vllm_is_handed_a_model_of_the_checkpoints_shapes_only(tiny_model_folder, tmp_path):
    """Said before vLLM is loaded, so also where there is none."""
    from safetensors.torch import load_file, save_file

    with pytest.raises(EngineError, match=r"has model\.embed_tokens\.weight of shape \[128, 32\].* \[128, 48\]"):
        VllmSettings().policy(new_model("xxs", 0), new_tokenizer(), tiny_model_folder)
    with pytest.raises(EngineError, match="has a process for each GPU") as caught:
        VllmSettings(tensor_parallel_size=2).policy(new_model("a", 0), new_tokenizer(), tiny_model_folder)
    assert caught.value.field == "engine.tensor_parallel_size"
    more = {**load_file(tiny_model_folder / "model.safetensors"), "model.norm.bias": torch.zeros(32)}
    save_file(more, tmp_path / "model.safetensors")
    with pytest.raises(EngineError, match=r"model\.norm\.bias of shape \[32\], the model in training none"):
        VllmSettings().policy(new_model("a", 0), new_tokenizer(), tmp_path)


def test_the_tensors_of_a_checkpoint_are_those_of_its_index(tiny_model_folder, tmp_path):
    from safetensors.torch import save_file

    model = new_model("a", 0)
    whole = checkpoint_shapes(tiny_model_folder)
    assert whole["model.norm.weight"] == (32,) and whole["model.embed_tokens.weight"] == (128, 32)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    save_file({"norm.weight": torch.zeros(3)}, tmp_path / "consolidated.safetensors")  # another copy, other names
    assert checkpoint_shapes(tmp_path) == whole


def test_a_server_without_token_ids_is_refused_where_they_are_wanted():
    engine = OpenaiEngine.__new__(OpenaiEngine)
    engine._settings, engine._logprobs_unknown = OpenaiSettings(name="openai", base_url="http://127.0.0.1:1/v1"), 0
    engine._tokens = Tokens(new_tokenizer(), [], None, "openai")
    by_text, by_ids = Drawn(None, "1 2", 2, -1.0, "length", 3), DrawnRow([5, 6], [-0.5, -1.0], False)
    stops = Stops((), ())
    with_ids = Drawn(by_ids, "1 2", 2, -1.0, "length", 3)
    assert engine._completions([with_ids], stops, SETTINGS)[0].token_ids == (5, 6)
    assert engine._completions([by_text], stops, SamplingSettings(1.0, 1.0, 12))[0].token_ids == ()
    with pytest.raises(EngineError, match="does not give the token ids"):
        engine._completions([by_text], stops, SETTINGS)


def _modes(model):
    return {name: module.training for name, module in model.named_modules()}


def _flags(model):
    return {name: parameter.requires_grad for name, parameter in model.named_parameters()}
