"""Transformers and vLLM say the same of one model: greedily, in probabilities, and in what sampling is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from ops.engines.base import Engine, SampleRequest, SamplingSettings
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.engines.vllm_settings import VllmSettings
from ops.estimation.bootstrap import mean_interval, resample_counts
from ops.identity import seed_of
from ops.prompts.compact import CompactFormat
from ops.tasks.arithmetic import Arithmetic
from ops.types import CORRECT, Completion

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm

N_PROBLEMS, N_SAMPLES, MAX_TOKENS = 200, 48, 28
LEVEL = 0.999
"""Of the intervals: another machine trains another model and draws other samples; 1 in 500 may fail there, not 1 in 10.

Measured (2026-11-21, vLLM 0.32.0, CPU), paired differences over problems divided by their standard errors; a 99.9 %
interval leaves 0 out beyond 3.3:

    in vLLM             accuracy   log-probability
    nothing changed        -1.0             -0.3
    temperature 1.2        -6.7            -25.7
    temperature 0.8        +3.4            +22.9
    top-p 0.9              +4.0            +25.1

So log-probability finds each of them anywhere; accuracy would miss 0.8 on every second machine and top-p 0.9 on every
fourth, and is asked for 1.2 alone.
"""
FORMAT, TASK = CompactFormat(), Arithmetic()
PROBLEMS = TASK.generate("eval", N_PROBLEMS, 0)
PROMPTS = [FORMAT.solve(problem) for problem in PROBLEMS]


@dataclass(frozen=True)
class Engines:
    transformers: Engine
    vllm: Engine


@pytest.fixture(scope="module")
def engines(arithmetic_model):
    both = Engines(
        TransformersEngineSettings(device="cpu", dtype="float32").load(arithmetic_model),
        VllmSettings(dtype="float32", kv_cache_gib=0.25).load(arithmetic_model),
    )
    yield both
    both.transformers.close()
    both.vllm.close()


def collect(engine: Engine, prompts: list[str], n: int, settings: SamplingSettings) -> list[list[Completion]]:
    """Completions by prompt and sample; seeds are the same for every engine and setting."""
    requests = [SampleRequest(p, tuple(seed_of(f"{i}:{j}") for j in range(n))) for i, p in enumerate(prompts)]
    found: dict[tuple[int, int], Completion] = {}
    for group in engine.sample(requests, settings):
        for index, place, completion in group:
            assert (index, place) not in found
            found[index, place] = completion
    return [[found[i, j] for j in range(n)] for i in range(len(prompts))]


@pytest.fixture(scope="module")
def greedy(engines):
    settings = SamplingSettings(0.0, 1.0, MAX_TOKENS, FORMAT.solve_stop)
    return [[row[0] for row in collect(e, PROMPTS, 1, settings)] for e in (engines.transformers, engines.vllm)]


def test_prompts_are_of_unequal_length():
    assert len({len(prompt.split()) for prompt in PROMPTS}) >= 3


def test_greedy_responses_agree_on_every_prompt(greedy):
    ours, theirs = greedy
    assert len(ours) >= 200
    assert {item.finish_reason for item in ours} >= {"stop"}
    for one, other in zip(ours, theirs, strict=True):
        assert (one.text, one.n_tokens, one.finish_reason) == (other.text, other.n_tokens, other.finish_reason)
    assert [item.logprob for item in ours] == pytest.approx([item.logprob for item in theirs], abs=1e-3)


def test_greedy_responses_cut_short_by_max_tokens_agree(engines):
    settings = SamplingSettings(0.0, 1.0, 5, FORMAT.solve_stop)
    ours, theirs = (collect(e, PROMPTS[:50], 1, settings) for e in (engines.transformers, engines.vllm))
    assert any(row[0].finish_reason == "length" and row[0].n_tokens == 5 for row in ours)
    for [one], [other] in zip(ours, theirs, strict=True):
        assert (one.text, one.n_tokens, one.finish_reason) == (other.text, other.n_tokens, other.finish_reason)


def test_a_stop_of_several_tokens_agrees(engines, greedy):
    words = next(item.text.split() for item in greedy[0] if len(item.text.split()) >= 7)
    stop = " ".join(words[4:6])  # such as "= 12": two tokens of the built-in vocabulary
    settings = SamplingSettings(0.0, 1.0, MAX_TOKENS, (stop, *FORMAT.solve_stop))
    ours, theirs = (collect(e, PROMPTS, 1, settings) for e in (engines.transformers, engines.vllm))
    shortened = 0
    for [one], [other], whole in zip(ours, theirs, greedy[0], strict=True):
        assert (one.text, one.n_tokens, one.finish_reason) == (other.text, other.n_tokens, other.finish_reason)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert stop not in other.text
        shortened += one.n_tokens < whole.n_tokens
    assert shortened


def test_choice_logprobs_agree(engines, greedy):
    prompts = [FORMAT.logit(problem, item.text) for problem, item in zip(PROBLEMS, greedy[0], strict=True)]
    ours, theirs = (e.choice_logprobs(prompts, FORMAT.choices) for e in (engines.transformers, engines.vllm))
    assert ours.shape == theirs.shape == (N_PROBLEMS, 2)
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.ptp(ours) > 0.05  # the questions are not all answered alike


def test_logprobs_of_other_words_agree_over_a_wide_range(engines):
    words = ("1", "7", "12", "-", ";")
    ours, theirs = (e.choice_logprobs(PROMPTS, words) for e in (engines.transformers, engines.vllm))
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.ptp(ours) > 3


def test_logprobs_of_samples_are_of_the_model_itself_at_any_temperature(engines):
    """Teacher forcing by transformers gives what vLLM has summed while drawing at temperature 0.7 with top-p 0.9."""
    drawn = collect(engines.vllm, PROMPTS[:60], 4, SamplingSettings(0.7, 0.9, MAX_TOKENS, FORMAT.solve_stop))
    rows = [(prompt, item) for prompt, row in zip(PROMPTS, drawn, strict=False) for item in row]
    texts = [
        f" {item.text} {FORMAT.solve_stop[0]}" if item.finish_reason == "stop" else f" {item.text}" for _, item in rows
    ]
    read = engines.transformers.token_statistics([prompt for prompt, _ in rows], texts)
    same = [(item, found) for (_, item), found in zip(rows, read, strict=True) if item.n_tokens == found.n_tokens]
    assert len(same) >= 0.95 * len(rows)  # the others hold special tokens, or ended with </s>: no part of the text
    assert [item.logprob for item, _ in same] == pytest.approx([found.logprob for _, found in same], abs=1e-3)


def measured(engine: Engine, settings: SamplingSettings) -> dict[str, np.ndarray]:
    """Accuracy and mean log-probability of a response, per problem [P]."""
    drawn = collect(engine, PROMPTS, N_SAMPLES, settings)
    right_PN = [
        [TASK.grade(problem, item.text, item.finish_reason == "stop").verdict == CORRECT for item in row]
        for problem, row in zip(PROBLEMS, drawn, strict=True)
    ]
    return {
        "accuracy": np.mean(right_PN, axis=1),
        "logprob": np.array([np.mean([item.logprob for item in row]) for row in drawn]),
    }


def differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Intervals (``LEVEL``) of paired differences over problems."""
    counts_RP = resample_counts(N_PROBLEMS, 20_000, 0)  # ten of them beyond each end
    found = {name: mean_interval(other[name] - one[name], counts_RP, LEVEL) for name in one}
    return {name: (interval.low, interval.high) for name, interval in found.items()}


