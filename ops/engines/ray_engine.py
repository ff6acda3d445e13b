"""The Ray engine: the same model in many workers, one engine each; work goes to whoever has room."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ops.engines.base import Fit, SampleRequest, SamplingSettings, TokenStatistics
from ops.engines.ray_cluster import WHO, join, leave
from ops.engines.ray_drawing import Drawing
from ops.engines.ray_group import Remote, WorkerGroup, said
from ops.engines.ray_settings import RaySettings
from ops.engines.ray_worker import Finished
from ops.engines.tokens import Tokens
from ops.errors import EngineError

PARTS = 4
"""Parts per worker that prompts are cut into where a list is asked for at once: the quick ones take more of them."""


class RayEngine:
    """One model in every worker behind the ``Engine`` interface.

    A worker that dies is left out from then on, and what it has not finished goes to the others, once. Ray's own
    processes end with the thread that loads the engine: load it in the main thread.

    Raises:
        ModelError: as the worker's engine.
        EngineError: when Ray or the wanted resources are not there, or as the worker's engine.
    """

    name = "ray"

    def __init__(self, model_path: Path, settings: RaySettings) -> None:
        self.settings = settings
        self._ray = join(settings)
        self._group = WorkerGroup(self._ray, settings)
        self._runs = itertools.count()
        self._sampling = 0
        try:
            first = self._group.start(model_path.resolve())[0]
            self.version = f"{self._ray.__version__} {first['name']} {first['version']}"
            self._fit: Fit = first["fit"]
            self._tokens = Tokens.of_folder(model_path, self.name, self._fit.context)
        except BaseException:
            self.close()
            raise

    def sample(self, requests: Iterable[SampleRequest], settings: SamplingSettings) -> Iterator[list[Finished]]:
        """See ``Engine.sample``. A worker gets the next pieces as it has room for them.

        Closing the iterator early cancels what the workers have not begun.

        Raises:
            EngineError: also when samples are lost twice, or no worker is left.
        """
        drawing = Drawing(self._group, requests, settings, self._runs)
        self._sampling += 1
        try:
            yield from drawing.groups()
        finally:
            self._sampling -= 1
            if self._ray is not None:  # after close() a call would start another Ray
                drawing.cancel()

    def _split(self, method: str, prompts: Sequence[str], *arguments: Any, beside: Sequence[str] | None = None) -> list:
        """Call the engines with parts of the prompts (and of what stands beside them), results in order."""
        if self._sampling:
            raise EngineError(
                WHO,
                f"{method} was called while samples are being drawn",
                remedy="read `sample` to its end, or close it, before the next call",
            )
        size = max(1, -(-len(prompts) // (PARTS * len(self._group.alive()))))
        starts = deque(range(0, len(prompts), size))
        found: dict[int, Any] = {}
        lost: set[int] = set()
        asked: dict[Any, tuple[Remote, int]] = {}
        idle = self._group.alive() * 2  # the second part of a worker waits there while the first is being read
        while starts or asked:
            while starts and idle:
                worker, start = idle.pop(0), starts.popleft()
                part = [list(texts[start : start + size]) for texts in (prompts, beside) if texts is not None]
                asked[worker.actor.call.remote(method, *part, *arguments)] = worker, start
            reference = self._group.ray.wait(list(asked), num_returns=1)[0][0]
            worker, start = asked.pop(reference)
            try:
                found[start] = self._group.get(reference, worker)
                idle.append(worker)
            except self._group.ray.exceptions.RayError as error:
                if worker in self._group.workers:
                    self._group.bury(worker, error)
                idle = [item for item in idle if item is not worker]
                if start in lost or not self._group.workers:
                    raise EngineError(
                        WHO,
                        f"{method}: {worker.where} died, {len(self._group.workers)} workers are left: {said(error)}",
                        remedy="look into Ray's logs on that node; what is committed is kept",
                    ) from error
                lost.add(start)
                starts.appendleft(start)
        return [found[start] for start in sorted(found)]

    def choice_logprobs(self, prompts: Sequence[str], choices: Sequence[str]) -> np.ndarray:
        """See ``Engine.choice_logprobs``."""
        parts = self._split("choice_logprobs", prompts, list(choices))
        return np.concatenate(parts) if parts else np.empty((0, len(choices)))

    def token_statistics(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[TokenStatistics]:
        """See ``Engine.token_statistics``; refused where the worker's engine does not read distributions."""
        return list(itertools.chain(*self._split("token_statistics", prompts, beside=continuations)))

    def fits(
        self, prompts: Sequence[str], new_tokens: int = 0, continuations: Sequence[str] | None = None
    ) -> list[Fit]:
        """See ``Engine.fits``. Asked here, with the context that the workers have named: no worker is disturbed."""
        return self._tokens.fits(prompts, max(new_tokens, self._fit.new_tokens), continuations)

    def usage(self) -> dict[str, float]:
        """See ``Engine.usage``: the sum over the workers that are there."""
        total: dict[str, float] = {}
        for worker in list(self._group.workers):
            try:
                spent = self._group.get(worker.actor.usage.remote(), worker)
            except self._group.ray.exceptions.RayError as error:
                self._group.bury(worker, error)
                continue
            for name, value in spent.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def close(self) -> None:
        """End the workers, and a Ray that was started for this engine."""
        if self._ray is None:
            return
        ray, self._ray = self._ray, None
        self._group.end()
        leave(ray)
