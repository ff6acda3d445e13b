"""vLLM takes the weights of a model in training: what it draws then, and what it leaves alone."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.builtin.model import new_model, new_tokenizer
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError

vllm = pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

GREEDY = SamplingSettings(0.0, 1.0, 24, (".",), with_tokens=True)
DRAWN = SamplingSettings(1.0, 1.0, 24, (".",), with_tokens=True)
_NUMBERS = random.Random(0)
PROMPTS = [f"<s> {' '.join(str(_NUMBERS.randint(1, 60)) for _ in range(4))} -> {i} :" for i in range(1, 41)]
LONG = "<s> " + " ".join(str(i % 60) for i in range(200)) + " :"
"""More than one block of the prefix cache, which is 128 tokens on a CPU."""


@pytest.fixture(scope="module")
def start(untrained_model):
    """The model that training starts with."""
    return untrained_model


@pytest.fixture(scope="module")
def policy(start):
    policy = VllmSettings(dtype="float32", kv_cache_gib=0.25).policy(new_model("xs", 0), new_tokenizer(), start)
    yield policy
    policy.close()


def drawn(engine, settings=GREEDY, prompts=PROMPTS, n=1):
    requests = [SampleRequest(prompt, tuple(range(100 * i, 100 * i + n))) for i, prompt in enumerate(prompts)]
    return {(i, j): done for group in engine.sample(requests, settings) for i, j, done in group}


def by_transformers(model, settings=GREEDY, prompts=PROMPTS):
    own = TransformersEngineSettings(device="cpu").policy(model, new_tokenizer(), Path("unused"))
    found = drawn(own.engine, settings, prompts)
    own.close()
    return found


def perturbed(seed):
    """A model whose weights, 15 times as large as those of a new one, make it say something else in every context."""
    model, generator = new_model("xs", 0), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def same(found, expected):
    assert {key: done.token_ids for key, done in found.items()} == {
        key: done.token_ids for key, done in expected.items()
    }
    assert [found[key].text for key in expected] == [done.text for done in expected.values()]
    off = [abs(found[key].logprob - done.logprob) for key, done in expected.items()]
    assert max(off) < 1e-3


def different(found, other):
    return sum(found[key].token_ids != other[key].token_ids for key in found)


def test_greedy_responses_are_those_of_the_weights_that_were_handed_over_last(policy):
    first, seen = new_model("xs", 0), []
    for model in (first, perturbed(1), perturbed(2), first):
        assert policy.update(model) > 0.0
        found = drawn(policy.engine)
        same(found, by_transformers(model))
        seen.append(found)
    assert different(seen[0], seen[1]) > 20 and different(seen[1], seen[2]) > 20
    same(seen[3], seen[0])


def test_what_training_does_after_the_handover_is_not_seen_before_the_next(policy):
    model = perturbed(3)
    policy.update(model)
    before = drawn(policy.engine)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.0)
    same(drawn(policy.engine), before)
    policy.update(model)
    after = drawn(policy.engine)
    assert different(after, before) > 20
    same(after, by_transformers(model))


def test_drawn_tokens_are_given_and_their_log_probabilities_are_the_new_models(policy):
    model, tokenizer = perturbed(4), new_tokenizer()
    policy.update(model)
    found = drawn(policy.engine, DRAWN, n=5)
    stop = tokenizer("<s> .", add_special_tokens=False)["input_ids"][1]
    assert {done.finish_reason for done in found.values()} == {"stop", "length"}
    for (i, _), done in found.items():
        assert len(done.token_ids) == done.n_tokens
        assert (done.token_ids[-1] in (stop, tokenizer.eos_token_id)) == (done.finish_reason == "stop")
        head = tokenizer(PROMPTS[i], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logp_TV = torch.log_softmax(model(torch.tensor([[*head, *done.token_ids]])).logits[0], -1)
        at = torch.arange(len(head) - 1, len(head) + done.n_tokens - 1)
        assert float(logp_TV[at, torch.tensor(done.token_ids)].sum()) == pytest.approx(done.logprob, abs=1e-3)
    plain = drawn(policy.engine, SamplingSettings(1.0, 1.0, 24, (".",)), n=5)
    assert {done.token_ids for done in plain.values()} == {()}


def test_the_prefix_cache_forgets_the_old_weights(policy, monkeypatch):
    """First without the reset, to show that the prompt is cached and a stale cache would go unnoticed."""
    models = [perturbed(5), perturbed(6)]
    truth = [by_transformers(model, prompts=[LONG])[0, 0] for model in models]
    policy.update(models[0])
    cached = [policy.engine.usage()["cached_prompt_tokens"]]

    def draw():
        done = drawn(policy.engine, prompts=[LONG])[0, 0]
        cached.append(policy.engine.usage()["cached_prompt_tokens"])
        return done

    assert draw().logprob == pytest.approx(truth[0].logprob, abs=1e-3)
    with monkeypatch.context() as patch:
        patch.setattr(policy.engine._llm, "reset_prefix_cache", lambda: True)
        policy.update(models[1])
    stale = draw()
    assert cached[2] - cached[1] == 128
    assert abs(stale.logprob - truth[1].logprob) > 1e-2 or stale.token_ids != truth[1].token_ids
    policy.update(models[1])
    fresh = draw()
    assert cached[3] == cached[2]
    assert fresh.token_ids == truth[1].token_ids
    assert fresh.logprob == pytest.approx(truth[1].logprob, abs=1e-3)


def test_training_between_handovers_is_what_it_is_without_vllm(policy):
    def steps(model, between):
        ids = torch.arange(4, 60)[None]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        torch.manual_seed(0)
        for _ in range(3):
            between(model)
            optimizer.zero_grad()
            noise = 0.01 * torch.randn(1)  # training draws from torch's own generator, too
            (model(input_ids=ids, labels=ids).loss * (1 + noise)).backward()
            optimizer.step()
        return model

    def exchange(model):
        policy.update(model)
        drawn(policy.engine, DRAWN)

    alone, shared = steps(new_model("xs", 0).train(), lambda _: None), steps(new_model("xs", 0).train(), exchange)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), shared.parameters(), strict=True))
    policy.update(shared)
    same(drawn(policy.engine), by_transformers(shared))


def test_generators_and_threads_are_left_alone(policy):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), [str(part) for part in np.random.get_state()], torch.get_rng_state().tolist()
    threads = torch.get_num_threads()
    policy.update(perturbed(7))
    drawn(policy.engine, DRAWN)
    assert (random.getstate(), [str(part) for part in np.random.get_state()], torch.get_rng_state().tolist()) == before
    assert torch.get_num_threads() == threads
    torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads + 1  # vLLM replaces this function on a CPU
    torch.set_num_threads(threads)


def test_no_weights_are_taken_while_samples_are_drawn(policy):
    stream = policy.engine.sample([SampleRequest(prompt, tuple(range(20))) for prompt in PROMPTS], DRAWN)
    next(stream)
    with pytest.raises(EngineError, match="samples are being drawn"):
        policy.update(perturbed(8))
    stream.close()
    policy.update(perturbed(8))


def test_a_model_of_another_shape_is_refused_with_the_first_tensor_that_differs(policy):
    before = drawn(policy.engine)
    with pytest.raises(EngineError, match=r"of shape \[128, 64\], the model in training one of shape \[128, 96\]"):
        policy.update(new_model("s", 0))
    same(drawn(policy.engine), before)


def test_several_gpus_for_one_model_are_refused_before_anything_is_loaded(start):
    with pytest.raises(EngineError, match="tensor_parallel_size 2") as caught:
        VllmSettings(tensor_parallel_size=2).policy(new_model("xs", 0), new_tokenizer(), start)
    assert caught.value.remedy.startswith("take 1")
