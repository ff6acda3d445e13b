"""The vLLM engine: continuous batching in this process, on a GPU or a CPU."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ops.engines.base import Fit, SampleRequest, SamplingSettings, TokenStatistics
from ops.engines.tokens import WINDOW_SAMPLES, DrawnRow, Stops, Tokens, first_line, windows
from ops.engines.vllm_loading import WHO, create, import_vllm, in_words, pack_heads, release
from ops.engines.vllm_settings import VllmSettings
from ops.errors import EngineError
from ops.types import Completion

READ_SAMPLES = 4096
"""Samples whose requests are read and tokenised in one go."""

LEAST_TEMPERATURE = 0.01
"""vLLM raises lower ones to this, but for 0."""

MOST_CHOICES = 128
"""Token ids whose log-probabilities vLLM gives for one request."""

Key = tuple[int, int]

OPEN: weakref.WeakSet[VllmEngine] = weakref.WeakSet()
"""Engines of this process that are not closed: one at most, for vLLM's process groups belong to the process."""


class VllmEngine:
    """One model loaded into vLLM behind the ``Engine`` interface.

    The engine's core runs in this process. With ``tensor_parallel_size`` above 1 each GPU has a worker process; it
    ends with ``close``, and by itself when this process dies: it waits on a pipe that this process holds open.

    Args:
        tokenizer: None takes that of the checkpoint.

    Raises:
        ModelError: when ``model_path`` is not a safetensors checkpoint with a tokenizer.
        EngineError: when vLLM is not installed, cannot run the model, or finds no memory for its KV cache.
    """

    name = "vllm"

    def __init__(self, model_path: Path, settings: VllmSettings, tokenizer: Any = None) -> None:
        self.version = str(import_vllm().__version__)
        if len(OPEN):
            raise EngineError(
                WHO,
                "another model is loaded in this process, and closing one would break the other",
                remedy="close it first",
            )
        self.settings = settings
        self._tokens = Tokens.of_folder(model_path, self.name, settings.max_model_len, tokenizer)
        self._running: dict[str, tuple[list[tuple[Any, Any]], Any]] = {}  # by request id: where it goes, its key
        self._numbers = itertools.count()
        self._prompt_tokens = self._cached_tokens = 0
        self._threads = torch.get_num_threads()
        limit = None if settings.max_model_len is None else self._tokens.context
        self._llm: Any = create(model_path, settings, limit)
        self._tokens.context = int(self._llm.model_config.max_model_len)  # vLLM knows more limits than the model's
        OPEN.add(self)
        self._try(model_path)

    def _try(self, path: Path) -> None:
        """Draw one token: some models load and then do not run, for instance for the size of their heads."""
        try:
            list(self._run([((0, 0), [0], self._params(SamplingSettings(0.0, 1.0, 1), Stops((), ()), 0))]))
        except Exception as error:  # as in create: of any kind
            found = in_words(error, path)
            error.__traceback__ = None
            self.close()
            raise found from error
        self._prompt_tokens = self._cached_tokens = 0

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingSettings
    ) -> Iterator[list[tuple[int, int, Completion]]]:
        """See ``Engine.sample``. Every sample is a vLLM request of its own; what a step finishes is yielded.

        Closing the iterator early, or an error, takes back what is unfinished: the engine can be used again.
        """
        if 0 < settings.temperature < LEAST_TEMPERATURE:
            raise EngineError(
                WHO,
                f"temperature {settings.temperature:g} would be raised to {LEAST_TEMPERATURE:g} by vLLM",
                field="temperature",
                remedy=f"take 0 (greedy), at least {LEAST_TEMPERATURE:g}, or engine transformers",
            )
        stops = self._tokens.stops(settings.stop)
        for finished in self._run(self._asked(requests, settings, stops)):
            outputs = [output.outputs[0] for _, output in finished]
            completions = self._completions(outputs, stops, settings.with_tokens)
            yield [(index, j, done) for ((index, j), _), done in zip(finished, completions, strict=True)]

    def _asked(
        self, requests: Iterable[SampleRequest], settings: SamplingSettings, stops: Stops
    ) -> Iterator[tuple[Key, list[int], Any]]:
        """(request, position in its seeds), prompt ids and parameters of every sample; a prompt is tokenised once."""
        first, plain = 0, self._params(settings, stops, 0)
        for window in windows(requests, READ_SAMPLES):
            encoded = self._tokens.encode([request.prompt for request in window], settings.max_tokens)
            for i, (request, ids) in enumerate(zip(window, encoded, strict=True)):
                for j, seed in enumerate(request.seeds):
                    params = copy(plain)  # as vLLM does for n samples: making one anew checks everything again
                    params.seed = seed
                    yield (first + i, j), ids, params
            first += len(window)

    @staticmethod
    def _params(settings: SamplingSettings, stops: Stops, seed: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            seed=seed,
            stop=list(stops.texts) or None,
            stop_token_ids=list(stops.ids),
            ignore_eos=True,  # the ends of sequence are among the stop ids, the same ones for every engine
            logprobs=0,  # of the drawn token alone
            flat_logprobs=True,
            detokenize=bool(stops.texts),  # texts are made by Tokens; vLLM needs them to look for stop strings only
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _run(self, asked: Iterable[tuple[Any, list[int], Any]]) -> Iterator[list[tuple[Any, Any]]]:
        """Keys and outputs of vLLM requests, step by step; at most ``WINDOW_SAMPLES`` are with vLLM at a time."""
        from vllm.inputs.engine import tokens_input

        llm = self._llm
        finished: list[tuple[Any, Any]] = []
        mine: set[str] = set()
        waiting = iter(asked)
        try:
            while True:
                for key, ids, params in itertools.islice(waiting, min(READ_SAMPLES, WINDOW_SAMPLES - len(mine))):
                    name = str(next(self._numbers))
                    self._running[name] = finished, key
                    mine.add(name)
                    llm.add_request(name, tokens_input(ids), params)
                if not mine:
                    return
                if not finished:
                    self._step()  # once: the model does not wait until the window is full of requests
                if not finished:
                    continue
                group, finished[:] = list(finished), []
                mine.difference_update(output.request_id for _, output in group)
                yield group
        finally:
            self._take_back(mine)

    def _step(self) -> None:
        """One step of vLLM; what it finishes goes to whoever has asked for it."""
        if self._llm is None or not self._llm.has_unfinished_requests():
            raise EngineError(WHO, "requests are unanswered and vLLM has none left", remedy="was the engine closed?")
        with torch.random.fork_rng(devices=[]):  # on a CPU it draws seeds for all from the process's own generator
            outputs = self._llm.step()
        for output in outputs:
            finished, key = self._running.pop(output.request_id)
            self._prompt_tokens += len(output.prompt_token_ids)
            self._cached_tokens += output.num_cached_tokens or 0
            reason = output.outputs[0].finish_reason
            if reason not in ("stop", "length"):
                raise EngineError(WHO, f"a request ended with {reason!r}", remedy="run again; what is done is kept")
            finished.append((key, output))

    def _take_back(self, names: set[str]) -> None:
        unfinished = [name for name in names if self._running.pop(name, None)]
        if unfinished and self._llm is not None:
            self._llm.abort_request(unfinished)

    def _completions(self, outputs: Sequence[Any], stops: Stops, with_tokens: bool) -> list[Completion]:
        ends = set(stops.ids)
        rows = [
            DrawnRow(
                output.token_ids, list(itertools.accumulate(_drawn_logprobs(output))), output.token_ids[-1] in ends
            )
            for output in outputs
        ]
        completions = self._tokens.completions(rows, stops.texts, with_tokens)
        for i, (output, done) in enumerate(zip(outputs, completions, strict=True)):
            if output.finish_reason == "stop" and done.finish_reason == "length":
                # vLLM decodes token by token and has found a stop string that the text decoded as a whole does not
                # show (spaces around special tokens): the response ended there, with vLLM's text before it.
                completions[i] = replace(done, text=output.text, finish_reason="stop")
        return completions

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str]) -> np.ndarray:
        """See ``Engine.choice_logprobs``. One token is drawn after each prompt, the distribution is read there.

        Raises:
            EngineError: also when there are more choices than vLLM gives log-probabilities for.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        ids = [self._tokens.single_token(choice) for choice in choices]
        if len(ids) > MOST_CHOICES:
            raise EngineError(
                WHO,
                f"{len(ids)} choices, and vLLM reads {MOST_CHOICES} at most",
                remedy="ask for fewer choices, or take engine transformers",
            )
        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=list(dict.fromkeys(ids)),
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        encoded = self._tokens.encode(prompts, 1)
        found = np.full((len(prompts), len(choices)), np.nan)
        for group in self._run((row, head, params) for row, head in enumerate(encoded)):
            for row, output in group:
                of_token = output.outputs[0].logprobs[0]
                found[row] = [of_token[token].logprob for token in ids]
        return found

    def token_statistics(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[TokenStatistics]:
        """Refused: vLLM gives log-probabilities of single tokens, not whole distributions.

        Raises:
            EngineError: always.
        """
        raise EngineError(
            WHO,
            "vLLM does not give a model's whole next-token distributions",
            field="engine.name",
            remedy="take engine transformers for self_certainty and sequence_logprob",
        )

    def fits(
        self, prompts: Sequence[str], new_tokens: int = 0, continuations: Sequence[str] | None = None
    ) -> list[Fit]:
        """See ``Engine.fits``. To read a distribution vLLM draws a token, which needs room as well."""
        return self._tokens.fits(prompts, max(1, new_tokens), continuations)

    def usage(self) -> dict[str, float]:
        """See ``Engine.usage``: tokens of prompts, and those of them that the prefix cache had."""
        return {"prompt_tokens": self._prompt_tokens, "cached_prompt_tokens": self._cached_tokens}

    def reload(self, weights: Iterator[tuple[str, torch.Tensor]]) -> None:
        """Put other weights in place of the model's; what the prefix cache holds of the old ones is forgotten.

        Args:
            weights: every tensor of the checkpoint under its name there, in any dtype, on any device.

        Raises:
            EngineError: when samples are being drawn, the engine is closed, or vLLM does not take the weights.
        """
        if self._llm is None or self._running:
            problem = "is closed" if self._llm is None else f"{len(self._running):,} samples are being drawn"
            raise EngineError(WHO, f"no weights are taken: {problem}", remedy="finish or close the drawing first")
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
            self._llm.apply_model(pack_heads)
        except Exception as error:
            raise EngineError(
                WHO,
                f"vLLM does not take the weights of the model in training: {first_line(error)}",
                field="engine.name",
                remedy="take engine transformers for this model",
            ) from error
        if not self._llm.reset_prefix_cache():
            raise EngineError(WHO, "vLLM did not forget its prefix cache", remedy="set enable_prefix_caching: false")

    def close(self) -> None:
        """Stop vLLM's core and its workers and give back their memory; another engine can then be loaded."""
        if self._llm is None:
            return
        llm, self._llm = self._llm, None
        self._running.clear()
        try:
            llm.engine_core.shutdown()
        except Exception as error:
            raise EngineError(WHO, f"vLLM did not stop: {first_line(error)}", remedy="start the step anew") from error
        finally:
            OPEN.discard(self)
            del llm
            release()
            torch.set_num_threads(self._threads)


def _drawn_logprobs(output: Any) -> list[float]:
    """Natural-log probability of each drawn token: with ``logprobs=0`` the first of each position, and the only one."""
    flat = output.logprobs
    return [flat.logprobs[start] for start in flat.start_indices]
