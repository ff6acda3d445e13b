"""The transformers engine: random numbers by identity, shared prefill, stops, log-probabilities."""

import numpy as np
import pytest
import torch

from ops.engines.base import Fit, SampleRequest, SamplingSettings
from ops.engines.decoding import draw, uniform
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.errors import EngineError, ModelError

PROMPTS = ["<s> 10 8 6 -> 12 :", "<s> 3 4 5 -> 17 :", "<s> 1 2 :", "<s> 7 : 9 9 9 -> 3 + 5 :"]
SETTINGS = SamplingSettings(1.0, 1.0, 12, (".",))


def _engine(folder, **settings):
    return TransformersEngineSettings(device="cpu", **settings).load(folder)


def _collect(engine, requests, settings=SETTINGS):
    found = {}
    for group in engine.sample(requests, settings):
        for index, place, completion in group:
            assert (index, place) not in found
            found[index, place] = completion
    assert len(found) == sum(len(request.seeds) for request in requests)
    return found


def _splitmix(seed, position):
    """SplitMix64 in Python integers."""
    mask = (1 << 64) - 1
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    z ^= z >> 31
    return (z >> 11) / 2**53


def test_uniform_is_splitmix64():
    seeds = [0, 1, 12345678901234567, 2**62 + 17]
    for position in (0, 1, 511):
        expected = [_splitmix(seed, position) for seed in seeds]
        assert uniform(torch.tensor(seeds), position).tolist() == expected


def test_uniform_is_uniform():
    u = torch.stack([uniform(torch.arange(20_000), position) for position in range(3)])
    assert abs(float(u.mean()) - 0.5) < 0.005
    assert abs(float(np.corrcoef(u[0], u[1])[0, 1])) < 0.03


def test_draw_inverts_the_cumulative_distribution():
    logits = torch.tensor([[0.1, 0.2, 0.7]]).log().repeat(5, 1)
    token, logprob = draw(logits, torch.tensor([0.0, 0.09, 0.11, 0.31, 0.999]).double(), 1.0, 1.0)
    assert token.tolist() == [0, 0, 1, 2, 2]
    assert logprob.exp().tolist() == pytest.approx([0.1, 0.1, 0.2, 0.7, 0.7])


def test_top_p_leaves_out_the_tail_but_reports_the_plain_probability():
    # Sorted .7 .2 .1: with top_p = .75 tokens .7 and .2 stay; renormalised .778, .222.
    logits = torch.tensor([[0.1, 0.2, 0.7]]).log().repeat(3, 1)
    token, logprob = draw(logits, torch.tensor([0.0, 0.2, 0.25]).double(), 1.0, 0.75)
    assert token.tolist() == [1, 1, 2]
    assert logprob.exp().tolist() == pytest.approx([0.2, 0.2, 0.7])


def test_temperature_sharpens():
    # p = (.2, .8) at T = .5 -> (.04, .64) / .68 = (.0588, .9412).
    logits = torch.tensor([[0.2, 0.8]]).log().repeat(2, 1)
    token, _ = draw(logits, torch.tensor([0.05, 0.06]).double(), 0.5, 1.0)
    assert token.tolist() == [0, 1]


def test_a_sample_does_not_depend_on_its_batch(tiny_model_folder):
    requests = [SampleRequest(prompt, tuple(range(100 * i, 100 * i + 9))) for i, prompt in enumerate(PROMPTS)]
    together = _collect(_engine(tiny_model_folder, batch_size=64), requests)
    small = _collect(_engine(tiny_model_folder, batch_size=5), requests)
    alone = _collect(_engine(tiny_model_folder), [SampleRequest(PROMPTS[1], (103,))])
    assert together[1, 3].text == alone[0, 0].text
    same = sum(together[key].text == small[key].text for key in together)
    assert same >= len(together) - 1  # rounding may move a draw over a boundary, very rarely


def test_greedy_equals_generate(tiny_model_folder):
    engine = _engine(tiny_model_folder)
    settings = SamplingSettings(0.0, 1.0, 10)
    found = _collect(engine, [SampleRequest(prompt, (0,)) for prompt in PROMPTS], settings)
    for i, prompt in enumerate(PROMPTS):
        ids = engine.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            out = engine.model.generate(ids, do_sample=False, max_new_tokens=10)[0, ids.shape[1] :]
        assert found[i, 0].text == engine.tokenizer.decode(out, skip_special_tokens=True)


def test_logprob_is_the_models_own(tiny_model_folder):
    engine = _engine(tiny_model_folder)
    found = _collect(
        engine, [SampleRequest(PROMPTS[0], (1, 2, 3)), SampleRequest(PROMPTS[2], (4,))], SamplingSettings(0.7, 0.9, 8)
    )
    for (index, _), completion in found.items():
        prompt = PROMPTS[0] if index == 0 else PROMPTS[2]
        start = len(engine.tokenizer(prompt, add_special_tokens=False).input_ids)
        text = f"{prompt} {completion.text}" + (" </s>" if completion.finish_reason == "stop" else "")
        ids = torch.tensor([engine.tokenizer(text, add_special_tokens=False).input_ids])
        if ids.shape[1] - start != completion.n_tokens:
            continue  # a special token was drawn inside, which the text does not show
        with torch.no_grad():
            logprobs = torch.log_softmax(engine.model(ids).logits[0, :-1], -1)
        expected = logprobs[range(start - 1, ids.shape[1] - 1), ids[0, start:]].sum()
        assert completion.logprob == pytest.approx(float(expected), abs=1e-3)


