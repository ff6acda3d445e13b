"""The vLLM engine: identity of samples, lazily read requests, what is taken back, log-probabilities of choices."""

from __future__ import annotations

import numpy as np
import pytest

from ops.engines import vllm_engine
from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError
from ops.identity import seed_of

vllm = pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

PROMPTS = ["<s> 7 + 5 - 3 :", "<s> 9 * 4 - 8 + 6 :", "<s> 12 - 3 * 5 + 10 + 7 :", "<s> 1 + 2 :"]
SETTINGS = SamplingSettings(1.0, 1.0, 24, (".",))


@pytest.fixture(scope="module")
def engine(untrained_model):
    engine = VllmSettings(dtype="float32", kv_cache_gib=0.25).load(untrained_model)
    yield engine
    engine.close()


def seeds(i: int, n: int) -> tuple[int, ...]:
    return tuple(seed_of(f"{i}:{j}") for j in range(n))


def collect(engine, requests, settings=SETTINGS):
    found = {}
    for group in engine.sample(requests, settings):
        assert group
        for index, place, completion in group:
            assert (index, place) not in found
            found[index, place] = completion
    return found


def texts(found):
    return {key: (item.text, item.n_tokens, item.finish_reason) for key, item in found.items()}


def test_name_and_version_are_those_of_the_package(engine):
    assert (engine.name, engine.version) == ("vllm", vllm.__version__)


def test_a_sample_does_not_depend_on_its_batch(engine):
    together = texts(collect(engine, [SampleRequest(p, seeds(i, 40)) for i, p in enumerate(PROMPTS)]))
    assert len(together) == 160
    assert len({text for text, _, _ in together.values()}) > 20  # seeds do draw different samples
    turned = [SampleRequest(p, seeds(i, 40)[::-1]) for i, p in reversed(list(enumerate(PROMPTS)))]
    other = {(3 - i, 39 - j): found for (i, j), found in texts(collect(engine, turned)).items()}
    assert sum(together[key] != other[key] for key in together) <= 1  # rounding may move a draw, very rarely
    for i, j in ((0, 0), (1, 17), (2, 39)):
        alone = texts(collect(engine, [SampleRequest(PROMPTS[i], seeds(i, 40)[j : j + 1])]))
        assert alone[0, 0] == together[i, j]


def test_prompts_that_fill_a_step_are_drawn_all_the_same(engine):
    """60 different prompts of up to 240 tokens are more than the 4,096 of one step: vLLM would cut one in two, and a
    request with a seed cannot take back a number of a CPU generator."""
    prompts = ["<s> " + " ".join(f"{(i * 7 + j) % 90}" for j in range(150 + i)) + " :" for i in range(60)]
    found = texts(collect(engine, [SampleRequest(p, seeds(i, 2)) for i, p in enumerate(prompts)]))
    assert len(found) == 120
    alone = texts(collect(engine, [SampleRequest(prompts[31], seeds(31, 2))]))
    assert [alone[0, j] for j in (0, 1)] == [found[31, j] for j in (0, 1)]


