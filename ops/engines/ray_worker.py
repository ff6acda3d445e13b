"""What runs in a Ray worker: one engine on a thread of its own, an inbox of pieces, an outbox of finished samples."""

from __future__ import annotations

import os
import platform
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.engines.base import Engine, SampleRequest, SamplingSettings
from ops.engines.settings import EngineSettings
from ops.errors import EngineError
from ops.types import Completion

Finished = tuple[int, int, Completion]

OUTBOX_SAMPLES = 16_384
"""Finished samples that wait for the driver, at most: then the engine waits as well."""


@dataclass(frozen=True)
class Piece:
    """A part of one request: its index, and which of its seeds, each with its position in them.

    Attributes:
        losses: how often a worker has died with it.
    """

    index: int
    prompt: str
    seeds: tuple[int, ...]
    places: tuple[int, ...]
    losses: int = 0


@dataclass(frozen=True)
class Parcel:
    """What a worker answers: finished samples, how many more it can take now, and whether it is done with the run."""

    samples: list[Finished]
    room: int
    done: bool


class Cancelled(Exception):
    """The driver wants no more of this run."""


class Mailbox:
    """Between the engine's thread and the driver's calls, for one run; both sides wait for each other."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._changed = threading.Condition()
        self._inbox: deque[Piece] = deque()
        self._outbox: list[Finished] = []
        self._waiting = 0  # samples in the inbox
        self._ended = self._cancelled = self.stopped = False
        self.running: Future[None] | None = None

    def exchange(self, pieces: Sequence[Piece], ended: bool) -> Parcel:
        """Take pieces in and wait until there is something to say."""
        with self._changed:
            self._inbox.extend(pieces)
            self._waiting += sum(len(piece.seeds) for piece in pieces)
            self._ended = self._ended or ended
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._outbox or self.stopped or (self._room() and not self._ended))
            samples, self._outbox = self._outbox, []
            self._changed.notify_all()
            return Parcel(samples, self._room(), self.stopped)

    def _room(self) -> int:
        return max(0, self._ahead - self._waiting)

    def take(self, samples: int, wait: bool) -> list[Piece]:
        """At most so many samples (one piece may be larger); none when nothing is there, or, with ``wait``, at the end.

        With ``wait`` as many as there will be: a batch that is not full costs as much as a full one.

        Raises:
            Cancelled: when the driver wants no more.
        """
        taken: list[Piece] = []
        held = 0
        with self._changed:
            while True:
                if wait:
                    self._changed.wait_for(lambda: self._inbox or self._ended or self._cancelled)
                if self._cancelled:
                    raise Cancelled
                if not self._inbox or (taken and held + len(self._inbox[0].seeds) > samples):
                    return taken
                piece = self._inbox.popleft()
                taken.append(piece)
                held += len(piece.seeds)
                self._waiting -= len(piece.seeds)
                self._changed.notify_all()

    def put(self, samples: Sequence[Finished]) -> None:
        """Hand finished samples over.

        Raises:
            Cancelled: when the driver wants no more.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._outbox) < OUTBOX_SAMPLES or self._cancelled)
            if self._cancelled:
                raise Cancelled
            self._outbox.extend(samples)
            self._changed.notify_all()

    def cancel(self) -> None:
        """The driver wants no more."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def stop(self) -> None:
        """The engine's thread has ended the run."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()


@dataclass
class Round:
    """Pieces that the engine was given in one go, and how many of their samples are still out."""

    pieces: list[Piece]
    groups: Iterator[list[tuple[int, int, Completion]]]
    missing: int


class Worker:
    """The actor. Its calls come on several threads; the engine is loaded and used on one."""

    def __init__(self, number: int, in_flight: int, round_samples: int) -> None:
        self.number, self._in_flight, self._round_samples = number, in_flight, round_samples
        self._thread = ThreadPoolExecutor(1, "engine")
        self._runs: dict[int, Mailbox] = {}
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()
        self._engine: Any = None

    def where(self) -> str:
        """This process in words."""
        import ray

        return f"worker {self.number} on node {platform.node()} ({ray.util.get_node_ip_address()}), pid {os.getpid()}"

    def load(self, path: str, settings: EngineSettings) -> dict[str, Any]:
        """Load the engine; what it says of itself.

        Raises:
            EngineError: when this node does not see the checkpoint folder, or as ``EngineSettings.load``.
            ModelError: as ``EngineSettings.load``.
        """
        if not Path(path, "config.json").is_file():
            raise EngineError(
                f"engine ray, {self.where()}",
                f"does not see the checkpoint {path}",
                field="engine.address",
                remedy="put MINDGAP_HOME (and own checkpoints) on a file system that all nodes mount at the same path",
            )
        engine: Engine = self._thread.submit(settings.load, Path(path)).result()
        self._engine = engine
        fit = engine.fits(["."])[0]  # its context, and the tokens that it needs after every prompt
        return {"where": self.where(), "name": engine.name, "version": engine.version, "fit": fit}

    def call(self, method: str, *arguments: Any) -> Any:
        """Call the engine."""
        return self._thread.submit(getattr(self._engine, method), *arguments).result()

    def usage(self) -> dict[str, float]:
        """What the engine counts; also while it is drawing."""
        return self._engine.usage()

    def exchange(self, run: int, settings: SamplingSettings, pieces: Sequence[Piece], ended: bool) -> Parcel:
        """Take pieces of a run in, give finished samples out.

        Raises:
            Whatever the engine raises.
        """
        with self._lock:
            if run in self._cancelled:  # this call was overtaken
                return Parcel([], 0, True)
            if run not in self._runs:
                self._runs[run] = Mailbox(max(1, self._round_samples // 4))
                self._runs[run].running = self._thread.submit(self._sample, self._runs[run], settings)
            mailbox = self._runs[run]
        parcel = mailbox.exchange(pieces, ended)
        if parcel.done:
            self._runs.pop(run, None)
            if mailbox.running is not None:
                mailbox.running.result()
        return parcel

    def cancel(self, run: int) -> None:
        """End a run; what the engine has begun it finishes, and nobody gets it."""
        with self._lock:
            self._cancelled.add(run)
            mailbox = self._runs.pop(run, None)
        if mailbox is not None:
            mailbox.cancel()

    def _sample(self, mailbox: Mailbox, settings: SamplingSettings) -> None:
        rounds: list[Round] = []
        try:
            while True:
                while not rounds or sum(item.missing for item in rounds) + self._round_samples <= self._in_flight:
                    pieces = mailbox.take(self._round_samples, wait=not rounds)
                    if not pieces:
                        break
                    requests = [SampleRequest(piece.prompt, piece.seeds) for piece in pieces]
                    missing = sum(len(piece.seeds) for piece in pieces)
                    rounds.append(Round(pieces, iter(self._engine.sample(requests, settings)), missing))
                if not rounds:
                    return
                # The engine runs the samples of all rounds; the largest round is the likeliest to have some ready.
                current = max(rounds, key=lambda item: item.missing)
                group = next(current.groups, None)
                if group is None:
                    rounds.remove(current)
                    continue
                current.missing -= len(group)
                mailbox.put([(current.pieces[i].index, current.pieces[i].places[j], done) for i, j, done in group])
        except Cancelled:
            return
        finally:
            for item in rounds:
                item.groups.close()  # type: ignore[attr-defined]
            mailbox.stop()
