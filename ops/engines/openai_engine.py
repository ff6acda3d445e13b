"""The engine behind a server that speaks OpenAI's completions protocol: ``vllm serve`` and the like."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ops.engines.base import Fit, SampleRequest, SamplingSettings, TokenStatistics
from ops.engines.openai_answers import KEY_PREFIX, TOKEN_ID_PREFIX, Asked, Drawn, drawn, first_token
from ops.engines.openai_client import WHO, Server
from ops.engines.openai_served import Served, find_served
from ops.engines.openai_settings import OpenaiSettings
from ops.engines.tokens import Stops, Tokens
from ops.errors import EngineError
from ops.types import Completion

VLLM_PLAIN: dict[str, Any] = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "min_tokens": 0}
"""Said in every request: what is left out, vLLM takes from the checkpoint's generation_config.json."""


@dataclass(frozen=True)
class Sample:
    """One sample to draw: its request, its place in the request's seeds, its seed and the prompt's token ids."""

    index: int
    place: int
    seed: int
    prompt: tuple[int, ...]


class OpenaiEngine:
    """The checkpoint ``model_path`` on a server that has loaded it already.

    Raises:
        EngineError: when nothing answers, the key is wrong, or the server has another checkpoint.
        ModelError: when ``model_path`` has no tokenizer and configuration that load.
    """

    name = "openai"

    def __init__(self, model_path: Path, settings: OpenaiSettings) -> None:
        self._settings, self._server = settings, Server(settings)
        try:
            self.served: Served = self._server.loop.run(find_served(self._server, model_path, settings))
            self._tokens = Tokens.of_folder(model_path, self.name, self.served.max_model_len)
        except BaseException:
            self._server.close()
            raise
        self.version = self.served.version
        self._prompt_tokens = self._completion_tokens = self._choices_missing = self._logprobs_unknown = 0

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingSettings
    ) -> Iterator[list[tuple[int, int, Completion]]]:
        """See ``Engine.sample``. One HTTP request per sample, so that each has a seed of its own.

        Raises:
            EngineError: when the server refuses a request, or keeps failing, or gives no token ids where
                ``with_tokens`` asks for them.
        """
        stops = self._tokens.stops(settings.stop)

        async def draw(sample: Sample) -> tuple[Sample, Drawn]:
            body = self._sampling_body(settings, stops)
            asked = Asked(
                self._key_of("sample", sample.prompt, {"seed": sample.seed, **body}),
                sample.prompt,
                settings.max_tokens,
                self._settings.logprobs,
                stops.ids,
            )
            return sample, await self._complete(asked, {"seed": sample.seed, **body}, lambda got: drawn(got, asked))

        samples = self._samples(requests, settings.max_tokens)
        for group in self._server.loop.stream(samples, draw, self._settings.concurrency):
            done = self._completions([item for _, item in group], stops, settings)
            yield [(sample.index, sample.place, one) for (sample, _), one in zip(group, done, strict=True)]

    def _samples(self, requests: Iterable[SampleRequest], max_tokens: int) -> Iterator[Sample]:
        for index, request in enumerate(requests):
            prompt = tuple(self._tokens.encode([request.prompt], max_tokens)[0])
            for place, seed in enumerate(request.seeds):
                yield Sample(index, place, seed, prompt)

    def _sampling_body(self, settings: SamplingSettings, stops: Stops) -> dict[str, Any]:
        """The fields of a request that all samples share."""
        body: dict[str, Any] = {
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
        }
        if not self.served.is_vllm:  # the stop strings as they are: whether a token is one is not known of it
            stop = list(settings.stop)
            return body | ({"stop": stop} if stop else {}) | ({"logprobs": 1} if self._settings.logprobs else {})
        extra = {
            **VLLM_PLAIN,
            "stop_token_ids": list(stops.ids),
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }
        if stops.texts:
            body["stop"] = list(stops.texts)
        if self._settings.logprobs:
            body["logprobs"] = 0  # of the drawn tokens alone
        return body | {"extra_body": extra}

    async def _complete(self, asked: Asked, body: dict[str, Any], read: Any) -> Any:
        """One answer, the same key over all its repetitions, with the tokens that the server counted."""

        async def send() -> Any:
            return await self._server.client.completions.with_raw_response.create(
                model=self.served.model,
                prompt=list(asked.prompt),
                extra_headers={**self._server.headers, "Idempotency-Key": asked.key, "X-Request-Id": asked.key},
                **body,
            )

        answer = await self._server.ask(send, read)
        self._prompt_tokens += answer.prompt_tokens
        self._completion_tokens += answer.n_tokens
        return answer

    def _key_of(self, kind: str, prompt: Sequence[int], body: dict[str, Any]) -> str:
        """Identity of a request: the same for the same prompt, seed and settings of one served model, in any run."""
        what = [kind, self.served.model, self.served.root, list(prompt), body]
        return KEY_PREFIX + hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def _completions(self, items: Sequence[Drawn], stops: Stops, settings: SamplingSettings) -> list[Completion]:
        """What the server drew as completions: by the token ids where it gives them, else by its text."""
        rows = [item.row for item in items if item.row is not None]
        by_ids = iter(self._tokens.completions(rows, stops.texts, settings.with_tokens) if rows else [])
        found = []
        for item in items:
            if item.row is None and settings.with_tokens:
                raise EngineError(
                    WHO,
                    f"the server {self._settings.base_url} does not give the token ids of what it draws",
                    field="engine.name",
                    remedy="take engine transformers or vllm, or a server of vLLM's own",
                )
            if item.row is None:
                cuts = (item.text.find(one) for one in settings.stop if one in item.text)
                cut = min(cuts, default=len(item.text))
                one = Completion(item.text[:cut], item.n_tokens, item.logprob, item.finish_reason)
            else:
                # A server that stopped at a string has seen it, even where decoding at once shows it otherwise.
                one = next(by_ids)
                one = replace(one, finish_reason="stop") if item.finish_reason == "stop" else one
            self._logprobs_unknown += math.isnan(one.logprob)
            found.append(one)
        return found

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str]) -> np.ndarray:
        """See ``Engine.choice_logprobs``: requests of one token, one for every different prompt.

        vLLM gives the choices' own log-probabilities (from 0.15 on; before, and on other servers, they are looked up
        among the ``top_logprobs`` most probable tokens). One that is not there is NaN, and counted in ``usage``.

        Raises:
            EngineError: also when the settings say that the server has no log-probabilities.
        """
        if not self._settings.logprobs:
            raise EngineError(
                WHO,
                "gives no log-probabilities",
                field="engine.logprobs",
                remedy="leave out verifiers that need them, or set engine.logprobs to true",
            )
        ids = [self._tokens.single_token(choice) for choice in choices]
        encoded = [tuple(row) for row in self._tokens.encode(prompts, 1)]
        body = self._choice_body(ids)

        async def look(prompt: tuple[int, ...]) -> tuple[tuple[int, ...], list[float]]:
            asked = Asked(self._key_of("choices", prompt, body), prompt, 1, True)
            answer = await self._complete(asked, body, lambda got: first_token(got, asked))
            return prompt, [
                self._choice(answer.by_token, token, word) for token, word in zip(ids, choices, strict=True)
            ]

        different = dict.fromkeys(encoded)
        found: dict[tuple[int, ...], list[float]] = {}
        for group in self._server.loop.stream(different, look, self._settings.concurrency):
            found.update(group)
        result = np.array([found[prompt] for prompt in encoded]).reshape(len(encoded), len(ids))
        self._choices_missing += int(np.isnan(result).sum())
        return result

    def _choice_body(self, ids: Sequence[int]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": self._settings.top_logprobs,
        }
        if not self.served.is_vllm:
            return body
        extra = {**VLLM_PLAIN, "logprob_token_ids": list(ids), "return_tokens_as_token_ids": True}
        return body | {"extra_body": {**extra, "return_token_ids": True}}

    def _choice(self, by_token: dict[str, float], token: int, word: str) -> float:
        """The log-probability of a choice: by its id, by its piece of the vocabulary, or by its text; else NaN."""
        tokenizer = self._tokens.tokenizer
        names = [f"{TOKEN_ID_PREFIX}{token}"]
        if not self.served.is_vllm:
            names = [word, str(tokenizer.convert_ids_to_tokens(token)), tokenizer.decode([token])]
        return next((by_token[name] for name in names if name in by_token), float("nan"))

    def token_statistics(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[TokenStatistics]:
        """Not of a server: the protocol has no whole next-token distributions.

        Raises:
            EngineError: always.
        """
        raise EngineError(
            WHO,
            "cannot read next-token distributions: the completions protocol does not give them",
            remedy="use engine: transformers for self_certainty and sequence_logprob, or leave these verifiers out",
        )

    def fits(
        self, prompts: Sequence[str], new_tokens: int = 0, continuations: Sequence[str] | None = None
    ) -> list[Fit]:
        """See ``Engine.fits``. A server draws at least one token, also for the log-probabilities of choices."""
        return self._tokens.fits(prompts, max(new_tokens, 1), continuations)

    def usage(self) -> dict[str, float]:
        """See ``Engine.usage``: what the accepted answers say. Cost in the currency of the prices, where there are any.

        Answers that came broken or too late are not in it, though a server may have drawn and billed them.
        """
        settings = self._settings
        found: dict[str, float] = {
            "requests": self._server.spent.requests,
            "retries": self._server.spent.retries,
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "choices_missing": self._choices_missing,
            "logprobs_unknown": self._logprobs_unknown,
        }
        to, of = settings.price_per_million_input_tokens, settings.price_per_million_output_tokens
        if to is not None and of is not None:
            found["cost"] = (self._prompt_tokens * to + self._completion_tokens * of) / 1e6
        return found

    def close(self) -> None:
        """Close the connections and the thread that served them; the server goes on."""
        self._server.close()
