"""One call of ``sample`` through Ray: requests in pieces, pieces to workers that have room, nothing lost or doubled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ops.engines.base import SampleRequest, SamplingSettings
from ops.engines.ray_cluster import WHO
from ops.engines.ray_group import Remote, WorkerGroup, said
from ops.engines.ray_worker import Finished, Parcel, Piece
from ops.errors import EngineError

PIECE_SAMPLES = 32
"""Samples of one request that travel together, at most: workers share a prompt that has more."""


class Source:
    """Requests cut into pieces, read as they are asked for; what a dead worker has lost comes first, once."""

    def __init__(self, requests: Iterable[SampleRequest]) -> None:
        self._pieces = (
            Piece(index, request.prompt, request.seeds[start : start + PIECE_SAMPLES], tuple(places))
            for index, request in enumerate(requests)
            for start in range(0, len(request.seeds), PIECE_SAMPLES)
            for places in [range(start, min(start + PIECE_SAMPLES, len(request.seeds)))]
        )
        self._lost: deque[Piece] = deque()
        self.empty = False

    def take(self, samples: int) -> list[Piece]:
        """Pieces for at least so many samples, or what there is."""
        taken: list[Piece] = []
        while samples > 0:
            piece = self._lost.popleft() if self._lost else next(self._pieces, None)
            if piece is None:
                self.empty = True
                break
            taken.append(piece)
            samples -= len(piece.seeds)
        return taken

    def give_back(self, worker: Remote, error: BaseException) -> None:
        """What a dead worker has not finished.

        Raises:
            EngineError: when a worker before it has died with the same samples.
        """
        lost, worker.owed = worker.owed, {}
        if any(piece.losses for piece in lost.values()):
            raise EngineError(
                WHO,
                f"{worker.where} died with samples that another worker had died with before: {said(error)}",
                remedy="look into Ray's logs on that node; where memory ran out lower in_flight and the worker's own "
                "batch_size or kv_cache_gib; what is committed is kept",
            )
        for piece in dict.fromkeys(lost.values()):
            kept = [i for i, place in enumerate(piece.places) if (piece.index, place) in lost]
            seeds, places = tuple(piece.seeds[i] for i in kept), tuple(piece.places[i] for i in kept)
            self._lost.append(replace(piece, seeds=seeds, places=places, losses=piece.losses + 1))
        self.empty = self.empty and not self._lost


class Drawing:
    """Who has been asked for what. Each worker has one call under way, and answers it when it has something to say.

    Args:
        runs: numbers of the workers' runs; a worker that has ended one can be given another.
    """

    def __init__(
        self,
        group: WorkerGroup,
        requests: Iterable[SampleRequest],
        settings: SamplingSettings,
        runs: Iterator[int],
    ) -> None:
        self._group, self._settings, self._runs = group, settings, runs
        self._source = Source(requests)
        self._asked: dict[Any, tuple[Remote, int]] = {}
        self._ended: set[int] = set()  # runs that were told that nothing more comes

    def groups(self) -> Iterator[list[Finished]]:
        """Finished samples as they come."""
        for worker in self._group.alive():
            self._ask(worker, next(self._runs), 0)
        while self._asked:
            reference = self._group.ray.wait(list(self._asked), num_returns=1)[0][0]
            worker, run = self._asked.pop(reference)
            try:
                parcel: Parcel = self._group.get(reference, worker)
            except self._group.ray.exceptions.RayError as error:
                self._without(worker, error)
                continue
            for index, place, _ in parcel.samples:
                del worker.owed[index, place]
            if not parcel.done:
                self._ask(worker, run, parcel.room)
            elif not self._source.empty:
                self._ask(worker, next(self._runs), 0)
            if parcel.samples:
                yield parcel.samples

    def _ask(self, worker: Remote, run: int, room: int) -> None:
        pieces = self._source.take(room) if run not in self._ended else []
        worker.owed.update({(piece.index, place): piece for piece in pieces for place in piece.places})
        if self._source.empty:
            self._ended.add(run)
        reference = worker.actor.exchange.remote(run, self._settings, pieces, run in self._ended)
        self._asked[reference] = worker, run

    def _without(self, worker: Remote, error: BaseException) -> None:
        """Go on without a worker; those that have finished, because there was nothing more, are asked again."""
        self._group.bury(worker, error)
        self._source.give_back(worker, error)
        busy = [item for item, _ in self._asked.values()]
        for idle in self._group.alive():
            if idle not in busy and not self._source.empty:
                self._ask(idle, next(self._runs), 0)

    def cancel(self) -> None:
        """Take back what the workers have not begun."""
        for worker, run in self._asked.values():
            worker.actor.cancel.remote(run)
        for worker in self._group.workers:
            worker.owed = {}
