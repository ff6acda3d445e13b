"""Statistics of given tokens: equal to a plain forward pass, whatever the batch, the padding and the pieces."""

import math

import pytest
import torch

from ops.engines import teacher_forcing
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.errors import EngineError

PROMPTS = [
    "<s> 10 8 6 -> 12 :",
    "<s> 10 8 6 -> 12 :",
    "<s> 3 4 :",
    "<s> 7 : 9 9 9 -> 3 + 5 :",
    "<s> 3 4 :",
    "<s> 3 4 :",
]
TEXTS = ["10 + 8 = 18 ; 18 - 6 = 12", "10", "3 + 4 = 7", "5 - 5", "", "3 + 4 = 7 ; 7 + 7 = 14 ; 1"]


def _engine(folder, **settings):
    return TransformersEngineSettings(device="cpu", **settings).load(folder)


def _plain(engine, prompt, text):
    """(n, log p, self-certainty) from one forward pass over the whole text, by the formula of 2502.18581 as written."""
    head = engine.tokenizer(prompt, add_special_tokens=False).input_ids
    tail = engine.tokenizer(text, add_special_tokens=False).input_ids
    if not tail:
        return 0, 0.0, math.nan
    with torch.no_grad():
        p_TV = torch.softmax(engine.model(torch.tensor([head + tail])).logits[0].double(), -1)[len(head) - 1 : -1]
    n, v = p_TV.shape
    logprob = sum(math.log(p_TV[i, token]) for i, token in enumerate(tail))
    return n, logprob, -float(torch.log(v * p_TV).sum()) / (n * v)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_equal_to_a_plain_forward_pass(tiny_model_folder, batch_size):
    engine = _engine(tiny_model_folder, batch_size=batch_size)
    found = engine.token_statistics(PROMPTS, TEXTS)
    for prompt, text, statistics in zip(PROMPTS, TEXTS, found, strict=True):
        n, logprob, certainty = _plain(engine, prompt, text)
        assert statistics.n_tokens == n
        assert statistics.logprob == pytest.approx(logprob, abs=1e-5)
        assert statistics.self_certainty == pytest.approx(certainty, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("tokens_at_once", [1, 3])
def test_pieces_change_nothing(tiny_model_folder, monkeypatch, tokens_at_once):
    engine = _engine(tiny_model_folder)
    whole = engine.token_statistics(PROMPTS, TEXTS)
    rows = sum(bool(text) for text in TEXTS)
    monkeypatch.setattr(teacher_forcing, "LOGIT_VALUES", tokens_at_once * rows * len(engine.tokenizer))
    seen = []
    forward = engine.model.forward

    def watched(*args, **kwargs):
        result = forward(*args, **kwargs)
        seen.append(result.logits.numel())
        return result

    monkeypatch.setattr(engine.model, "forward", watched)
    pieces = engine.token_statistics(PROMPTS, TEXTS)
    assert max(seen) <= teacher_forcing.LOGIT_VALUES
    assert len(seen) > 3
    for a, b in zip(whole, pieces, strict=True):
        assert a.n_tokens == b.n_tokens
        assert a.logprob == pytest.approx(b.logprob, abs=1e-5)
        assert a.self_certainty == pytest.approx(b.self_certainty, abs=1e-5, nan_ok=True)


def test_a_small_limit_makes_small_batches(tiny_model_folder, monkeypatch):
    engine = _engine(tiny_model_folder)
    whole = engine.token_statistics(PROMPTS, TEXTS)
    monkeypatch.setattr(teacher_forcing, "LOGIT_VALUES", 2 * len(engine.tokenizer))
    small = engine.token_statistics(PROMPTS, TEXTS)
    assert [a.logprob for a in small] == pytest.approx([a.logprob for a in whole], abs=1e-5)


def test_the_logprob_of_what_was_sampled(tiny_model_folder):
    """Sampling sums the log-probabilities of the tokens it drew; reading the same text gives the same sum."""
    engine = _engine(tiny_model_folder)
    requests = [SampleRequest("<s> 10 8 6 -> 12 :", tuple(range(20))), SampleRequest("<s> 3 4 :", (7, 8))]
    sampled = [
        (requests[index].prompt, completion)
        for group in engine.sample(requests, SamplingSettings(1.0, 1.0, 6))
        for index, _, completion in group
        if completion.finish_reason == "length" and len(completion.text.split()) == 6  # no special token inside
    ]
    assert len(sampled) > 10
    read = engine.token_statistics([prompt for prompt, _ in sampled], [f" {done.text}" for _, done in sampled])
    for (_, completion), statistics in zip(sampled, read, strict=True):
        assert statistics.n_tokens == 6
        assert statistics.logprob == pytest.approx(completion.logprob, abs=1e-4)


def test_uniform_distributions_have_no_certainty(tiny_model_folder):
    engine = _engine(tiny_model_folder)
    with torch.no_grad():
        engine.model.get_output_embeddings().weight.zero_()
    found = engine.token_statistics(["<s> 3 4 :"], ["3 + 4 = 7"])[0]
    assert found.self_certainty == pytest.approx(0.0, abs=1e-6)
    assert found.logprob == pytest.approx(-5 * math.log(len(engine.tokenizer)), abs=1e-4)


def test_nothing_to_read(tiny_model_folder):
    engine = _engine(tiny_model_folder)
    assert engine.token_statistics([], []) == []
    empty = engine.token_statistics(["<s> 3 4 :"], [""])[0]
    assert empty.n_tokens == 0
    assert empty.logprob == 0.0
    assert math.isnan(empty.self_certainty)


def test_too_long_a_text_is_refused(tiny_model_folder):
    with pytest.raises(EngineError, match="context"):
        _engine(tiny_model_folder).token_statistics(["<s> 3 4 :"], ["1 " * 300])