@pytest.fixture(scope="module")
def reference(engines):
    return measured(engines.transformers, SamplingSettings(1.0, 1.0, MAX_TOKENS, FORMAT.solve_stop))


def test_sampled_accuracy_and_logprob_agree(engines, reference):
    theirs = measured(engines.vllm, SamplingSettings(1.0, 1.0, MAX_TOKENS, FORMAT.solve_stop))
    assert 0.05 < reference["accuracy"].mean() < 0.95
    for name, (low, high) in differences(reference, theirs).items():
        assert low <= 0 <= high, name


@pytest.mark.parametrize(
    ("temperature", "top_p", "by"),
    [(1.2, 1.0, {"accuracy", "logprob"}), (0.8, 1.0, {"logprob"}), (1.0, 0.9, {"logprob"})],
)
def test_a_wrong_temperature_or_top_p_would_be_found(engines, reference, temperature, top_p, by):
    """The power of the test above: with as many samples it tells other settings from the right ones."""
    theirs = measured(engines.vllm, SamplingSettings(temperature, top_p, MAX_TOKENS, FORMAT.solve_stop))
    found = differences(reference, theirs)
    print(temperature, top_p, found)
    for name in by:
        low, high = found[name]
        assert high < 0 if temperature > 1 else low > 0, name


def test_both_refuse_what_does_not_fit(engines):
    long = "<s> " + "1 " * 250
    for engine in (engines.transformers, engines.vllm):
        assert [item.fits for item in engine.fits([PROMPTS[0], long, ""], 12)] == [True, False, False]
