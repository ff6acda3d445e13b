"""The engine behind a warm vLLM server: started where there is none, found where there is one, left running."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ops.engines.base import Fit, SampleRequest, SamplingSettings, TokenStatistics
from ops.engines.openai_engine import OpenaiEngine
from ops.engines.openai_settings import OpenaiSettings
from ops.engines.server_records import Lease, Record, Slot
from ops.engines.server_settings import VllmServerSettings
from ops.engines.server_start import answers, ensure, failed
from ops.engines.server_wanted import WHO, Wanted, vllm_server
from ops.errors import EngineError
from ops.types import Completion

Result = TypeVar("Result")
Finished = tuple[int, int, Completion]

CLIENT_KEY_VARIABLE = "MINDGAP_SERVER_KEY"
"""Holds the server's key while the client is made, which reads it from the environment only."""

_KEY_LOCK = threading.Lock()


class _Client(OpenaiEngine):
    """A client of the warm server; the name stands in messages."""

    name = "vllm_server"


class ServerEngine:
    """The checkpoint ``model_path`` on the warm server of this machine.

    A server that has died is started again, once in a call; what was finished is not drawn again. One that ended
    because nothing had been asked of it for long is started again as well.

    Raises:
        ModelError: when ``model_path`` has no tokenizer and configuration that load.
        EngineError: when the server does not start, or another one stays in use.
    """

    name = "vllm_server"

    def __init__(
        self,
        model_path: Path,
        settings: VllmServerSettings,
        wanted: Callable[[Path, VllmServerSettings], Wanted] = vllm_server,
    ) -> None:
        self._path, self._settings = model_path, settings
        self._wanted, self._slot = wanted(model_path, settings), Slot.here()
        self._earlier: dict[str, float] = {}  # usage of clients that were given up
        self._starts = 0
        self._client: _Client | None = None
        self._lease: Lease | None = Lease(self._slot)
        try:
            with self._lease.working():
                self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> _Client:
        """A client of the healthy server, which is started where there is none."""
        self._leave()
        record, started = ensure(self._slot, self._wanted, self._settings)
        self._starts += started
        settings = OpenaiSettings(
            base_url=f"{record.address}/v1",
            model=record.model,
            served_path=record.path,
            concurrency=self._settings.concurrency,
            timeout_seconds=self._settings.timeout_seconds,
            max_retries=self._settings.max_retries,
            api_key_variable=CLIENT_KEY_VARIABLE,
            max_model_len=self._settings.max_model_len,
        )
        with _KEY_LOCK:
            os.environ[CLIENT_KEY_VARIABLE] = record.api_key
            try:
                client = _Client(self._path, settings)
            finally:
                del os.environ[CLIENT_KEY_VARIABLE]
        self._client, self._record, self._fits, self.version = client, record, client.fits, client.version
        return client

    def _leave(self) -> None:
        """Give the client up, but for what it has spent."""
        if self._client is not None:
            for name, value in self._client.usage().items():
                self._earlier[name] = self._earlier.get(name, 0) + value
            self._client.close()
            self._client = None

    def _open(self) -> tuple[_Client, Lease]:
        """The client of a living server, and the lease.

        Raises:
            EngineError: when the engine is closed.
        """
        if self._lease is None:
            raise EngineError(WHO, "is closed", remedy="load the engine again")
        if self._client is None or not self._record.is_kept:
            with self._lease.working():
                return self._connect(), self._lease
        return self._client, self._lease

    def sample(self, requests: Iterable[SampleRequest], settings: SamplingSettings) -> Iterator[list[Finished]]:
        """See ``Engine.sample``. If the server dies, what is unfinished is drawn by the one that replaces it, once."""
        source, pending, first = iter(requests), dict[int, tuple[SampleRequest, set[int]]](), 0
        died: Record | None = None
        while True:
            numbers: list[tuple[int, tuple[int, ...]]] = []  # by the client's index: ours, and ours of its places
            again = [(index, pending[index][0], tuple(sorted(pending[index][1]))) for index in sorted(pending)]

            def asked(again=again, numbers=numbers) -> Iterator[SampleRequest]:
                nonlocal first
                for index, request, places in again:
                    numbers.append((index, places))
                    yield SampleRequest(request.prompt, tuple(request.seeds[place] for place in places))
                for request in source:
                    places = tuple(range(len(request.seeds)))
                    numbers.append((first, places))
                    if places:
                        pending[first] = (request, set(places))
                    first += 1
                    yield request

            try:
                client, lease = self._open()
                with lease.working():
                    for group in client.sample(asked(), settings):
                        yield [self._done(pending, numbers, one) for one in group]
                return
            except EngineError as error:
                died = self._died(error, died)

    @staticmethod
    def _done(
        pending: dict[int, tuple[SampleRequest, set[int]]], numbers: list[tuple[int, tuple[int, ...]]], one: Finished
    ) -> Finished:
        index, places = numbers[one[0]]
        place = places[one[1]]
        left = pending[index][1]
        left.remove(place)
        if not left:
            del pending[index]
        return index, place, one[2]

    def _died(self, error: EngineError, before: Record | None) -> Record:
        """The record of the server, if its death is what ``error`` is about and the first one of the call.

        Raises:
            EngineError: otherwise.
        """
        if error.where == WHO:
            raise error
        record = self._record
        if record.is_kept and answers(record) is not False:
            raise EngineError(WHO, error.problem, remedy=f"{error.remedy}\n  log: {self._slot.log}") from error
        if before is not None:
            remedy = "see the log; lower engine.max_num_seqs or engine.gpu_memory_utilization if it has no memory left"
            raise failed(self._slot, "the server died twice", remedy, record.api_key) from error
        return record

    def _ask(self, work: Callable[[_Client], Result]) -> Result:
        """``work``, again if the server dies in it, once."""
        died: Record | None = None
        while True:
            try:
                client, lease = self._open()
                with lease.working():
                    return work(client)
            except EngineError as error:
                died = self._died(error, died)

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str]) -> np.ndarray:
        """See ``Engine.choice_logprobs``: exact, vLLM gives those of the tokens that are asked for."""
        return self._ask(lambda client: client.choice_logprobs(prompts, choices))

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
        return self._fits(prompts, new_tokens, continuations)  # needs no server, so none is started for it

    def usage(self) -> dict[str, float]:
        """See ``OpenaiEngine.usage``; ``server_starts``: servers that this engine had to start."""
        now = {} if self._client is None else self._client.usage()
        names = [*now, *(name for name in self._earlier if name not in now)]
        spent = {name: now.get(name, 0) + self._earlier.get(name, 0) for name in names}
        return {"server_starts": self._starts, **spent}

    def close(self) -> None:
        """Close the connections. The server stays warm; ``VllmServerSettings.release`` stops it."""
        self._leave()
        if self._lease is not None:
            self._lease.end()
            self._lease = None
