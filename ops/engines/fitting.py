"""Asking in spite of prompts that are too long: what does not fit into the model's context costs itself only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ops.engines.base import Engine, Fit, SampleRequest, SamplingSettings, TokenStatistics
from ops.errors import EngineError
from ops.types import Completion

PROMPTS_AT_ONCE = 4096


def refuse_misfits(where: str, found: Sequence[Fit]) -> None:
    """Refuse what does not fit, naming the longest.

    Args:
        where: the engine, for the message.

    Raises:
        EngineError: when something does not.
    """
    wrong = [item for item in found if not item.fits]
    if any(not item.prompt_tokens for item in wrong):
        raise EngineError(where, "a prompt has no tokens", remedy="check the prompt format")
    if wrong:
        worst = max(wrong, key=lambda item: item.prompt_tokens + item.new_tokens)
        raise EngineError(
            where,
            worst.problem if len(found) == 1 else f"{worst.problem} ({len(wrong):,} of {len(found):,} do not fit)",
            field="max_tokens",
            remedy="lower max_tokens, take a model with a longer context, or leave out what is so long",
        )


def check_fits(engine: Engine, prompts: Iterable[str], new_tokens: int) -> None:
    """Refuse prompts that do not fit before anything is drawn: an engine reads them one after the other.

    Raises:
        EngineError: when one does not.
    """
    rest = iter(prompts)
    found: list[Fit] = []
    while part := list(itertools.islice(rest, PROMPTS_AT_ONCE)):
        found += engine.fits(part, new_tokens)
    refuse_misfits(f"engine {engine.name}", found)


def usage_since(engine: Engine, before: Mapping[str, float]) -> dict[str, float]:
    """What an engine spent after ``before`` was read off its ``usage``."""
    return {name: value - before.get(name, 0.0) for name, value in engine.usage().items()}


class Fitting:
    """An engine that answers prompts which do not fit with nothing readable, instead of refusing the whole call.

    For verifiers: such a response is unparseable, its transcript says why, and the others are judged. ``n_refused``
    counts them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.version = engine.name, engine.version
        self.n_refused = 0

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingSettings
    ) -> Iterator[list[tuple[int, int, Completion]]]:
        """See ``Engine.sample``; a request that does not fit is completed by the reason, with no token drawn."""
        requests = list(requests)  # verification asks for one block of responses at a time
        fits = self._engine.fits([request.prompt for request in requests], settings.max_tokens)
        asked = self._asked(fits)
        for index, fit in enumerate(fits):
            if not fit.fits:
                empty = Completion(f"(not asked: {fit.problem})", 0, 0.0, "length")
                yield [(index, place, empty) for place in range(len(requests[index].seeds))]
        for group in self._engine.sample([requests[index] for index in asked], settings) if asked else ():
            yield [(asked[index], place, completion) for index, place, completion in group]

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str]) -> np.ndarray:
        """See ``Engine.choice_logprobs``; NaN for prompts that do not fit."""
        asked = self._asked(self._engine.fits(prompts))
        found = np.full((len(prompts), len(choices)), math.nan)
        if asked:
            found[asked] = self._engine.choice_logprobs([prompts[index] for index in asked], choices)
        return found

    def token_statistics(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[TokenStatistics]:
        """See ``Engine.token_statistics``; no token counted where prompt and continuation do not fit."""
        asked = self._asked(self._engine.fits(prompts, continuations=continuations))
        found = [TokenStatistics(0, 0.0, math.nan)] * len(prompts)
        given = [[texts[index] for index in asked] for texts in (prompts, continuations)]
        for index, statistics in zip(asked, self._engine.token_statistics(*given) if asked else (), strict=True):
            found[index] = statistics
        return found

    def fits(
        self, prompts: Sequence[str], new_tokens: int = 0, continuations: Sequence[str] | None = None
    ) -> list[Fit]:
        """See ``Engine.fits``."""
        return self._engine.fits(prompts, new_tokens, continuations)

    def usage(self) -> dict[str, float]:
        """See ``Engine.usage``."""
        return self._engine.usage()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _asked(self, fits: Sequence[Fit]) -> list[int]:
        asked = [index for index, fit in enumerate(fits) if fit.fits]
        self.n_refused += len(fits) - len(asked)
        return asked
