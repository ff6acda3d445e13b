"""An event loop in a thread of its own, and bounded concurrent work over it for callers that are not async."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from ops.engines.tokens import WINDOW_SAMPLES
from ops.errors import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")

STOP_SECONDS = 10.0
"""How long cancelled requests may take to let go of their connections."""

_END = object()


class LoopThread:
    """A running event loop. The thread is a daemon: a process that forgot ``close`` still ends.

    That is why anyio's blocking portal, which is the same otherwise, is not taken.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether work can still be done."""
        return self._thread.is_alive() and not self._loop.is_closed()

    def run(self, work: Coroutine[Any, Any, Result], timeout: float | None = None) -> Result:
        """Wait for ``work``.

        Raises:
            EngineError: when the loop is closed.
        """
        if not self.alive:
            work.close()
            raise self._closed()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def stream(
        self,
        items: Iterable[Item],
        work: Callable[[Item], Awaitable[Result]],
        concurrency: int,
        hold: int = WINDOW_SAMPLES,
    ) -> Iterator[list[Result]]:
        """Results of ``work`` over ``items`` as early as they come, in any order.

        ``items`` are read in the caller's thread, and only while fewer than ``hold`` wait, run or lie finished. The
        first error ends the stream, after the results that came before it; what is in flight is then cancelled, as it
        is when the caller closes the stream early.

        Raises:
            EngineError: from ``work``, or when the loop was closed meanwhile.
        """
        done: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
        todo: asyncio.Queue[Item] = asyncio.Queue()

        async def worker() -> None:
            while True:
                item = await todo.get()
                try:
                    done.put((await work(item), None))
                except Exception as error:
                    done.put((None, error))

        async def start() -> list[asyncio.Task[None]]:
            return [asyncio.create_task(worker()) for _ in range(concurrency)]

        workers, source = self.run(start()), iter(items)
        held, more = 0, True
        try:
            while more or held:
                while more and held < hold and done.empty():
                    item: Any = next(source, _END)
                    if item is _END:
                        more = False
                    else:
                        self._hand_over(todo, item)
                        held += 1
                if held:
                    group, error = self._take(done)
                    held -= len(group)
                    if group:
                        yield group
                    if error is not None:
                        raise error
        finally:
            self._stop(workers)

    def _hand_over(self, todo: asyncio.Queue[Any], item: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(todo.put_nowait, item)
            return
        except RuntimeError:  # the loop is closed
            pass
        raise self._closed()

    def _closed(self) -> EngineError:
        return EngineError(self._name, "is closed", remedy="load the engine again")

    def _take(self, done: queue.SimpleQueue[tuple[Any, Exception | None]]) -> tuple[list[Any], Exception | None]:
        """What is finished, at least one; or what came before an error, and it."""
        group: list[Any] = []
        while not group or not done.empty():
            try:
                result, error = done.get(timeout=1.0)
            except queue.Empty:
                if not self.alive:
                    return group, self._closed()
                continue
            if error is not None:
                return group, error
            group.append(result)
        return group, None

    def _stop(self, workers: list[asyncio.Task[None]]) -> None:
        async def stop() -> None:
            for task in workers:
                task.cancel()
            await asyncio.wait(workers, timeout=STOP_SECONDS)

        if not self.alive:
            return
        if threading.current_thread() is self._thread:  # a forgotten stream that is collected here must not wait here
            for task in workers:
                task.cancel()
        else:
            self.run(stop())

    def close(self) -> None:
        """End the loop and its thread; what still runs on it is cancelled."""

        async def stop() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=STOP_SECONDS)
            await asyncio.get_running_loop().shutdown_asyncgens()
            await asyncio.get_running_loop().shutdown_default_executor()

        if not self.alive:
            return
        self.run(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()
