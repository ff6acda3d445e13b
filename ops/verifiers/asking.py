"""Asking a model many questions at once: equal prompts share their prefill, every answer has a seed of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.engines.base import Engine, SampleRequest, SamplingSettings
from ops.identity import seed_of
from ops.types import Completion
from ops.verifiers.base import positions_by_text


def ask(
    engine: Engine, questions: Sequence[str], identities: Sequence[str], purpose: str, settings: SamplingSettings
) -> Iterator[list[tuple[int, Completion]]]:
    """Yield groups of (index of the question, what the model wrote), each question exactly once, in any order.

    Args:
        questions: complete prompts; equal ones are allowed and get answers of their own.
        identities: one for each question, different where the prompts are equal; it seeds the answer.
        purpose: holds the streams of different verifiers and seeds apart.
    """
    by_prompt = positions_by_text(questions)
    indices = list(by_prompt.values())
    requests = [
        SampleRequest(prompt, tuple(seed_of(identities[index], purpose) for index in group))
        for prompt, group in by_prompt.items()
    ]
    for done in engine.sample(requests, settings):
        yield [(indices[request][place], completion) for request, place, completion in done]