def test_a_top_up_draws_the_samples_that_all_at_once_would_have_drawn(engine):
    whole = texts(collect(engine, [SampleRequest(p, seeds(i, 32)) for i, p in enumerate(PROMPTS)]))
    halves = [
        texts(collect(engine, [SampleRequest(p, seeds(i, 32)[part]) for i, p in enumerate(PROMPTS)]))
        for part in (slice(0, 16), slice(16, 32))
    ]
    joined = {(i, j): halves[j // 16][i, j % 16] for i, j in whole}
    assert sum(whole[key] != joined[key] for key in whole) <= 1


def test_seeds_near_each_other_and_large_ones_are_streams_of_their_own(engine):
    found = texts(collect(engine, [SampleRequest(PROMPTS[1], (*range(50), *(2**63 - 1 - k for k in range(50))))]))
    assert len({found[0, j] for j in range(50)}) > 5
    assert len({found[0, j] for j in range(50, 100)}) > 5


def test_stop_is_not_part_of_the_text_but_counts(engine):
    found = collect(engine, [SampleRequest(PROMPTS[2], seeds(2, 200))], SamplingSettings(1.0, 1.0, 14, (".",)))
    stopped = [item for item in found.values() if item.finish_reason == "stop"]
    cut = [item for item in found.values() if item.finish_reason == "length"]
    assert stopped and cut
    assert all("." not in item.text.split() for item in found.values())
    assert all(item.n_tokens == 14 for item in cut)
    # one token a word, and the stop token: special tokens in a response are all that may be missing from its text
    assert all(item.n_tokens >= len(item.text.split()) + 1 for item in stopped)
    assert sum(item.n_tokens == len(item.text.split()) + 1 for item in stopped) >= 0.5 * len(stopped)


def test_requests_are_read_as_there_is_room(engine, monkeypatch):
    monkeypatch.setattr(vllm_engine, "WINDOW_SAMPLES", 64)
    monkeypatch.setattr(vllm_engine, "READ_SAMPLES", 16)
    read = 0

    def asked():
        nonlocal read
        for i in range(100):
            read += 1
            yield SampleRequest(PROMPTS[i % 4], seeds(i, 4))

    done, most = 0, 0
    for group in engine.sample(asked(), SETTINGS):
        done += len(group)
        most = max(most, 4 * read - done)
        assert engine._llm.get_num_unfinished_requests() <= 64
    assert (read, done) == (100, 400)
    assert most <= 64 + 16 + 64  # with vLLM, read ahead, in the group just given


def test_what_is_unfinished_is_taken_back_when_the_iterator_is_closed(engine):
    expected = texts(collect(engine, [SampleRequest(PROMPTS[0], seeds(0, 8))]))
    going = engine.sample([SampleRequest(PROMPTS[0], seeds(0, 3000))], SETTINGS)
    next(going)
    assert engine._llm.get_num_unfinished_requests() > 1000
    going.close()
    assert engine._llm.get_num_unfinished_requests() == 0
    assert not engine._running
    assert texts(collect(engine, [SampleRequest(PROMPTS[0], seeds(0, 8))])) == expected


def test_what_is_unfinished_is_taken_back_when_a_request_is_wrong(engine, monkeypatch):
    monkeypatch.setattr(vllm_engine, "READ_SAMPLES", 4)
    wrong = [SampleRequest(PROMPTS[0], seeds(0, 4)), SampleRequest("<s> " + "1 " * 300, seeds(1, 4))]
    with pytest.raises(EngineError, match="do not fit into the model's context"):
        list(engine.sample(wrong, SETTINGS))
    assert engine._llm.get_num_unfinished_requests() == 0
    assert len(collect(engine, [SampleRequest(PROMPTS[0], seeds(0, 4))])) == 4


def test_two_iterators_at_a_time_get_their_own(engine):
    requests = [[SampleRequest(PROMPTS[k], seeds(k, 30))] for k in (0, 1)]
    expected = [texts(collect(engine, asked)) for asked in requests]
    slow = engine.sample(requests[0], SETTINGS)
    first = next(slow)
    assert texts(collect(engine, requests[1])) == expected[1]
    rest = [item for group in slow for item in group]
    assert texts({(i, j): item for i, j, item in [*first, *rest]}) == expected[0]


def test_no_requests_are_no_work(engine):
    assert list(engine.sample([], SETTINGS)) == []
    assert engine.choice_logprobs([], ("yes", "no")).shape == (0, 2)


def test_a_temperature_that_vllm_would_change_is_refused(engine):
    with pytest.raises(EngineError, match="would be raised"):
        list(engine.sample([SampleRequest(PROMPTS[0], (0,))], SamplingSettings(0.001, 1.0, 4)))


def test_what_fits_is_what_is_taken(engine):
    room = 256 - len(PROMPTS[0].split())
    assert [engine.fits(PROMPTS[:1], k)[0].fits for k in (room, room + 1)] == [True, False]
    assert len(collect(engine, [SampleRequest(PROMPTS[0], (0,))], SamplingSettings(1.0, 1.0, room))) == 1
    with pytest.raises(EngineError, match=f"{room + 1} tokens after it do not fit"):
        list(engine.sample([SampleRequest(PROMPTS[0], (0,))], SamplingSettings(1.0, 1.0, room + 1)))
    # A distribution is read where a token is drawn, so the prompt may not fill the context.
    full = "<s> " + "1 " * 255
    assert [engine.fits([text])[0].fits for text in (full, full[:-2])] == [False, True]
    assert engine.choice_logprobs([full[:-2]], ("yes", "no")).shape == (1, 2)
    with pytest.raises(EngineError, match="context"):
        engine.choice_logprobs([full], ("yes", "no"))


def test_choices_are_of_the_plain_distribution_and_in_their_order(engine):
    yes_no = engine.choice_logprobs(PROMPTS, ("yes", "no"))
    assert engine.choice_logprobs(PROMPTS, ("no", "yes")).tolist() == pytest.approx(yes_no[:, ::-1], abs=1e-5)
    vocabulary = [word for word, _ in sorted(engine._tokens.tokenizer.get_vocab().items(), key=lambda item: item[1])]
    words = [word for word in vocabulary if word != engine._tokens.tokenizer.unk_token]
    mass = sum(np.exp(engine.choice_logprobs(PROMPTS[:1], part)).sum() for part in (words[:64], words[64:]))
    assert 0.97 < mass < 1  # every token but <unk>, which is no choice: about 1/128 of what an untrained model says


def test_more_choices_than_vllm_reads_are_refused(engine):
    from vllm.exceptions import VLLMValidationError
    from vllm.inputs.engine import tokens_input
    from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS, SamplingParams

    assert vllm_engine.MOST_CHOICES == MAX_LOGPROB_TOKEN_IDS
    with pytest.raises(VLLMValidationError, match="greater than max allowed"):
        params = SamplingParams(max_tokens=1, logprob_token_ids=[5] * (MAX_LOGPROB_TOKEN_IDS + 1))
        engine._llm.add_request("many", tokens_input([5]), params)
    with pytest.raises(EngineError, match="129 choices"):
        engine.choice_logprobs(PROMPTS, ["yes"] * 129)
    with pytest.raises(EngineError, match="expected one"):
        engine.choice_logprobs(PROMPTS, ("yes no", "no"))


def test_distributions_are_refused(engine):
    assert not VllmSettings().reads_distributions
    with pytest.raises(EngineError, match="engine transformers"):
        engine.token_statistics(PROMPTS, [" 1"] * 4)


def test_usage_counts_prompt_tokens_and_those_of_the_cache(engine):
    before = engine.usage()
    long = "<s> " + "3 + " * 70 + "4 :"  # 143 tokens: one block of 128 tokens can be cached
    for _ in range(2):
        collect(engine, [SampleRequest(long, (1,))], SamplingSettings(1.0, 1.0, 2))
    spent = {name: value - before[name] for name, value in engine.usage().items()}
    assert spent == {"prompt_tokens": 2 * 143, "cached_prompt_tokens": 128}
