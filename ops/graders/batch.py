"""Grading many responses; graders that may hang or crash run in worker processes, one item at a time.

The pool is pebble's: it kills a worker whose item takes too long and replaces one that died, and both
cost that one item. (``concurrent.futures`` cannot stop a running task and gives a whole pool up when one
worker dies.)
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from ops.graders.base import Grader, Item, crashed, unparseable
from ops.types import Grade

if TYPE_CHECKING:
    from ops.tasks.base import Task

TIMEOUT_SECONDS = 5.0
"""Wall time of one item."""
MAX_WORKERS = 8
WORKER_MEMORY_BYTES = 4 * 1024**3
"""Address space of a worker (where the system enforces it); beyond it an item fails with MemoryError."""
_WINDOW = 2_048
"""Items handed to the pool at once, so that their pickles do not pile up."""


def grade_all(grader: Grader | Task, items: Sequence[Item]) -> list[Grade]:
    """Grade (problem, response, finished) triples in their order. Never raises because of a response.

    Cheap graders run in this process; isolated ones in workers, where a timeout or a crash makes one item
    ``unparseable``, with the reason kept.
    """
    return grader.grade_all(items)


def grade_in_workers(grader: Grader, items: Sequence[Item], timeout: float = TIMEOUT_SECONDS) -> list[Grade]:
    """Grade with worker processes: as many as there are cores for us, at most ``MAX_WORKERS``."""
    if not items:
        return []
    from pebble import ProcessPool

    workers = max(1, min(_cores(), MAX_WORKERS, len(items)))
    grades: list[Grade] = []
    with ProcessPool(workers, initializer=_start_worker, initargs=(os.getpid(),), context=_context()) as pool:
        try:
            for start in range(0, len(items), _WINDOW):
                window = items[start : start + _WINDOW]
                futures = [pool.schedule(_judge, args=(grader, item, timeout), timeout=timeout) for item in window]
                grades.extend(_result(future, timeout) for future in futures)
        except BaseException:  # an interrupt ends the workers now, not after what is scheduled
            pool.stop()
            raise
    return grades


def _judge(grader: Grader, item: Item, seconds: float) -> Grade:
    _limit_cpu(2 * seconds)
    return grader.judge_safely(*item)


def _result(future: Any, timeout: float) -> Grade:
    from pebble import ProcessExpired

    try:
        return future.result()
    except FutureTimeoutError:
        return unparseable(f"grader timed out after {timeout:g} s")
    except ProcessExpired as error:
        return crashed(f"its worker process ended with exit code {error.exitcode}")
    except Exception as error:  # such as an item that cannot be pickled
        return crashed(f"{type(error).__name__}: {error}")


def _context() -> Any:
    """Workers are forked from a small server that has the libraries loaded, never from a process with threads."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ops.graders.preload"])
    return context


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(parent: int) -> None:
    """Quiet, within its memory, and gone when the process that asked is gone."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY_BYTES, WORKER_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _limit_cpu(seconds: float) -> None:
    """End this worker after so much more processor time, should the process that watches the clock be killed.

    One long computation in C gives no other thread a turn, so ``_leave_with`` alone would not do.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1, hard))


def _leave_with(parent: int) -> None:
    """End this worker once ``parent`` has died: after a kill nobody else would."""
    while _alive(parent):
        time.sleep(1.0)
    os._exit(1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
