"""Committing while the engine goes on: finished rows are handed to a thread that grades and writes them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Row = TypeVar("Row")

CHUNK_ROWS = 8192
CHUNK_SECONDS = 60.0
"""What a killed run repeats at most, beside what the engine is drawing: so many rows, or what came in so much time
and in the commit before."""


class ChunkWriter(Generic[Row]):
    """Commits rows in the background, in the order in which they were added.

    Half a chunk collects while the other half is being committed, so at most ``chunk_rows`` rows are lost by a kill.
    Where committing is slower than the engine, ``add`` waits, and tells the commit under way so: ``hurry`` is then
    set, and it leaves out what can be done later. On an error of the engine what was collected is committed still.

    Args:
        commit: called with rows and ``hurry``, by one thread at a time.
    """

    def __init__(
        self,
        commit: Callable[[list[Row], threading.Event], None],
        chunk_rows: int | None = None,
        chunk_seconds: float | None = None,
    ) -> None:
        self._commit = commit
        self._half = max(1, (CHUNK_ROWS if chunk_rows is None else chunk_rows) // 2)
        self._seconds = CHUNK_SECONDS if chunk_seconds is None else chunk_seconds
        self._rows: list[Row] = []
        self._since = time.monotonic()
        self._hurry = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._running: Future[None] | None = None
        self.waited_seconds = 0.0
        """How long the engine stood still for commits."""

    def __enter__(self) -> ChunkWriter[Row]:
        # Rows that wait make Python look for garbage cycles in all of torch's and the engine's objects, again and
        # again: 5 % of the sampling of a small model. What is there now is left out of that until the end.
        gc.freeze()
        return self

    def add(self, rows: list[Row]) -> None:
        """Take rows over.

        Raises:
            Exception: whatever an earlier commit failed with.
        """
        self._rows += rows
        if len(self._rows) >= self._half or time.monotonic() - self._since >= self._seconds:
            self._hand_over()

    def _hand_over(self) -> None:
        for start in range(0, len(self._rows), self._half):
            self._wait()
            self._hurry.clear()
            self._running = self._thread.submit(self._commit, self._rows[start : start + self._half], self._hurry)
        self._rows, self._since = [], time.monotonic()

    def _wait(self) -> None:
        if self._running is not None:
            start = time.monotonic()
            self._hurry.set()
            try:
                self._running.result()
            finally:
                self._running = None
                self.waited_seconds += time.monotonic() - start

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._hand_over()
            self._wait()
        except Exception:
            if error is None:
                raise
        finally:
            self._thread.shutdown()
            gc.unfreeze()
