"""Which responses an iteration asks for, prompt by prompt: never all of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ops.identity import response_id, seed_of
from ops.lab import Lab
from ops.storage.keys import KeySet
from ops.types import Problem

SAMPLES_AT_ONCE = 16_384
"""Identities that are made and looked up together."""


@dataclass(frozen=True)
class Ask:
    """One prompt and the problems that it poses: several only where files hold a question more than once.

    ``n`` samples are drawn of it, the most that one of its problems wants.
    """

    prompt: str
    problems: tuple[Problem, ...]
    n: int


@dataclass(frozen=True)
class Missing:
    """What is to be drawn of one prompt: places among its samples, their identities and seeds."""

    ask: Ask
    sample_indices: list[int]
    identities: list[str]
    seeds: tuple[int, ...]


def n_samples(lab: Lab, problem: Problem) -> int:
    """Responses that the experiment wants of a problem."""
    sampling = lab.experiment.sampling
    return sampling.n_train if problem.split == "train" else sampling.n_eval


def asks_for(lab: Lab, problems: Iterable[Problem]) -> list[Ask]:
    """The prompts of some problems of one iteration, in their order."""
    prompts = lab.prompt_format()
    by_prompt: dict[str, list[Problem]] = {}
    for problem in problems:
        by_prompt.setdefault(prompts.solve(problem), []).append(problem)
    return [
        Ask(prompt, tuple(problems), max(n_samples(lab, problem) for problem in problems))
        for prompt, problems in by_prompt.items()
    ]


def missing_samples(asks: Iterable[Ask], pool: str, have: KeySet) -> Iterator[Missing]:
    """What of ``asks`` is not drawn yet, prompt by prompt.

    Args:
        pool: fingerprint of the sample pool.
        have: response ids that are in it.
    """
    for part in _parts(asks):
        identities = [[response_id(pool, ask.prompt, j) for j in range(ask.n)] for ask in part]
        known = iter(have.contains([identity for group in identities for identity in group]).tolist())
        for ask, group in zip(part, identities, strict=True):
            wanted = [(j, identity) for j, identity in enumerate(group) if not next(known)]
            if wanted:
                indices, chosen = [j for j, _ in wanted], [identity for _, identity in wanted]
                yield Missing(ask, indices, chosen, tuple(map(seed_of, chosen)))


def count_missing(asks: Sequence[Ask], pool: str, have: KeySet) -> int:
    """How many samples ``missing_samples`` names."""
    if not len(have):
        return sum(ask.n for ask in asks)
    return sum(len(item.identities) for item in missing_samples(asks, pool, have))


def _parts(asks: Iterable[Ask]) -> Iterator[list[Ask]]:
    part: list[Ask] = []
    held = 0
    for ask in asks:
        part.append(ask)
        held += ask.n
        if held >= SAMPLES_AT_ONCE:
            yield part
            part, held = [], 0
    if part:
        yield part
