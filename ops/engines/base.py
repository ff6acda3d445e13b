"""What an engine does: sample n responses per prompt, and give log-probabilities of choices and of given texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ops.types import Completion


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample. ``temperature`` 0 is greedy. ``stop``: strings that end a response, not part of its text.

    ``with_tokens``: completions carry their token ids, which training on them needs.
    """

    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    with_tokens: bool = False


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


@dataclass(frozen=True)
class Fit:
    """Whether a prompt and what comes after it fit into the model's context.

    Attributes:
        prompt_tokens: of the prompt.
        new_tokens: of what is drawn or read after it.
        context: tokens that the model can take in; None where it has no limit.
    """

    prompt_tokens: int
    new_tokens: int
    context: int | None

    @property
    def fits(self) -> bool:
        """Whether they do. A prompt without tokens does not: there is nothing to go on from."""
        return self.prompt_tokens > 0 and (self.context is None or self.prompt_tokens + self.new_tokens <= self.context)

    @property
    def problem(self) -> str:
        """Why they do not, in words."""
        if not self.prompt_tokens:
            return "a prompt has no tokens"
        after = f" and {self.new_tokens:,} tokens after it" if self.new_tokens else ""
        verb = "do" if after else "does"
        prompt = f"a prompt of {self.prompt_tokens:,} tokens{after}"
        return f"{prompt} {verb} not fit into the model's context of {self.context:,}"


class Engine(Protocol):
    """An inference engine with one loaded model."""

    name: str
    version: str

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingSettings
    ) -> Iterator[list[tuple[int, int, Completion]]]:
        """Yield finished samples in groups of (request index, position in its seeds, completion).

        Every sample comes exactly once, in any order, as early as the engine has it. A sample's
        random numbers depend on its seed and token position only, never on its batch; which they are is the engine's
        own: SplitMix64 of the two in the transformers engine, a stream for each seed in the others. ``requests`` may
        be any number: they are read as the engine has room for them, and a request counts from 0 in the order in which
        it was read.

        Raises:
            EngineError: when a prompt and ``max_tokens`` do not fit into the model's context.
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

    def fits(
        self, prompts: Sequence[str], new_tokens: int = 0, continuations: Sequence[str] | None = None
    ) -> list[Fit]:
        """Whether each prompt fits, in their order: the tokenizer alone is asked, never the model.

        ``sample``, ``choice_logprobs`` and ``token_statistics`` refuse a whole call for one prompt that does not fit.

        Args:
            new_tokens: tokens to draw after each prompt: ``max_tokens`` for ``sample``, 0 for ``choice_logprobs``.
            continuations: the texts after the prompts of ``token_statistics``; their tokens then count instead.
        """
        ...

    def usage(self) -> dict[str, float]:
        """What was spent since the engine was loaded, for people, names with units; empty where nothing is counted.

        Not what every completion says itself (new tokens), but tokens read, requests repeated, money.
        """
        ...

    def close(self) -> None:
        """Free the model and its memory."""
        ...


class PolicyEngine(Protocol):
    """An engine that draws from a model in training.

    ``holds_a_copy``: of its weights, which may differ from them by rounding; False: it runs the very model.
    """

    engine: Engine
    holds_a_copy: bool

    def update(self, model: Any) -> float:
        """Take the model's weights as they are now; seconds that the handover took."""
        ...

    def close(self) -> None:
        """Free what the engine holds beside the model itself."""
        ...
