"""What an engine does: sample n responses per prompt, and give log-probabilities of choices and of given texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ops.types import Completion


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample. ``temperature`` 0 is greedy. ``stop``: strings that end a response, not part of its text."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class SampleRequest:
    """One prompt (complete text, special tokens written out) and one seed per wanted sample."""

    prompt: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class TokenStatistics:
    """What a model's next-token distributions p_i say of the n tokens of a given text, at temperature 1.

    Attributes:
        n_tokens: n.
        logprob: sum of the natural-log probabilities of the n tokens; 0 where n is 0.
        self_certainty: mean over the tokens of KL(uniform || p_i) = -(1/V) sum_j log(V p_ij) (2502.18581), V the
            number of the model's outputs; NaN where n is 0.
    """

    n_tokens: int
    logprob: float
    self_certainty: float


class Engine(Protocol):
    """An inference engine with one loaded model."""

    name: str
    version: str

    def sample(
        self, requests: Sequence[SampleRequest], settings: SamplingSettings
    ) -> Iterator[list[tuple[int, int, Completion]]]:
        """Yield finished samples in groups of (request index, position in its seeds, completion).

        Every sample comes exactly once, in any order, as early as the engine has it. A sample's
        random numbers depend on its seed and token position only.
        """
        ...

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str]) -> np.ndarray:
        """Natural-log probabilities of each choice as the next token, shape [len(prompts), len(choices)].

        Raises:
            EngineError: when a choice is not a single token of the model.
        """
        ...

    def token_statistics(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[TokenStatistics]:
        """Statistics of each continuation's tokens after its prompt (teacher forcing), in their order.

        Prompt and continuation are tokenised apart and put together, as in sampling. No token is added.

        Raises:
            EngineError: when prompt and continuation exceed the context, or the engine cannot read distributions.
        """
        ...

    def close(self) -> None:
        """Free the model and its memory."""
        ...