def test_stop_is_not_part_of_the_text_but_counts(tiny_model_folder):
    found = _collect(_engine(tiny_model_folder), [SampleRequest(PROMPTS[0], tuple(range(400)))])
    stopped = [completion for completion in found.values() if completion.finish_reason == "stop"]
    cut = [completion for completion in found.values() if completion.finish_reason == "length"]
    assert stopped
    assert cut
    assert all("." not in completion.text.split() for completion in found.values())
    assert all(completion.n_tokens == 12 for completion in cut)


def test_a_stop_of_several_tokens(tiny_model_folder):
    plain = _collect(
        _engine(tiny_model_folder), [SampleRequest(PROMPTS[0], tuple(range(50)))], SamplingSettings(1.0, 1.0, 12)
    )
    words = next(c.text.split() for c in plain.values() if len(c.text.split()) > 5)
    stop = " ".join(words[2:4])
    found = _collect(
        _engine(tiny_model_folder),
        [SampleRequest(PROMPTS[0], tuple(range(50)))],
        SamplingSettings(1.0, 1.0, 12, (stop,)),
    )
    ended = [c for key, c in found.items() if stop in plain[key].text]
    assert ended
    for completion in ended:
        assert stop not in completion.text
        assert completion.finish_reason == "stop"
    assert any(4 <= completion.n_tokens < 12 for completion in ended)


def test_choice_logprobs_equal_a_plain_forward_pass(tiny_model_folder):
    engine = _engine(tiny_model_folder, batch_size=2)
    found = engine.choice_logprobs(PROMPTS, ("yes", "no"))
    for prompt, row in zip(PROMPTS, found, strict=True):
        ids = engine.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logprobs = torch.log_softmax(engine.model(ids).logits[0, -1], -1)
        expected = [float(logprobs[engine.tokenizer.convert_tokens_to_ids(word)]) for word in ("yes", "no")]
        assert row.tolist() == pytest.approx(expected, abs=1e-4)


def test_a_choice_of_several_tokens_is_refused(tiny_model_folder):
    with pytest.raises(EngineError, match="expected one"):
        _engine(tiny_model_folder).choice_logprobs(PROMPTS, ("yes no", "no"))


def test_too_long_a_prompt_is_refused_before_sampling(tiny_model_folder):
    with pytest.raises(EngineError, match="context"):
        list(_engine(tiny_model_folder).sample([SampleRequest("<s> " + "1 " * 300, (0,))], SETTINGS))


def test_what_fits_is_told_prompt_by_prompt(tiny_model_folder):
    engine = _engine(tiny_model_folder)
    room = engine.model.config.max_position_embeddings
    prompts = ["<s> 3 4 :", "<s> " + "1 " * 300, ""]
    n = [len(engine.tokenizer(prompt, add_special_tokens=False).input_ids) for prompt in prompts]
    found = engine.fits(prompts, 12)
    assert [(item.prompt_tokens, item.new_tokens, item.context) for item in found] == [(k, 12, room) for k in n]
    assert [item.fits for item in found] == [True, False, False]
    assert found[1].problem == (
        f"a prompt of {n[1]} tokens and 12 tokens after it do not fit into the model's context of {room}"
    )
    assert found[2].problem == "a prompt has no tokens"
    # To the token: what is just full can be sampled, one token more cannot.
    exact = room - n[0]
    assert [engine.fits(prompts[:1], k)[0].fits for k in (exact, exact + 1)] == [True, False]
    _collect(engine, [SampleRequest(prompts[0], (0,))], SamplingSettings(1.0, 1.0, exact))
    with pytest.raises(EngineError, match=f"{exact + 1} tokens after it do not fit"):
        list(engine.sample([SampleRequest(prompts[0], (0,))], SamplingSettings(1.0, 1.0, exact + 1)))
    continued = engine.fits([prompts[0]] * 2, continuations=["1 2 3", "1 " * exact + "2"])
    assert [(item.new_tokens, item.fits) for item in continued] == [(3, True), (exact + 1, False)]
    assert engine.fits([]) == []


def test_a_model_without_a_limit_takes_everything():
    assert Fit(10**6, 10, None).fits
    assert not Fit(0, 10, None).fits


def test_a_missing_device_is_one_clear_error(tiny_model_folder):
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(EngineError, match="not available"):
        TransformersEngineSettings(device="cuda").load(tiny_model_folder)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="tokenizer"):
        TransformersEngineSettings().load(tmp_path)
