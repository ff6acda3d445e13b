"""Out of memory: batches are halved, results stay what they were, and one sequence too many is one clear error."""

import pytest
import torch

from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.memory import in_parts, is_out_of_memory
from ops.engines.transformers_settings import TransformersEngineSettings
from ops.errors import EngineError

PROMPTS = [f"<s> {i} 8 6 -> 12 :" for i in range(1, 8)]
CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation.")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "68719476736 bytes. Error code 12 (Cannot allocate memory)"
)


def _engine(folder, limit=None, error=CUDA, monkeypatch=None, **settings):
    """An engine whose model raises ``error`` for more than ``limit`` rows; and the rows of each of its calls."""
    engine = TransformersEngineSettings(device="cpu", **settings).load(folder)
    forward, seen = engine.model.forward, []

    def narrow(*args, **kwargs):
        rows = len(kwargs["input_ids"])
        if limit is not None and rows > limit:
            raise error
        seen.append(rows)
        return forward(*args, **kwargs)

    if monkeypatch is not None:
        monkeypatch.setattr(engine.model, "forward", narrow)
    return engine, seen


def _texts(engine):
    requests = [SampleRequest(prompt, tuple(range(10 * i, 10 * i + 3))) for i, prompt in enumerate(PROMPTS)]
    groups = list(engine.sample(requests, SamplingSettings(1.0, 1.0, 8)))
    found = {(index, place): completion.text for group in groups for index, place, completion in group}
    assert len(found) == sum(len(group) for group in groups) == 21
    return found


@pytest.mark.parametrize("error", [CUDA, CPU], ids=["cuda", "cpu"])
def test_sampling_goes_on_in_halves(tiny_model_folder, monkeypatch, error):
    whole = _texts(_engine(tiny_model_folder)[0])
    engine, seen = _engine(tiny_model_folder, 4, error, monkeypatch)
    halved = _texts(engine)
    assert sum(whole[key] == halved[key] for key in whole) >= len(whole) - 1  # rounding may move a draw, very rarely
    assert 1 < max(seen) <= 4
    assert 1 <= engine._batch_size <= 10  # of 21, 10 or fewer at once from now on
    _texts(engine)


def test_choices_and_given_tokens_go_on_in_halves(tiny_model_folder, monkeypatch):
    plain, _ = _engine(tiny_model_folder)
    choices = plain.choice_logprobs(PROMPTS, ("yes", "no"))
    statistics = plain.token_statistics(PROMPTS, ["10 + 8 = 18"] * 7)
    engine, seen = _engine(tiny_model_folder, 2, CUDA, monkeypatch)
    assert engine.choice_logprobs(PROMPTS, ("yes", "no")) == pytest.approx(choices, abs=1e-4)
    found = engine.token_statistics(PROMPTS, ["10 + 8 = 18"] * 7)
    assert [item.logprob for item in found] == pytest.approx([item.logprob for item in statistics], abs=1e-4)
    assert max(seen) == 2


def test_a_single_sequence_too_much_names_the_settings(tiny_model_folder, monkeypatch):
    engine, _ = _engine(tiny_model_folder, 0, CUDA, monkeypatch)
    for ask in (
        lambda: _texts(engine),
        lambda: engine.choice_logprobs(PROMPTS, ("yes", "no")),
        lambda: engine.token_statistics(PROMPTS, ["10"] * 7),
    ):
        with pytest.raises(EngineError, match=r"engine.batch_size, engine.dtype: .*CUDA out of memory") as caught:
            ask()
        assert "bfloat16" in caught.value.remedy


def test_another_error_is_not_taken_for_it(tiny_model_folder, monkeypatch):
    engine, seen = _engine(tiny_model_folder, 0, RuntimeError("shapes do not match"), monkeypatch)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        engine.choice_logprobs(PROMPTS, ("yes", "no"))
    assert seen == []


def test_the_cpus_own_allocator_is_recognised():
    """A real allocation of more than any machine has."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("device-side assert triggered"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_parts_come_in_order_and_memory_is_released_before_each_retry():
    released = []

    def run(rows):
        if len(rows) > 2:
            raise MemoryError
        return sum(rows)

    assert list(in_parts([1, 2, 3, 4, 5], run, lambda: released.append(1))) == [([1, 2], 3), ([3], 3), ([4, 5], 9)]
    assert len(released) == 2  # five at once, and three at once


def test_a_failed_attempt_keeps_no_tensor_alive():
    """Its frames die before the retry, so that their memory can be used again."""
    import weakref

    alive, tensors = [], []

    def run(rows):
        tensor = torch.ones(len(rows))
        tensors.append(weakref.ref(tensor))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0

    list(in_parts([1, 2], run, lambda: alive.append(tensors[-1]() is not None)))
    assert alive == [False]


def test_a_model_that_does_not_fit_is_one_clear_error(tiny_model_folder, monkeypatch):
    def full(self, *args, **kwargs):
        raise CUDA

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(EngineError, match=r"engine.dtype: the model of .* does not fit into the memory of cpu"):
        TransformersEngineSettings(device="cpu").load(tiny_model_folder)
